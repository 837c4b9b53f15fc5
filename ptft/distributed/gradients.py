"""Gradients of summed losses, summed over all processes: in buckets, while backward still computes the next ones.

Axes: G numbers of a bucket: its gradients, one after the other, and a 1 for each that there was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

BUCKET = 2**22
"""Numbers of a bucket at the least, but for the last: some are sent while others are computed, and few are slow."""


class Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.begin()

    def begin(self) -> None:
        """Nothing of a step is there yet."""
        self.complete: set[nn.Parameter] = set()
        self.learning: list[nn.Parameter] = []
        self.sent: tuple[Tensor, dist.Work] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all gradients that a step can give it are there."""
        return 0 < len(self.learning) == len(self.complete)

    def add(self, parameter: nn.Parameter) -> bool:
        """Whether all gradients of the bucket are there with this one."""
        if not self.complete:
            self._look()
        self.complete.add(parameter)
        return self.is_complete

    def _look(self) -> None:
        """What learns is another in each phase of a run, and the same in all processes."""
        self.learning = [parameter for parameter in self.parameters if parameter.requires_grad]

    def send(self) -> None:
        self._look()
        if not self.learning:
            return
        grads = [p.grad.flatten() if p.grad is not None else p.new_zeros(p.numel()) for p in self.learning]
        there = [float(parameter.grad is not None) for parameter in self.learning]
        ones = grads[0].new_ones(len(there))  # made on the device: nothing is copied to it where all have one
        flat = torch.cat([*grads, ones if all(there) else ones.new_tensor(there)])
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self.sent = flat, work

    def receive(self) -> None:
        """Put the sums in the place of the gradients; a parameter that nobody used has none, as in one process."""
        if self.sent is not None:
            flat, work = self.sent
            work.wait()
            *sums, counts = torch.split(flat, [*(p.numel() for p in self.learning), len(self.learning)])
            pairs = list(zip(self.learning, sums, strict=True))
            had = [(p.grad, total.view_as(p)) for p, total in pairs if p.grad is not None]
            if had:
                torch._foreach_copy_([grad for grad, _ in had], [total for _, total in had])
            if len(had) < len(pairs):
                used = counts.tolist()
                for (parameter, total), count in zip(pairs, used, strict=True):
                    if parameter.grad is None and count:
                        # in the parameter's own layout: fused optimizers go through both as they lie in memory
                        parameter.grad = torch.empty_like(parameter).copy_(total.view_as(parameter))
        self.begin()


class GradientSum:
    """The exchange of one optimizer's gradients; all processes must ask for `finish` after each backward pass.

    overlap: whether each gradient is complete when it first appears, so that it may be sent at once.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, overlap: bool) -> None:
        self.buckets = buckets(list(parameters), BUCKET)
        self.next = 0
        self.device = self.buckets[0].parameters[0].device
        if overlap:
            for number, bucket in enumerate(self.buckets):
                for parameter in bucket.parameters:
                    _when_there(parameter, partial(self._there, number))

    def _there(self, number: int, parameter: nn.Parameter) -> None:
        """In all processes buckets are sent in one order, whichever is complete first."""
        if self.buckets[number].add(parameter):
            while self.next < len(self.buckets) and self.buckets[self.next].is_complete:
                self.buckets[self.next].send()
                self.next += 1

    def finish(self) -> None:
        """Wait until the sums of all processes are in the gradients."""
        for bucket in self.buckets[self.next :]:
            bucket.send()
        for bucket in self.buckets:
            bucket.receive()
        self.next = 0


def _when_there(parameter: nn.Parameter, call: Callable[[Any], None]) -> None:
    """Call it with the parameter when its gradient was added up; also one that learns in another phase only."""
    learns = parameter.requires_grad
    parameter.requires_grad_(True)
    parameter.register_post_accumulate_grad_hook(call)  # type: ignore[no-untyped-call]
    parameter.requires_grad_(learns)


def buckets(parameters: list[nn.Parameter], least: int) -> list[Bucket]:
    """In the order in which backward comes by them, about; of one type and device each."""
    found: list[list[nn.Parameter]] = []
    for parameter in reversed(parameters):
        last = found[-1] if found else []
        alike = last and (last[0].dtype, last[0].device) == (parameter.dtype, parameter.device)
        if alike and sum(each.numel() for each in last) < least:
            last.append(parameter)
        else:
            found.append([parameter])
    return [Bucket(each) for each in found]
