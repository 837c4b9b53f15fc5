"""How often a run logs, evaluates and saves: what was typed, or what `auto` comes to.

`auto` follows from the budget, the epoch and the counts of examples alone, so that a run which is continued evaluates
where one that was never interrupted does. Only minutes go by a clock: that of training steps, which a resume goes on
with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptft.validators import minutes_of

APART = 200
"""Steps between saves at the least when their interval is `auto`, and between evaluations of a long run."""
TIMES = 10
"""Evaluations of a run at the least, when their interval is `auto` and they do not cost too much."""
COST = 10
"""The training between two evaluations takes at least so many times as long as one of them."""
PASSES = 3
"""An example takes so many times as long to train on, forward and backward, as to measure."""


@dataclass(frozen=True)
class Every:
    """Steps between logs, evaluations and saves; None for `log` means about once a second.

    evaluate: None where only the clock decides. minutes: of training, after which an evaluation is due as well. apart:
    steps between two evaluations at the least where they were not typed, because of what they cost. pause: a step, or a
    share of the budget, at the evaluation nearest to which the run stops (`train/pause.py`).
    """

    log: int | None
    evaluate: int | None
    save: int
    minutes: float | None = None
    apart: int = 1
    pause: float | None = None

    @classmethod
    def of(
        cls,
        log: int | str,
        evaluate: int | str,
        save: int | str,
        per_epoch: int,
        *,
        total: int | None = None,
        minutes: float | None = None,
        apart: int = 1,
    ) -> Every:
        """What was typed, in steps. total: those of the run, None where `minutes`, the other budget, says alone.

        apart: what `steps_apart` gave; of `auto` alone.
        """
        logged, saved = (None if log == "auto" else int(log)), (_usual(per_epoch) if save == "auto" else int(save))
        if evaluate == "auto":
            clock = minutes / TIMES if minutes else None
            return cls(logged, _auto(total, per_epoch, apart), saved, clock, apart)
        if clock := minutes_of(evaluate):
            return cls(logged, None, saved, clock)
        return cls(logged, per_epoch if evaluate == "epoch" else int(evaluate), saved)

    def evaluation_due(self, step: int, steps: int, seconds: float) -> bool:
        """Whether to evaluate at this step. steps, seconds: of training since the last evaluation."""
        if self.evaluate is not None and step % self.evaluate == 0:
            return True
        return self.minutes is not None and seconds >= 60 * self.minutes and steps >= self.apart

    def times(self, total: int | None) -> int | None:
        """How many evaluations a run of so many steps has, the one at its end included; None where a clock decides."""
        return math.ceil(total / self.evaluate) if total and self.evaluate and not self.minutes else None


def steps_apart(measured: int, examples: int, per_epoch: int) -> int:
    """Steps that take `COST` times as long as an evaluation which computes so many examples.

    examples: those of an epoch of `per_epoch` steps.
    """
    return max(1, math.ceil(COST * measured * per_epoch / (PASSES * examples)))


def _usual(per_epoch: int) -> int:
    """Whole epochs, `APART` steps at the least."""
    return math.ceil(APART / per_epoch) * per_epoch


def _auto(total: int | None, per_epoch: int, apart: int) -> int:
    """`TIMES` times in a run at the least, and every epoch that is long; as often as `apart` allows, evenly spread."""
    steps = _usual(per_epoch) if total is None else min(_usual(per_epoch), _spread(total))
    if steps < apart:
        steps = apart if total is None else math.ceil(total / max(1, total // apart))
    whole = steps // per_epoch * per_epoch
    return whole if whole and whole >= apart else steps


def _spread(total: int) -> int:
    """`TIMES` times evenly, the last at the end; more of them where so few steps can't be divided so."""
    steps = math.ceil(total / TIMES)
    return steps if math.ceil(total / steps) >= TIMES else max(1, total // TIMES)
