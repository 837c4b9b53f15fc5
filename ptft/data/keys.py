"""The keys of every dataset as types, and what is wrong with a value of one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from torch import Tensor

from ptft.core import Spec
from ptft.errors import ConfigError, DataError


class Shared(TypedDict, total=False):
    """The keys of every dataset; `ptft.data.divided.DividedSource` says what they mean."""

    root: str | Path | None
    train: str
    val: str | float | None
    test: str | None
    limit: int | None
    fraction: float | None
    per_class: int | None
    classes: Sequence[str] | None
    download: bool
    on_error: str
    seed: int
    like: Spec | None


class Keys(Shared, total=False):
    """The keys of every dataset of images; `ptft.data.splits.SplitSource` says what they mean."""

    size: int | Sequence[int] | None
    channels: int | None


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


def check_enough(labels: Tensor, names: Sequence[str], count: int, noun: str = "images") -> None:
    """Raises DataError if a class has fewer than `count` of the `labels` (long [N]) of so many `noun`."""
    counts = labels.bincount(minlength=len(names))
    least = int(counts.argmin())
    if counts[least] < count:
        has = f"class {names[least]} has only {int(counts[least])} {noun} to train on"
        raise DataError(f"dataset.per_class={count}: {has}")


def unknown(key: str, value: str, choices: Iterable[str], most: int = 20) -> str:
    """One line for a name that does not exist: the nearest that do, and the choices."""
    names = list(choices)
    near = ", ".join(difflib.get_close_matches(value, names, 3, 0.5))
    listed = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{key}: there is no {value!r}{f', nearest: {near}' if near else ''} (choices: {listed})"


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of `dataset.size`. Raises ConfigError for anything but one or two whole numbers."""
    values = [size, size] if isinstance(size, int) else list(size)
    if len(values) != 2 or not all(isinstance(value, int) and value > 0 for value in values):
        raise ConfigError(f"dataset.size={size}: one whole number of pixels, or two ([height, width])")
    return values[0], values[1]
