"""The search: which trial goes on next and how far, and which can't any more. It follows from what was found alone.

Asynchronous successive halving (Li et al. 2020): a trial is trained to the first rung, a part of its budget, and goes
on from there once it is among the best of those that came so far; the others stay where they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FAILED, OPEN, WHOLE = "failed", "stopped", "finished"


@dataclass(frozen=True)
class Rung:
    """What a trial had come to where it was looked at. value: the best so far of what it is judged by."""

    step: int
    value: float
    loss: float | None
    """The validation loss there, which decides between equals."""


@dataclass
class Trial:
    """A run with these settings; of the first one they are none, and it is the defaults. status: of the three above."""

    number: int
    settings: dict[str, Any]
    rungs: list[Rung] = field(default_factory=list)
    status: str = OPEN
    message: str = ""
    folder: str = ""
    of: int | None = None
    """Steps of its whole budget, where they are known."""
    seconds: float = 0.0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of a whole one: split -> name -> value."""

    @property
    def steps(self) -> int:
        """Of training, all in all."""
        return self.rungs[-1].step if self.rungs else 0

    @property
    def value(self) -> float | None:
        return self.rungs[-1].value if self.rungs and self.status != FAILED else None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "value": self.value, "steps": self.steps}

    @classmethod
    def of_dict(cls, said: Mapping[str, Any]) -> Trial:
        own = {key: value for key, value in said.items() if key not in ("value", "steps", "rungs")}
        return cls(rungs=[Rung(**rung) for rung in said["rungs"]], **own)


@dataclass(frozen=True)
class Plan:
    """count: trials, the defaults among them. rungs: shares of a trial's budget, rising. factor: one of so many goes
    on. sign: 1 where more of the metric is better, else -1."""

    count: int
    rungs: tuple[float, ...]
    factor: int
    sign: int

    def following(self, trials: Sequence[Trial], more: bool = True) -> Trial | None:
        """The trial to train to its next rung; a new one (without settings yet) where none of these is worth it; None
        where the search is over.

        more: whether there is time for more than one trial that is trained to its end. The defaults always are.
        """
        if trials and trials[0].status == OPEN:
            return trials[0]
        if more:
            for level in reversed(range(len(self.rungs))):
                for trial in self._best_of(trials, level):
                    if trial.status == OPEN and len(trial.rungs) == level + 1:
                        return trial
            if len(trials) < self.count:
                return Trial(len(trials), {})
        if any(trial.status == WHOLE for trial in trials[1:]):
            return None
        left = [trial for trial in trials if trial.status == OPEN]
        return min(left, key=lambda trial: (-len(trial.rungs), self.rank(trial, len(trial.rungs) - 1)), default=None)

    def _best_of(self, trials: Sequence[Trial], level: int) -> list[Trial]:
        """Those of a rung that may go on."""
        came = [trial for trial in trials if len(trial.rungs) > level]
        lost = [trial for trial in trials if trial.status == FAILED and len(trial.rungs) == level]
        return self.ranked(came, level)[: (len(came) + len(lost)) // self.factor]

    def ranked(self, trials: Sequence[Trial], level: int) -> list[Trial]:
        return sorted(trials, key=lambda trial: self.rank(trial, level))

    def rank(self, trial: Trial, level: int) -> tuple[float, float, int]:
        """The less the better: by value, of equals by loss, of equals the earlier one."""
        rung = trial.rungs[level]
        return -self.sign * rung.value, math.inf if rung.loss is None else rung.loss, trial.number

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Of those that were trained to their end."""
        whole = [trial for trial in trials if trial.status == WHOLE]
        return min(whole, key=lambda trial: self.rank(trial, len(trial.rungs) - 1), default=None)

    def hopeless(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that stopped and never go on, whatever the trials to come are like: too many are better already."""
        found: list[Trial] = []
        to_come = self.count - len(trials)
        for level in range(len(self.rungs)):
            came = self.ranked([trial for trial in trials if len(trial.rungs) > level], level)
            waiting = [trial for trial in trials if trial.status == OPEN and len(trial.rungs) <= level]
            below = sum(trial not in found for trial in waiting)
            most = max(1, (len(came) + below + to_come) // self.factor)  # and the best may go on where no other does
            stopped = [trial for trial in came[most:] if trial.status == OPEN and len(trial.rungs) == level + 1]
            found += [trial for trial in stopped if trial.number]
        return found

    def cost(self) -> float:
        """About how many whole trainings the search costs, where each rung lets as many through as it is to."""
        ends, left, total = (*self.rungs, 1.0), float(self.count), 0.0
        for begin, end in itertools.pairwise((0.0, *ends)):
            total += max(1.0, left) * (end - begin)
            left = left / self.factor
        return min(total + 1 - (self.rungs[0] if self.rungs else 1.0), float(self.count))  # and the defaults to the end
