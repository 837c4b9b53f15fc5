"""Learning rate schedules: pure functions of the step, so that a resumed run needs no state of theirs.

A schedule says by which factor in 0..1 the base rates are multiplied at optimizer step s of S (s counts from 0). The
first W steps are the warm-up; after them every schedule falls in its own way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from ptft.errors import ConfigError


class Schedule(ABC):
    """The factor of the base learning rates over a run.

    warmup: an integer is a number of steps, a fraction in 0..1 that part of the run. Over it the factor rises as
        (s + 1) / (W + 1), so that the first step already learns and step W stands at the peak (the gradual warm-up
        of Goyal et al. 2017, section 2.2).

    Raises ConfigError naming `schedule.KEY` for a value out of range.
    """

    def __init__(self, *, warmup: int | float = 0) -> None:
        if isinstance(warmup, bool) or not (warmup >= 0 if isinstance(warmup, int) else 0 <= warmup < 1):
            choices = "a whole number of steps, 0 or more, or a fraction of the run below 1"
            raise ConfigError(f"schedule.warmup={warmup} must be {choices}")
        self.warmup = warmup

    def __call__(self, step: float, steps: float) -> float:
        """The factor in 0..1 at optimizer step `step` (from 0) of `steps`; beyond the end the one at the end."""
        warmup = self.warmup if isinstance(self.warmup, int) else self.warmup * steps
        return self.rise(step, warmup) if step < warmup else self.fall(step, steps, warmup)

    def rise(self, step: float, warmup: float) -> float:
        """The factor at a step of the warm-up, which is `warmup` steps long."""
        return (step + 1) / (warmup + 1)

    @abstractmethod
    def fall(self, step: float, steps: float, warmup: float) -> float:
        """The factor at a step after the warm-up, which was `warmup` steps long."""


class Constant(Schedule):
    """1 after the warm-up."""

    def fall(self, step: float, steps: float, warmup: float) -> float:
        return 1.0


class Cosine(Schedule):
    """m + (1 - m) (1 + cos(pi p)) / 2 with p = (s - W) / (S - W) and m = `min_factor`.

    Half a period without restarts (Loshchilov & Hutter 2017, section 3, equation 5).
    """

    def __init__(self, *, warmup: int | float = 0, min_factor: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        self.min_factor = _within("min_factor", min_factor, 0, 1)

    def fall(self, step: float, steps: float, warmup: float) -> float:
        return _between(self.min_factor, (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2)


class OneCycle(Cosine):
    """Up a straight line from `start_factor` to 1, f + (1 - f) s / W, then down a cosine as in `Cosine`.

    The 1cycle policy (Smith & Topin 2018) in the shape it is used today: one long fall to about 0 instead of
    two straight ones, and a momentum that stays as it is.
    """

    def __init__(self, *, warmup: int | float = 0.3, start_factor: float = 0.04, min_factor: float = 0.0) -> None:
        super().__init__(warmup=warmup, min_factor=min_factor)
        self.start_factor = _within("start_factor", start_factor, 0, 1, open_below=True)

    def rise(self, step: float, warmup: float) -> float:
        return _between(self.start_factor, step / warmup)


class Linear(Schedule):
    """1 - (1 - m) p with p = (s - W) / (S - W) and m = `min_factor`."""

    def __init__(self, *, warmup: int | float = 0, min_factor: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        self.min_factor = _within("min_factor", min_factor, 0, 1)

    def fall(self, step: float, steps: float, warmup: float) -> float:
        return _between(self.min_factor, 1 - _progress(step, warmup, steps))


class StepDecay(Schedule):
    """gamma ** (number of milestones m with s / S >= m); the milestones are fractions of the whole run.

    The step-wise schedule of He et al. 2016, section 3.4 (there by the error curve, here at fixed places).
    """

    def __init__(
        self, *, warmup: int | float = 0, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
    ) -> None:
        super().__init__(warmup=warmup)
        if not all(0 < milestone < 1 for milestone in milestones):
            raise ConfigError(f"schedule.milestones={list(milestones)} must be fractions of the run, all inside 0..1")
        self.milestones = tuple(milestones)
        self.gamma = _within("gamma", gamma, 0, 1, open_below=True)

    def fall(self, step: float, steps: float, warmup: float) -> float:
        # A quotient is rounded as the typed fraction is, so 7 of 100 has reached 0.07; 0.07 * 100 is above 7.
        return self.gamma ** sum(step / steps >= milestone for milestone in self.milestones)


class WarmupStableDecay(Schedule):
    """1 until the last `decay` of the run, then m + (1 - m) (1 - sqrt(q)), q going from 0 to 1 over that part.

    WSD (Hu et al. 2024, section 4), with the shape of decay found best by Haegele et al. 2024, section 3. `decay` is a
    fraction of the whole run, m is `min_factor`.
    """

    def __init__(self, *, warmup: int | float = 0, decay: float = 0.2, min_factor: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        self.decay = _within("decay", decay, 0, 1, open_below=True)
        self.min_factor = _within("min_factor", min_factor, 0, 1)
        if isinstance(warmup, float) and warmup + decay > 1:
            raise ConfigError(f"schedule.warmup={warmup} and schedule.decay={decay} are more than the whole run")

    def fall(self, step: float, steps: float, warmup: float) -> float:
        start = max(warmup, (1 - self.decay) * steps)
        return _between(self.min_factor, 1 - math.sqrt(_progress(step, start, steps)))


def _progress(step: float, start: float, end: float) -> float:
    """Where `step` lies between `start` (0) and `end` (1). A part of less than one step counts as one."""
    return min(1.0, max(0.0, (step - start) / max(1.0, end - start)))


def _between(low: float, part: float) -> float:
    """The value `part` of the way from `low` to 1."""
    return low + (1 - low) * part


def _within(key: str, value: float, low: float, high: float, *, open_below: bool = False) -> float:
    if not (low < value <= high if open_below else low <= value <= high):
        above = "above" if open_below else "at least"
        raise ConfigError(f"schedule.{key}={value} must be {above} {low} and at most {high}")
    return value
