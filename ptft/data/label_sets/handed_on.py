"""Examples that are other ones in another guise: what a subclass does not say of them is said by these."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from ptft.core import Batch, Columns, Examples, Table
from ptft.data.examples import OnDemandExamples


class HandedOn(Examples):
    """examples: what these are made of."""

    def __init__(self, examples: Examples) -> None:
        self.examples, self.labels, self.lengths = examples, examples.labels, examples.lengths
        self.notes, self.unreadable = examples.notes, examples.unreadable

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: Tensor) -> Batch:
        return self.examples.take(indices)

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        return self.examples.score(lists)

    def table(self, columns: Columns) -> Columns:
        return self.examples.table(columns)

    @property
    def device(self) -> torch.device:
        return self.examples.device

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes

    @property
    def in_memory(self) -> bool:
        return self.examples.in_memory


class ImagesHandedOn(OnDemandExamples):
    """Images that are read when they are taken, beside which something else of each is at hand."""

    images: OnDemandExamples

    unreadable = cached_property[set[int]](lambda self: self.images.unreadable)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    def name(self, index: int) -> str:
        return self.images.name(index)

    def whole(self) -> tuple[OnDemandExamples, Tensor]:
        return self.images.whole()

    def known_by(self) -> list[str] | None:
        return self.images.known_by()

    def identities(self) -> Tensor | None:
        return self.images.identities()

    def identities_of(self, rows: Tensor) -> Tensor | None:
        return self.images.identities_of(rows)

    def contents(self, rows: Tensor) -> Tensor | None:
        return self.images.contents(rows)
