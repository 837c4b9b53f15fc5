"""The parts of the split that is trained on: what of it is val or test, and what is left to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ptft.data.division import fold
from ptft.data.splits import Part
from ptft.data.stratify import check_enough, per_class, stratified_order, without_shares
from ptft.errors import DataError, are, counted, shortened

if TYPE_CHECKING:
    from ptft.data.source import DividedSource

UNEVEN = 2
"""It is said of folds of groups that the smallest has less than an even share divided by this."""


def divided(source: DividedSource, whole: Part) -> dict[str, Part]:
    """`whole` without the shares and the fold that are val and test, as "train", and these; they share no example.

    Raises DataError for groups, or examples, that are too few.
    """
    shares = {name: own for name, own in (("val", source.val), ("test", source.test)) if isinstance(own, float)}
    by_name = source.divide_by == "name" and (shares or source.fold is not None)
    keys = source.keys_of(source.train) if by_name else None
    known_by = None if keys is None else [keys[i] for i in whole.rows.tolist()]
    rest, parts = torch.arange(len(whole.rows)), dict[str, Tensor]()
    if source.fold is not None:
        is_test = _tested(source, source.fold, whole, known_by)
        rest, parts["test"] = (~is_test).nonzero().flatten(), is_test.nonzero().flatten()
    known = None if known_by is None else [known_by[i] for i in rest.tolist()]
    left, *held = without_shares(whole.labels[rest], list(shares.values()), source.seed, known)
    parts |= {name: rest[rows] for name, rows in zip(("train", *shares), (left, *held), strict=True)}
    if known_by is not None and source.divided_by is not None:
        source.divided_by.check_parts(known_by, parts)
    source.drawn = source.drawn or bool(shares) or source.fold is not None
    return {name: whole.at(rows) for name, rows in parts.items()}


def _tested(source: DividedSource, asked: fold.Fold, whole: Part, keys: Sequence[str] | None) -> Tensor:
    """Which examples are in the fold, bool [N]. Raises DataError where there are too few of them for so many."""
    units = list(range(len(whole.rows))) if keys is None else list(keys)
    noun = source.noun if source.divided_by is None else f"groups of {source.divided_by.key}"
    if (count := len(set(units))) < asked.total:
        what = f"{counted(count, noun)} to train on {are(count)} too few for {asked.total} folds"
        raise DataError(f"dataset.fold={asked}: {what}; type fewer, or add {source.noun}")
    grouped = source.divided_by is not None
    place = fold.places(whole.labels, asked.total, source.fold_seed or 0, keys, grouped=grouped)
    if whole.labels.ndim == 1 and source.own_classes:
        _check_classes(source, asked, whole.labels, units, place, noun)
    is_test = place == asked.number - 1
    share = f"{int(is_test.sum()):,} of {len(is_test):,} {source.noun} of {source.train}"
    source.note(f"test is fold {asked.number} of {asked.total}: {share} (dataset.fold)")
    sizes = place.bincount(minlength=asked.total)
    if UNEVEN * int(sizes.min()) < len(place) // asked.total:
        source.note(f"the folds hold {int(sizes.min()):,} to {int(sizes.max()):,} {source.noun}, as groups are whole")
    return is_test


def _check_classes(
    source: DividedSource, asked: fold.Fold, labels: Tensor, units: Sequence[object], place: Tensor, noun: str
) -> None:
    """Raises DataError for a class of which nothing is left to train on while it is tested; notes those that some folds
    do not test. units: what each example, or its group, is known by."""
    held: dict[int, set[tuple[object, int]]] = {}
    for label, unit, number in zip(labels.tolist(), units, place.tolist(), strict=True):
        held.setdefault(label, set()).add((unit, number))
    folds = {label: len({number for _, number in own}) for label, own in sorted(held.items())}
    names = source.class_names()
    for label in (label for label, count in folds.items() if count < 2):
        has = f"class {names[label]} has {counted(len(held[label]), noun)}, all in one fold"
        raise DataError(
            f"dataset.fold={asked}: {has}: nothing of it would be trained on while it is tested; add some, or leave it "
            "out (dataset.classes)"
        )
    if few := [names[label] for label, count in folds.items() if count < asked.total]:
        source.note(f"some of the {asked.total} folds test nothing of {shortened(few, 8)}")


def reduced(source: DividedSource, part: Part) -> Part:
    """What `limit`, `fraction` or `per_class` leave to train on. Raises DataError for too few of a class."""
    seed = source.seed + 2**32  # another order than the one that chose val
    if source.per_class is not None:
        check_enough(part.labels, source.class_names(), source.per_class, source.noun)
        return part.at(per_class(part.labels, source.per_class, seed))
    count = source.limit if source.fraction is None else max(1, round(source.fraction * len(part.rows)))
    return part if count is None else part.at(stratified_order(part.labels, seed)[:count].sort().values)
