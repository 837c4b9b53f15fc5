"""The protocol of what reads and compares examples of a modality; a Spec says by name which module that is.

Axes: N examples, n some of them, W features.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from PIL import Image
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.inspected.reading import Encode, Seen
from ptft.data.inspected.subject import Subject
from ptft.loggers.console import Console


class Kind(Protocol):
    """A module of `ptft.data.inspected`.

    FEATURES, HASH: what examples are described and compared by, in words. LEFT_OUT: what is not done, and why.
    strange: how unlike all others the rows are, float [n], where that is more than a distance by the features.
    """

    FEATURES: str
    HASH: str
    LEFT_OUT: tuple[str, ...]
    strange: Callable[[Tensor, list[str] | None], Tensor] | None

    def read(self, subject: Subject, encode: Encode | None, out: Console) -> Seen:
        """Read all that there is, and say what is odd."""

    def near(self, seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> tuple[Tensor, Tensor]:
        """Pairs of near duplicates among the `rows`, as places among these, long [n, 2], and how far they are apart."""

    def alike(self, seen: Seen, rows: Tensor, pairs: Tensor, seed: int) -> Tensor:
        """Which pairs, as `near` has them, that a model's features found are alike by themselves, bool [n]."""

    def described(self, seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> Tensor:
        """Features of the rows, float32 [n, W]."""

    def sheet(self, spec: Spec, batch: Batch, options: Any) -> list[Image.Image]:
        """Examples as a model is shown them in training; none where they have no pictures."""


def of(spec: Spec) -> Kind:
    """The module for the Spec's examples."""
    return cast(Kind, importlib.import_module(f"ptft.data.inspected.{spec.modality}"))
