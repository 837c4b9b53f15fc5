"""Examples in memory, parts of examples, and examples that are yet to be read.

Axes: N all examples, n some of them, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.errors import DataError, are, counted

MOST_SKIPPED = 1000
MOST_SKIPPED_FRACTION = 0.1
FIRST = 3
"""So many are named where they are counted."""
FEW = 10
"""So many may always be left out, where they are not more than half."""

PART = 2**24
"""Bytes that are gathered at a time where all examples pass by."""


class SplitExamples(Examples):
    """All examples of a split, of which a source chooses some. They are in memory, or yet to be read or made."""

    @abstractmethod
    def at(self, rows: Tensor, labels: Tensor | None = None) -> SplitExamples:
        """Those at `rows` (long [n]) as examples that share what these hold; labels: long [n], theirs."""

    @abstractmethod
    def digest(self) -> bytes:
        """Differs when the examples or their order do, and on no machine else; must not read all files."""

    def earlier_digest(self) -> bytes:
        """As `digest` was before 0.2, where it held computed values, whose rounding differs between processors."""
        return self.digest()

    def known_by(self) -> list[str] | None:
        """What each is known by whatever else is there: its file's place below the root. None where nothing says it."""
        return None

    def identities(self) -> Tensor | None:
        """Long [N], a number for the content of each; None where that would take long to find, or nobody asks."""
        return None

    def identities_of(self, rows: Tensor) -> Tensor | None:
        """As `identities` of those at `rows` (long [n]) alone, which may take less long."""
        known = self.identities()
        return None if known is None else known[rows]

    def contents(self, rows: Tensor) -> Tensor | None:
        """As `identities` of those at `rows` (long [n]), from all that they hold; None where identities are that."""
        return None


class MemoryExamples(SplitExamples):
    """`base` uint8 [N, C, H, W] and `labels` long [n] or None, together on one device. A batch is one gather.

    rows: long [n], which examples of `base` these are, so that parts of a set share its memory; None for all in order.
    notes: sentences about how they came into memory, e.g. how many files were left out.
    made_of: the digest of what `base` was computed from, where it was.
    readable: bool [n] on the CPU, which of these `take` does not leave out; None for all. Indices on the CPU, too, are
        chosen from without waiting for a GPU.
    """

    def __init__(
        self,
        base: Tensor,
        labels: Tensor | None,
        notes: tuple[str, ...] = (),
        rows: Tensor | None = None,
        made_of: bytes | None = None,
        readable: Tensor | None = None,
    ) -> None:
        assert labels is None or len(labels) == len(base if rows is None else rows)
        self.base, self.rows, self.labels = base, rows, labels
        self.notes, self.made_of, self.readable = notes, made_of, readable
        self.unreadable = set() if readable is None else set((~readable).nonzero().flatten().tolist())

    def __len__(self) -> int:
        return len(self.base if self.rows is None else self.rows)

    def take(self, indices: Tensor) -> Batch:
        chosen = indices if self.readable is None else indices[self.readable[indices.cpu()].to(indices.device)]
        index = chosen.to(self.device, non_blocking=True)
        rows = index if self.rows is None else self.rows.index_select(0, index)
        batch = {"input": self.base.index_select(0, rows), "index": index}
        return batch if self.labels is None else {**batch, "label": self.labels.index_select(0, index)}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> MemoryExamples:
        """Those at `rows` (long [m]) under new labels (long [m]) or none; nothing is copied."""
        readable = None if self.readable is None else self.readable[rows]
        rows = rows if self.rows is None else self.rows[rows]
        whole = len(rows) == len(self.base) and bool((rows == torch.arange(len(rows))).all())
        return MemoryExamples(self.base, labels, self.notes, None if whole else rows, readable=readable)

    def parts(self) -> Iterator[tuple[int, Tensor]]:
        """(index of the first, uint8 [m, C, H, W]) over all examples in order, some megabytes at a time."""
        step = max(1, PART // max(1, math.prod(self.base.shape[1:])))
        for start in range(0, len(self), step):
            end = min(start + step, len(self))
            yield start, self.base[start:end] if self.rows is None else self.base.index_select(0, self.rows[start:end])

    def to(self, device: torch.device) -> MemoryExamples:
        """On another device there are only these examples; parts of a set stay disjoint."""
        if device == self.device:
            return self
        moved = torch.empty(len(self), *self.base.shape[1:], dtype=self.base.dtype, device=device)
        for start, values in self.parts():
            moved[start : start + len(values)] = values
        labels = None if self.labels is None else self.labels.to(device)
        return MemoryExamples(moved, labels, self.notes, readable=self.readable)

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        """Of these examples alone."""
        return len(self) * math.prod(self.base.shape[1:]) * self.base.element_size()

    def digest(self) -> bytes:
        """sha256 of the values in their order, or of those that they were computed from."""
        return self.earlier_digest() if self.made_of is None else self.made_of

    def earlier_digest(self) -> bytes:
        digest = hashlib.sha256()
        for _, values in self.parts():
            digest.update(values.cpu().contiguous().numpy().data)
        return digest.digest()


class Resized(Examples):
    """Examples in memory that are made larger a batch at a time, because all of them at once would not fit."""

    def __init__(self, examples: MemoryExamples, resize: Callable[[Tensor], Tensor]) -> None:
        self.examples, self.resize = examples, resize
        self.labels, self.notes, self.unreadable = examples.labels, examples.notes, examples.unreadable

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: Tensor) -> Batch:
        batch = self.examples.take(indices)
        batch["input"] = self.resize(batch["input"])
        return batch

    def to(self, device: torch.device) -> Resized:
        return Resized(self.examples.to(device), self.resize)

    @property
    def device(self) -> torch.device:
        return self.examples.device

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes

    def digest(self) -> bytes:
        """sha256 of the values before they are resized."""
        return self.examples.digest()


