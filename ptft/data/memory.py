"""Examples in memory, parts of examples, and the way from files into memory.

Axes: N all examples, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.errors import DataError

MOST_SKIPPED = 1000
MOST_SKIPPED_FRACTION = 0.1


class MemoryExamples(Examples):
    """`input` uint8 [N, C, H, W] and `labels` long [N], together on one device. A batch is one gather.

    notes: sentences about how they came into memory, e.g. how many files were left out.
    """

    def __init__(self, input: Tensor, labels: Tensor, notes: tuple[str, ...] = ()) -> None:
        assert len(input) == len(labels)
        self.input = input
        self.labels: Tensor = labels
        self.notes = notes

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Batch:
        index = indices.to(self.input.device, non_blocking=True)
        return {
            "input": self.input.index_select(0, index),
            "label": self.labels.index_select(0, index),
            "index": index,
        }

    def to(self, device: torch.device) -> MemoryExamples:
        return MemoryExamples(self.input.to(device), self.labels.to(device), self.notes)

    @property
    def device(self) -> torch.device:
        return self.input.device

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self.input.nbytes

    def digest(self) -> bytes:
        """sha256 of the values."""
        return hashlib.sha256(self.input.cpu().contiguous().numpy().data).digest()


class Resized(Examples):
    """Examples in memory that are made larger a batch at a time, because all of them at once would not fit."""

    def __init__(self, examples: MemoryExamples, resize: Callable[[Tensor], Tensor]) -> None:
        self.examples, self.resize = examples, resize
        self.labels = examples.labels

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


class ReadExamples(Examples):
    """Examples that must be read or made before they are tensors.

    `take` may return fewer than it was asked for, where unreadable ones are to be skipped; `index` says which.
    """

    labels: Tensor

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that all of them take in memory."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call the example in a message: its file, say."""

    @abstractmethod
    def digest(self) -> bytes:
        """Differs when the examples or their order do; must not read them all."""


class Subset(ReadExamples):
    """The examples at `indices` (long [n]) of another set, with labels of their own (long [n])."""

    def __init__(self, examples: ReadExamples, indices: Tensor, labels: Tensor) -> None:
        assert len(indices) == len(labels)
        self.examples, self.indices, self.labels = examples, indices, labels

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Tensor) -> Batch:
        rows = self.indices[indices]
        batch = self.examples.take(rows)
        if len(batch["index"]) < len(rows):
            indices = indices[torch.isin(rows, batch["index"])]
        return {**batch, "label": self.labels[indices], "index": indices}

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes * len(self) // max(1, len(self.examples))

    def name(self, index: int) -> str:
        return self.examples.name(int(self.indices[index]))

    def digest(self) -> bytes:
        return hashlib.sha256(self.examples.digest() + self.indices.numpy().tobytes()).digest()


def select(examples: Examples, indices: Tensor, labels: Tensor) -> Examples:
    """The examples at `indices` (long [n]) under new `labels` (long [n]); a gather where they are in memory."""
    if isinstance(examples, MemoryExamples):
        whole = len(indices) == len(examples) and bool((indices == torch.arange(len(examples))).all())
        return MemoryExamples(examples.input if whole else examples.input[indices], labels, examples.notes)
    assert isinstance(examples, ReadExamples)
    return Subset(examples, indices, labels)


def check_skipped(examples: Examples, skipped: list[int]) -> None:
    """Raises DataError if so many of the examples are unreadable that something else must be wrong."""
    if len(skipped) > min(MOST_SKIPPED, MOST_SKIPPED_FRACTION * len(examples)):
        first = examples.name(skipped[0]) if isinstance(examples, ReadExamples) else f"sample {skipped[0]}"
        raise DataError(
            f"{len(skipped)} of {len(examples)} files are unreadable, {first} among them: too many for "
            f"dataset.on_error=skip (at most {MOST_SKIPPED} and {MOST_SKIPPED_FRACTION:.0%})"
        )


def into_memory(
    examples: Examples, limit_bytes: int, progress: Callable[[int, int], None] | None = None, chunk: int = 128
) -> Examples:
    """The same examples as one tensor, read once in parallel threads; unchanged if they take over `limit_bytes`.

    `progress(done, total)` is called now and then. Files that are skipped are left out and counted in `notes`.
    Raises DataError for the first unreadable file, or for too many skipped ones.
    """
    if not isinstance(examples, ReadExamples) or examples.nbytes > limit_bytes:
        return examples
    total, kept = len(examples), torch.zeros(len(examples), dtype=torch.bool)
    images: Tensor | None = None
    for done, batch in _read(examples, chunk):
        if images is None:
            images = batch["input"].new_empty(total, *batch["input"].shape[1:])
        images[batch["index"]] = batch["input"]
        kept[batch["index"]] = True
        if progress is not None:
            progress(done, total)
    assert images is not None
    return _whole(examples, images, kept)


def _read(examples: ReadExamples, chunk: int) -> Iterator[tuple[int, Batch]]:
    """(how many are done, batch) in order, read ahead by as many threads as there are cores."""
    total = len(examples)
    parts = [torch.arange(start, min(start + chunk, total)) for start in range(0, total, chunk)]
    executor = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        done = 0
        for part, batch in zip(parts, executor.map(examples.take, parts), strict=True):
            done += len(part)
            yield done, batch
    finally:
        executor.shutdown(cancel_futures=True)


def _whole(examples: ReadExamples, images: Tensor, kept: Tensor) -> MemoryExamples:
    if bool(kept.all()):
        return MemoryExamples(images, examples.labels)
    skipped = (~kept).nonzero().flatten().tolist()
    check_skipped(examples, skipped)
    note = f"{len(skipped)} of {len(examples)} files are unreadable and left out, {examples.name(skipped[0])} the first"
    return MemoryExamples(images[kept], examples.labels[kept], (note,))
