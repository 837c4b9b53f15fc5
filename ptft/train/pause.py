"""A run that stops itself: at the evaluation nearest to where `train.pause` says, saved, to be continued exactly.

It stops where a run that nothing stops evaluates as well, so that both stay the same.
"""

from __future__ import annotations

from ptft.train.state import Training

PAUSE = "train.pause"
"""What the loop was stopped by, in the place of a signal's name."""


def hear(t: Training) -> None:
    """Have the run end here where its pause is reached; a run that is continued from there hears it at once."""
    if t.stop is None and not t.finished() and reached(t):
        t.stop = PAUSE


def reached(t: Training) -> bool:
    """Whether the last step was evaluated, and no other evaluation comes nearer to the pause."""
    p, pause = t.progress, t.every.pause
    if pause is None or not p.step or p.evaluated != p.step:
        return False
    half, minutes = (t.every.evaluate or 0) / 2, t.budget.minutes
    if pause >= 1:
        return p.step + half >= pause
    of_steps = t.total is not None and p.step + half >= pause * t.total
    return of_steps or (minutes is not None and p.seconds >= pause * 60 * minutes)


def said(t: Training) -> list[str]:
    """What the plan says of it."""
    pause = t.every.pause
    if pause is None:
        return []
    point = f"step {pause:,}" if pause >= 1 else f"{pause * 100:g} % of the budget"
    if t.total is not None and pause >= t.total:
        return [f"train.pause={pause}: the run ends at step {t.total:,}, so it does not pause"]
    return [f"pauses at the evaluation nearest to {point}, saved, to be continued with resume="]
