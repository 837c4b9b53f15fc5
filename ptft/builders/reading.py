"""New files as batches: read in threads ahead of what is computed, and what is to be said of them.

Axes: B batch.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import readers
from ptft.data.workers import in_threads
from ptft.errors import DataError


@dataclass
class ReadBatch:
    """Items, the batch of those that can be read, why the others can't, and what is to be said, by their place."""

    items: Sequence[Any]
    batch: Batch
    errors: dict[int, DataError]
    remarks: dict[int, str]


Result = tuple[Tensor | DataError, str | None]
"""What was read, or why it can't be, and what is to be said of it."""


def ahead(
    spec: Spec, items: Sequence[Any], begin: int, count: int, apart: int
) -> Iterator[tuple[int, Sequence[Any], list[Result]]]:
    """`count` items at a time from `begin` on, with the place of the first; the next are read while these are used.

    apart: how far the first of them is from the first of the next.
    """

    def read(item: Any) -> Result:
        try:
            value = readers.read(spec, item)
            return value, readers.remark(spec, item, value)
        except DataError as error:
            return error, None

    starts = range(begin, len(items), apart)
    taken, asked = itertools.tee(items[start : start + count] for start in starts)
    with closing(in_threads(read, asked)) as results:
        yield from zip(starts, taken, results, strict=True)


class Remarks:
    """What is to be said of items, of how many, and of which first."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def add(self, remark: str | None, item: Any, count: int = 1) -> None:
        if remark:
            before, first = self.found.get(remark, (0, str(item)))
            self.found[remark] = before + count, first

    def lines(self, count: int) -> list[str]:
        """One for each remark on some of `count` items."""
        return [f"of {of:,} of {count:,} items {remark}, e.g. {first}" for remark, (of, first) in self.found.items()]


def warn(items: Sequence[Any], remarks: Remarks) -> None:
    """What a stage says of its input, as warnings of whoever called what calls this."""
    for sentence in (*getattr(items, "notes", ()), *remarks.lines(len(items))):
        warnings.warn(sentence, stacklevel=3)
