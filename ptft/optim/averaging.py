"""Averages of weights: exponential over all steps, or the mean over a run's last evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError
from ptft.runtime.together.alone import current, own


class Average:
    """A running average of a module's weights and float buffers, on its device; subclasses say when and how it moves.

    Integer buffers are not averaged; the module's own stay in place. The statistics of batch norms are averaged like
    the weights, not computed again: that would draw random views.
    counts: names of the whole numbers that decide how the next update moves it; they are saved with it.
    """

    counts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, module: nn.Module) -> None:
        self.weights = {name: tensor.clone() for name, tensor in floats(module).items()}

    def move(self, module: nn.Module, share: float) -> None:
        """Moves the average by `share` of the way to the module's present weights."""
        torch._foreach_lerp_(own(self.weights.values()), own(floats(module).values()), share)

    def swapped(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside, the module holds the averages; after it, also after an exception, exactly what it held before."""
        return holding(module, self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Plain data for exact continuation; the tensors are the averages themselves, not copies."""
        return {**{name: getattr(self, name) for name in self.counts}, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` of an average over the same module gave."""
        weights = state["weights"]
        assert weights.keys() == self.weights.keys(), "the averages belong to another module"
        for name, average in self.weights.items():
            average.copy_(current().part(weights[name], average))
        for name in self.counts:
            setattr(self, name, state.get(name, 0))


class Ema(Average):
    """Exponential moving average, updated after every step (Polyak & Juditsky 1992).

    After n updates the next one keeps min(decay, (1 + n) / (10 + n)) of the average, so that the random start is soon
    forgotten.
    """

    counts = ("updates",)

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"train.ema={decay} must be at least 0 and below 1")
        super().__init__(module)
        self.decay = decay
        self.updates = 0

    def update(self, module: nn.Module) -> None:
        """Takes in the weights after an optimizer step."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.move(module, 1 - keep)
        self.updates += 1


class EvaluationAverage(Average):
    """Mean of the weights at the last `points` evaluations (Izmailov et al. 2018, "Averaging Weights Leads to Wider
    Optima"; of checkpoints: Vaswani et al. 2017, section 6.1).

    A running mean, so it takes the memory of the weights once whatever `points` is. Which evaluations are the last ones
    follows from the budget; where a resume has another, the mean starts anew from the weights that are there.
    """

    counts = ("count", "step", "total")

    def __init__(self, module: nn.Module, points: int) -> None:
        super().__init__(module)
        self.points = points
        self.count = self.step = self.total = 0

    def update(self, module: nn.Module, step: int, total: int, every: int) -> None:
        """Takes in an evaluated step of `total`, evaluated at multiples of `every` and at the end; each step once."""
        if step == self.step:
            return
        left = 0 if step >= total else math.ceil(total / every) - step // every
        self.count = self.count + 1 if left < self.points else 0
        self.step, self.total = step, total
        if self.count:
            self.move(module, 1 / self.count)

    def goes_on(self, module: nn.Module, step: int, total: int, every: int) -> None:
        """Begins anew where it was saved with another budget: with the weights at `step`, if they were evaluated there,
        would be with this budget too, and are among the last."""
        if self.total in (0, total):
            return
        evaluated, self.step, self.count = self.step == step, 0, 0
        if evaluated and step % every == 0:
            self.update(module, step, total, every)


@contextmanager
def holding(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the module's `floats` have the values of `weights`, of the same names; after it what they had before."""
    live = own(floats(module).values())
    kept = [tensor.clone() for tensor in live]
    torch._foreach_copy_(live, own(weights.values()))
    try:
        yield
    finally:
        torch._foreach_copy_(live, kept)


def floats(module: nn.Module) -> dict[str, Tensor]:
    """The floating tensors of the state dict, detached but sharing memory with the module; none that is `fitted`."""
    apart: frozenset[str] = getattr(module, "fitted", frozenset())
    tensors = module.state_dict().items()
    return {name: tensor for name, tensor in tensors if tensor.is_floating_point() and name not in apart}


def fitted(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that `Objective.settle` sets."""
    return {name: module.get_buffer(name).clone() for name in getattr(module, "fitted", ())}


def put_back(module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """The module's buffers as `fitted` gave them."""
    for name, values in buffers.items():
        module.get_buffer(name).copy_(values)
