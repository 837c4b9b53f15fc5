"""The keys that every dataset has, of one's own or published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from ptft.core import Spec
from ptft.data.own.text_record import Column


class Shared(TypedDict, total=False):
    """The keys of every dataset; `ptft.data.source.DividedSource` says what they mean."""

    root: str | Path | None
    train: str
    val: str | float | None
    test: str | float | None
    limit: int | None
    fraction: float | None
    per_class: int | None
    classes: Sequence[str] | None
    names: Sequence[str] | Mapping[Any, str] | None
    download: bool
    on_error: str
    divide_by: str
    group: Column | None
    group_as: str
    fold: str | None
    seed: int
    like: Spec | None
    whole: bool
    ignore: str | Path | None
