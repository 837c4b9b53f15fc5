"""Folds: which part of so many is the test split, so that over all of them each example is tested once.

Axes: N examples, K folds, C classes or labels.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.data.stratify import draws, in_proportion, strata, stratified_order
from ptft.errors import ConfigError

_OF_FOLDS = 2**34
"""Added to the seed where folds are drawn: other numbers than those that say what is val, or what a set holds out."""


class Fold(NamedTuple):
    """`dataset.fold`: number (from 1) of so many."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse(typed: str) -> Fold:
    """Of "2/5". Raises ConfigError for what is none."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", typed)
    fold = Fold(int(match[1]), int(match[2])) if match else None
    if fold is None or not fold.number <= fold.total or fold.total < 2:
        raise ConfigError(f"dataset.fold={typed}: which of how many, from 2 on, e.g. 1/5 to 5/5, or null")
    return fold


def places(labels: Tensor, count: int, seed: int, keys: Sequence[str] | None, *, grouped: bool = False) -> Tensor:
    """In which of `count` folds each example is, from 0, long [N]: folds of one size, each class in proportion.

    labels: long [N], not negative, or label sets uint8 [N, C], of which the `strata` count. keys: what each is known
    by, whose numbers are its place in a line that is cut into folds, whatever the order of the examples; equal ones
    stay together. Without keys that is drawn. grouped: whether equal keys are groups of any size, which are dealt out
    so that folds and classes come as near to that as they can.
    """
    classes = strata(labels) if labels.ndim == 2 else labels
    if keys is None:
        return _cut(stratified_order(classes, seed + _OF_FOLDS), count)
    values, unit = torch.unique(draws(keys, seed + _OF_FOLDS), return_inverse=True)
    if grouped:
        return _dealt(classes, unit, count)
    of_unit = torch.empty(len(values), dtype=torch.long)
    of_unit[unit.flip(0)] = classes.flip(0)  # of equal ones the first says it
    return _cut(in_proportion(of_unit), count)[unit]


def _cut(order: Tensor, count: int) -> Tensor:
    """Which of so many equal parts of `order` (long [N]) each is in, long [N]."""
    place = torch.empty_like(order)
    for number, rows in enumerate(order.tensor_split(count)):
        place[rows] = number
    return place


def _dealt(classes: Tensor, groups: Tensor, count: int) -> Tensor:
    """Long [N], the fold of each example; those of one group (long [N]) are in one."""
    from sklearn.model_selection import StratifiedGroupKFold

    place, members = torch.empty_like(groups), classes.bincount()
    classes = classes if bool((members >= count).any()) else torch.zeros_like(classes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # what no fold tests is told by who asks
        for number, (_, rows) in enumerate(StratifiedGroupKFold(count).split(classes, classes, groups)):
            place[torch.from_numpy(rows)] = number
    return place