class OnDemandExamples(SplitExamples):
    """Examples that are read or made when they are taken.

    `take` may return fewer than it was asked for, where unreadable ones are to be skipped; `index` says which.
    """

    uneven: ClassVar[bool] = False
    """Whether their sizes differ, so that no file of them can be mapped; `to_memory` brings them into memory then."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of what `packed` gives of every example."""

    def packed(self, batch: Batch) -> Tensor:
        """uint8 [B, C, H, W], what of a batch that `take` returned is kept in memory, and handed to `held` then."""
        return batch["input"]

    @property
    def nbytes(self) -> int:
        """Bytes that all of them take in memory."""
        return len(self) * math.prod(self.shape)

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call the example in a message: its file, say."""

    def at(self, rows: Tensor, labels: Tensor | None = None) -> OnDemandExamples:
        """Those at `rows` (long [n]) under new labels (long [n]) or none."""
        return Subset(self, rows, labels)

    def cache_digest(self) -> bytes:
        """Differs when what `take` returns does, for a cache: stricter than `digest`, which a copied dataset keeps."""
        return self.digest()

    def held(self, pixels: MemoryExamples) -> Examples:
        """What they are once their `input` is in memory."""
        return pixels

    def to_memory(self, progress: Callable[[int, int], None]) -> Examples:
        """Uneven ones in memory; `progress(done, total)` now and then."""
        raise NotImplementedError(f"{type(self).__name__} has examples of one size")

    def whole(self) -> tuple[OnDemandExamples, Tensor]:
        """The set that these are part of, and which of it they are (long [n])."""
        return self, torch.arange(len(self))


class Subset(OnDemandExamples):
    """The examples at `indices` (long [n]) of another set, with labels of their own (long [n]) or none."""

    def __init__(self, examples: OnDemandExamples, indices: Tensor, labels: Tensor | None) -> None:
        assert labels is None or len(indices) == len(labels)
        self.examples, self.indices, self.labels = examples, indices, labels

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Tensor) -> Batch:
        rows = self.indices[indices]
        batch = self.examples.take(rows)
        if len(batch["index"]) < len(rows):
            indices = indices[torch.isin(rows, batch["index"])]
        chosen = {"input": batch["input"], "index": indices}
        return chosen if self.labels is None else {**chosen, "label": self.labels[indices]}

    @property
    def shape(self) -> tuple[int, ...]:
        return self.examples.shape

    def whole(self) -> tuple[OnDemandExamples, Tensor]:
        base, rows = self.examples.whole()
        return base, rows[self.indices]

    def name(self, index: int) -> str:
        return self.examples.name(int(self.indices[index]))

    def digest(self) -> bytes:
        return hashlib.sha256(self.examples.digest() + self.indices.numpy().tobytes()).digest()

    def earlier_digest(self) -> bytes:
        return hashlib.sha256(self.examples.earlier_digest() + self.indices.numpy().tobytes()).digest()


def too_many(count: int, total: int, most: int = MOST_SKIPPED) -> str | None:
    """Why so many of `total` can't be left out, None where they can: a tenth can, a few of a small set, at most `most`.

    More than that says that something else is wrong: a folder of another kind, a copy that broke off.
    """
    allowed = int(min(most, max(MOST_SKIPPED_FRACTION * total, min(FEW, total / 2))))
    return f"too many for dataset.on_error=skip (of {total:,} at most {allowed:,} are)" if count > allowed else None


def check_unreadable(examples: Examples) -> None:
    """Raises DataError if so many of the examples are unreadable that something else must be wrong."""
    if why := too_many(len(examples.unreadable), len(examples)):
        rows = sorted(examples.unreadable)
        raise DataError(f"{_unreadable(examples, rows)}, {_names(examples, rows[:1])} the first: {why}")


def left_out(examples: Examples) -> tuple[str, ...]:
    """What to say of the examples that are known to be unreadable. Raises DataError where they are too many."""
    check_unreadable(examples)
    rows = sorted(row for row in examples.unreadable if row < len(examples))  # others are replayed among them
    if not rows:
        return ()
    return (f"{_unreadable(examples, rows)} and left out, {_names(examples, rows[:FIRST])} the first (see split.csv)",)


def _unreadable(examples: Examples, rows: Sequence[int]) -> str:
    return f"{len(rows)} of {counted(len(examples), 'files')} {are(len(rows))} unreadable"


def _names(examples: Examples, rows: Sequence[int]) -> str:
    while not callable(name := getattr(examples, "name", None)) and (inner := getattr(examples, "examples", None)):
        examples = inner
    return ", ".join(name(row) if callable(name) else f"sample {row}" for row in rows)
