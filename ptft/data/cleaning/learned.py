"""What a vocabulary is learned from: examples that are trained on, and nothing that is held out or left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeVar

from ptft.data.cleaning.ignore import IgnoreList
from ptft.data.source import DividedSource

S = TypeVar("S", bound=DividedSource)
T = TypeVar("T")


def learned(source: S, items: Callable[[S], Sequence[T]]) -> Sequence[T]:
    """What the examples hold that are trained on, before there is a vocabulary to read them with.

    items: gives what each example of the split to train on holds, of a source as that stands then. Without those in a
    share that is val or test, those of `ignore`, and what `classes`, `limit`, `fraction` or `per_class` leave out, as
    with running text: an example that is not used says nothing of what the others are made of. All of them where
    nothing is trained on.

    They are found with a copy of the source, which has no vocabulary: there what will be cut counts as a whole, and so
    does what will be left out, so that of a smaller amount it may be others. What the copy finds and says is forgotten,
    as the source finds and says it anew. Where `comes_too_late` shares are not left out.
    """
    amounts = (source.limit, source.fraction, source.per_class, source.classes, source.ignore)
    if source.whole or not (has_shares(source) or any(amount is not None for amount in amounts)):
        return items(source)
    trial = copy(source)
    vars(trial).update({name: copy(value) for name, value in vars(source).items() if isinstance(value, dict | list)})
    trial.ignore = None if source.ignore is None else IgnoreList(source.ignore.path)
    if comes_too_late(source):
        trial.val, trial.test = (None if isinstance(own, float) else own for own in (source.val, source.test))
        trial.fold = None
    part = trial.part("train")
    assert part is not None
    every = items(trial)
    return [every[row] for row in part.rows.tolist()]


def has_shares(source: DividedSource) -> bool:
    """Whether a part of the split to train on is val or test."""
    return source.fold is not None or any(isinstance(own, float) for own in (source.val, source.test))


def comes_too_late(source: DividedSource) -> bool:
    """Whether only a vocabulary says which examples are in a share: those that it makes are divided by their order."""
    return source.cuts and source.divide_by == "order" and has_shares(source) and not source.whole
