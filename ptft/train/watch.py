"""Checks and times of a training run: losses that are not finite, and the time that passes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.errors import NotFiniteError
from ptft.optim.param_groups import highest_lr
from ptft.train.state import Progress, Training

UNREAD = 1000
"""Steps whose losses are left on the device at the most, without a look at them."""


class FiniteCheck:
    """Notices a loss or gradient that is not finite: on the CPU before the optimizer step, which costs nothing there.

    On other devices they are kept there without waiting for the device, and read before anything is logged, evaluated
    or saved, so no checkpoint ever holds spoiled weights.
    """

    def __init__(self, t: Training) -> None:
        self.t = t
        self.unread: list[Tensor] = []
        self.first = 0

    def add(self, value: Tensor) -> None:
        """A scalar of the step that the progress is at."""
        step = self.t.progress.step
        if value.device.type == "cpu":
            if not math.isfinite(value):
                self._fail(step)
            return
        if not self.unread:
            self.first = step
        self.unread.append(value)
        if len(self.unread) == UNREAD:
            self.check()

    def check(self) -> None:
        """Raises NotFiniteError naming the first step that was not finite, or the module that says it was its fault."""
        if not self.unread:
            return
        bad, self.unread = ~torch.stack(self.unread).isfinite(), []
        if step := int((bad * torch.arange(len(bad), 0, -1, device=bad.device)).max()):
            self._fail(self.first + len(bad) - step)

    def _fail(self, step: int) -> None:
        for module in self.t.objective.modules():
            if said := getattr(module, "complaint", str)():
                raise NotFiniteError(f"{said}; the last checkpoint is untouched")
        rate = highest_lr(self.t.optimizer)
        raise NotFiniteError(
            f"the loss or its gradient is not finite at step {step + 1}, at a learning rate of {rate:g}; "
            "lower optimizer.lr, or set train.clip or precision=fp32; the last checkpoint is untouched"
        )


class Timer:
    """Time spent in training, without evaluations and saves, and in waiting for data; whether a second has passed."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.start()
        self.logged = time.perf_counter()

    def start(self) -> None:
        self.last = time.perf_counter()

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; how long each took to arrive is counted."""
        began = self.last
        for batch in batches:
            self.progress.waited += time.perf_counter() - began
            yield batch
            began = time.perf_counter()

    def tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.last
        self.last = now

    def due(self, every: int | None, step: int) -> bool:
        if every is not None:
            return step % every == 0
        if self.last - self.logged < 1.0:
            return False
        self.logged = self.last
        return True
