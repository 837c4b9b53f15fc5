"""A training step as a CUDA graph: recorded once and replayed, so that the CPU launches one thing instead of hundreds.

After the section "CUDA Graphs" of the notes "CUDA semantics" in PyTorch's documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptft.core import Batch
from ptft.errors import ConfigError

WARM_UP = 3
"""Steps before the recording, in which libraries choose their kernels and the optimizer makes its state."""

BOUND = 0.7
"""Share of a step's time that the CPU takes to launch it, from which on the launching is what a recording saves."""

Outcome = tuple[dict[str, Tensor], Tensor]
"""What the first part of a step returns: named sums, and the gradients' norm."""


class StepGraph:
    """Whole steps on one GPU, `gradients(batch)` and the optimizer's step: as they are, or from a recording.

    gradients: leaves the gradients on `parameters`, whose `grad` is None before it. Its work depends on nothing but
        the batch's tensors, the weights and the GPU's random numbers, whose state a replay moves on as a step does.
    batch_size: only batches of so many examples are recorded and replayed; others, the last one of an epoch, run as
        they are. So do the first WARM_UP ones, on the stream of the recording. Every call is one step, whichever way.
    where_faster: record only where launching the last of these took the CPU most of its time, and leave the steps as
        they are where one can't be recorded or memory does not suffice for it.

    The optimizer's step is recorded too where it can be (Adam, AdamW), with its rates in tensors that `set_lr` fills;
    else it follows the replay. Raises ConfigError where a step can't be recorded, without `where_faster`.
    """

    def __init__(
        self,
        gradients: Callable[[Batch], Outcome],
        optimizer: Optimizer,
        parameters: Sequence[Tensor],
        batch_size: int,
        device: torch.device,
        *,
        where_faster: bool = False,
    ) -> None:
        self.gradients, self.optimizer, self.parameters = gradients, optimizer, parameters
        self.batch_size, self.device, self.where_faster = batch_size, device, where_faster
        self.off = False
        self.whole = capturable(optimizer)
        if self.whole:
            live_in_tensors(optimizer, device)
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._forget(())

    def __call__(self, batch: Batch) -> Outcome:
        """One training step on the batch, which is on the GPU. The outcome's tensors are the caller's."""
        if self.off or len(batch["input"]) != self.batch_size:
            return self._step(batch)
        if (key := self._key(batch)) != self.key:
            self._forget(key)
        if self.graph is None:
            self.warm += 1
            if self.warm < WARM_UP or (self.warm == WARM_UP and not self.where_faster):
                return self._beside(batch)
            if self.warm == WARM_UP:
                return self._timed(batch)
            self._record(batch)
        return self._step(batch) if self.off else self._replay(batch)

    def _key(self, batch: Batch) -> tuple[Any, ...]:
        """What a recording is good for: the shapes and types of a batch, and the parameters that learn."""
        shapes = tuple((name, value.shape, value.dtype) for name, value in sorted(batch.items()))
        return (*shapes, *(parameter.requires_grad for parameter in self.parameters))

    def _forget(self, key: tuple[Any, ...]) -> None:
        self.key = key
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm = 0
        self.inputs: Batch = {}
        self.outcome: Outcome | None = None
        self.grads: list[Tensor | None] = []

    def _step(self, batch: Batch) -> Outcome:
        outcome = self.gradients(batch)
        self.optimizer.step()
        return outcome

    def _beside(self, batch: Batch) -> Outcome:
        """A step on the stream of the recording, as the docs ask for.

        Each stream waits for the other one's work before its own, so memory that one of them gives back is free.
        """
        usual = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(usual)
        with torch.cuda.stream(self.stream):
            outcome = self._step(batch)
        usual.wait_stream(self.stream)
        return outcome

    def _timed(self, batch: Batch) -> Outcome:
        """A step beside, alone on the device; no other is recorded where the device was busy long after its launch."""
        torch.cuda.synchronize(self.device)
        began = time.perf_counter()
        outcome = self._beside(batch)
        launched = time.perf_counter() - began
        torch.cuda.synchronize(self.device)
        self.off = launched < BOUND * (time.perf_counter() - began)
        return outcome

    def _record(self, batch: Batch) -> None:
        """Records a step without running it. Its inputs, gradients and outcome keep their places from now on."""
        self.inputs = {name: value.clone() for name, value in batch.items()}
        graph, random = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state(self.device)
        try:
            # Threads that pin memory for the next batches may go on meanwhile.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.outcome = self._step(self.inputs) if self.whole else self.gradients(self.inputs)
        except RuntimeError as error:
            _release_generator(self.device, random)
            if not self.where_faster:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                first = error.__context__ or error  # ending a recording that failed is an error too, which says less
                reason = str(first).strip().split("\n")[0]
                message = f"train.cuda_graph=true: a step can't be recorded ({reason}); set it to false"
                raise ConfigError(message) from error
            self._forget(())
            self.off = True
            self.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            return
        self.graph = graph
        self.grads = [parameter.grad for parameter in self.parameters]

    def _replay(self, batch: Batch) -> Outcome:
        assert self.graph is not None
        assert self.outcome is not None
        for name, value in self.inputs.items():
            value.copy_(batch[name], non_blocking=True)
        self.graph.replay()
        for parameter, grad in zip(self.parameters, self.grads, strict=True):
            parameter.grad = grad
        if not self.whole:
            self.optimizer.step()
        sums, norm = self.outcome
        return {name: value.clone() for name, value in sums.items()}, norm.clone()


def _release_generator(device: torch.device, state: Tensor) -> None:
    """Gives the device's generator a `state` of its own: a recording that failed keeps hold of the one it had."""
    fresh = torch.Generator(device)
    fresh.set_state(state)
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())


def capturable(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step can be part of a graph: all of its groups have torch's option for it."""
    return all("capturable" in group for group in optimizer.param_groups)


def live_in_tensors(optimizer: Optimizer, device: torch.device) -> None:
    """Make the step read rates and counts from `device`; what it saves stays plain, fit for a run without a graph."""
    _to_tensors(optimizer, device)
    optimizer.register_load_state_dict_post_hook(lambda loaded: _to_tensors(loaded, device))
    optimizer.register_state_dict_post_hook(_plain)


def _to_tensors(optimizer: Optimizer, device: torch.device) -> None:
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.full((), float(group["lr"]), device=device)
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].to(device)


def _plain(optimizer: Optimizer, state: dict[str, Any]) -> None:
    for group in state["param_groups"]:
        group["lr"], group["capturable"] = float(group["lr"]), False
