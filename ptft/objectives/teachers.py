"""Models of other checkpoints that an objective learns from, which a run that goes on reads again."""

from __future__ import annotations

from collections.abc import Callable

from ptft.core import Objective, Spec
from ptft.errors import CheckpointError

Rebuild = Callable[[str, str], tuple[Objective, Spec]]
"""(path of a checkpoint, the key that names it) -> its objective with all weights, and its Spec."""
Classifier = Callable[[str], tuple[Objective, Spec, str | None]]
"""What `objective.teacher` names -> its objective with all weights, its Spec, and the digest of its file."""


def check_same(path: str, before: str | None, now: str | None, key: str = "objective.teacher") -> None:
    """Raises CheckpointError where what the key names is not the file that a run began with.

    before, now: their sha256. None before: the run begins, or a version began it that did not keep it.
    """
    if None is not before != now:
        raise CheckpointError(
            f"{key}={path}: is not the file that the run began with (its sha256 was {before[:12]}…, is "
            f"{str(now)[:12]}…); put that back, or begin a new run"
        )
