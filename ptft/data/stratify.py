"""Which examples to take when not all are taken: by class, seeded, a function of the labels and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.data.ragged import starts_of
from ptft.errors import ConfigError, DataError


def ranks(labels: Tensor) -> Tensor:
    """For every label (long [N], not negative) how many equal ones stand before it, long [N]."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = starts_of(counts)
    out = torch.empty_like(labels)
    out[order] = torch.arange(len(labels)) - starts[labels[order]]
    return out


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of long [N] labels whose every beginning holds the classes in their proportions: indices [N].

    So the first n of it are a stratified choice of n, and a smaller choice is part of a larger one.
    """
    shuffled = _shuffle(len(labels), seed)
    mixed = labels[shuffled]
    share = (ranks(mixed) + 0.5) / labels.bincount()[mixed]
    return shuffled[share.argsort(stable=True)]


def per_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` random examples of every class, or of all where there are fewer; sorted."""
    shuffled = _shuffle(len(labels), seed)
    return shuffled[ranks(labels[shuffled]) < count].sort().values


def _shuffle(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))


def train_val_test(labels: Tensor, seed: int, held_out: float = 0.1) -> dict[str, Tensor]:
    """Sorted rows of train, val and test where data come undivided; the last two get the share `held_out` each."""
    held = max(1, round(held_out * len(labels)))
    parts = stratified_order(labels, seed).tensor_split((held, 2 * held))
    return {name: part.sort().values for name, part in zip(("test", "val", "train"), parts, strict=True)}


def check_enough(labels: Tensor, names: Sequence[str], count: int, noun: str = "images") -> None:
    """Raises DataError if a class has fewer than `count` of the `labels` (long [N]) of so many `noun`."""
    counts = labels.bincount(minlength=len(names))
    least = int(counts.argmin())
    if counts[least] < count:
        has = f"class {names[least]} has only {int(counts[least])} {noun} to train on"
        raise DataError(f"dataset.per_class={count}: {has}")


def check_amounts(limit: int | None, fraction: float | None, per_class: int | None) -> None:
    """Raises ConfigError for amounts that are out of range, or more than one."""
    amounts = {"limit": limit, "fraction": fraction, "per_class": per_class}
    typed = {key: value for key, value in amounts.items() if value is not None}
    if len(typed) > 1:
        named = " and ".join(f"dataset.{key}={value}" for key, value in typed.items())
        raise ConfigError(f"{named}: at most one of them can be set")
    for key, value in typed.items():
        if value <= 0 or (key == "fraction" and value > 1):
            raise ConfigError(f"dataset.{key}={value}: must be more than 0" + ", at most 1" * (key == "fraction"))


def check_choices(val: str | float | None, on_error: str) -> None:
    """Raises ConfigError for values that no dataset can follow."""
    if val is not None and not isinstance(val, str) and not 0 < val < 1:
        raise ConfigError(f"dataset.val={val}: the name of a split, a fraction between 0 and 1, or null")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"dataset.on_error={on_error}: raise or skip")
