"""Folds: which part of so many is the test split, so that over all of them each example is tested once.

Axes: N examples, K folds, C classes or labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.data.stratify import draws, stratified_order
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


def places(labels: Tensor, count: int, seed: int, keys: Sequence[str] | None) -> Tensor:
    """In which of `count` folds each example is, from 0, long [N].

    labels: long [N], not negative, or label sets uint8 [N, C]. keys: what each is known by; equal ones stay together,
    and its own number says where an example is, so that others that come or go do not move it, with two exceptions: a
    fold without one gets that of the smallest number from the largest fold, and a class that lies in one fold alone
    gives that of its largest number to another, as far as that leaves no other class in one. Without keys the folds
    are of one size and keep the classes in proportion, and all examples decide.
    """
    if keys is None:
        place = torch.empty(len(labels), dtype=torch.long)
        for number, rows in enumerate(stratified_order(labels, seed + _OF_FOLDS).tensor_split(count)):
            place[rows] = number
        return place
    draw = draws(keys, seed + _OF_FOLDS)
    place = (draw * count).long().clamp(max=count - 1)
    _fill(place, draw, count)
    _spread(place, draw, labels, count)
    return place


def _fill(place: Tensor, draw: Tensor, count: int) -> None:
    """Give every fold something, in place, as long as there are so many different numbers."""
    held = [sorted(set(draw[place == number].tolist())) for number in range(count)]
    for number in (number for number in range(count) if not held[number]):
        most = max(range(count), key=lambda other: len(held[other]))
        if len(held[most]) < 2:
            return
        held[number] = [held[most].pop(0)]
        place[draw == held[number][0]] = number


def _spread(place: Tensor, draw: Tensor, labels: Tensor, count: int) -> None:
    """Leave no class in one fold alone, in place, where it can be in two: what is trained on would lack it."""
    table = torch.stack([_counts(labels, place == number) for number in range(count)])
    for label in _alone(table).nonzero().flatten().tolist():
        own = labels[:, label] > 0 if labels.ndim == 2 else labels == label
        there = int(table[:, label].argmax())
        if len(values := sorted(set(draw[own].tolist()), reverse=True)) < 2 or not _alone(table)[label]:
            continue
        others = [(there + step) % count for step in range(1, count)]
        for value, other in ((value, other) for value in values for other in others):
            moved = _counts(labels, draw == value)
            tried = table.clone()
            tried[there] -= moved
            tried[other] += moved
            if not (_alone(tried) & ~_alone(table)).any():
                place[draw == value], table = other, tried
                break


def _alone(table: Tensor) -> Tensor:
    """Which classes lie in one fold alone, bool [C], of how many examples each has in each fold, long [K, C]."""
    return (table > 0).sum(0) == 1


def _counts(labels: Tensor, chosen: Tensor) -> Tensor:
    """How many of each label are `chosen` (bool [N]), long [C]."""
    if labels.ndim == 2:
        return labels[chosen].sum(0, dtype=torch.long)
    return labels[chosen].bincount(minlength=int(labels.max()) + 1 if len(labels) else 0)
