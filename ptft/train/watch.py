"""Checks and times of a training run: losses that are not finite, and the time that passes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.errors import NotFiniteError
from ptft.train.state import Progress, Training


class FiniteCheck:
    """Notices a loss or gradient that is not finite: on the CPU before the optimizer step, which costs nothing there.

    On other devices the first bad step is remembered without waiting for the device, and read before anything is
    logged, evaluated or saved, so no checkpoint ever holds spoiled weights.
    """

    def __init__(self, t: Training) -> None:
        self.t = t
        self.bad = torch.full((), -1, device=t.device)

    def add(self, value: Tensor) -> None:
        step = self.t.progress.step
        if value.device.type == "cpu":
            if not math.isfinite(value):
                self._fail(step)
        else:
            self.bad = torch.where(~value.isfinite() & (self.bad < 0), step, self.bad)

    def check(self) -> None:
        if self.bad.device.type != "cpu" and (step := int(self.bad)) >= 0:
            self._fail(step)

    def _fail(self, step: int) -> None:
        rate = self.t.optimizer.param_groups[-1]["lr"]
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
