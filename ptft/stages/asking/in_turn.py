"""Blocks of items that the processes of a run do in turn, and which come together in order.

What is in a block, and so in each of its batches, does not depend on how many processes there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from ptft.builders.predictor import BATCH
from ptft.errors import DataError, Interrupted
from ptft.runtime import signals
from ptft.runtime.together.alone import current

T = TypeVar("T")


def same_work(weights: str | None, items: Sequence[Any]) -> None:
    """Raises DataError in all processes where they would not answer the same items by the same weights."""
    if current().count == 1:
        return
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item}\0".encode("utf-8", "surrogateescape"))
    if len(set(current().gathered((weights, len(items), digest.hexdigest())))) > 1:
        raise DataError("the processes found other files, or another checkpoint; are they the same, and at rest?")


def blocks(done: int | None, count: int, of: Callable[[int, int], Iterator[list[T]]]) -> Iterator[list[T]]:
    """What is made of each block of BATCH of `count` items, in order, from the one on in which number `done` is.

    The first process says how many are done, or that nothing is left to do (None). of: from where on, and how far apart
    the first items of its blocks are -> a list for each block. Few blocks are in memory at a time. Several processes
    agree on a signal once these are kept, and raise Interrupted then; one is interrupted at once.
    """
    group = current()
    if (done := group.same(done)) is None:
        return
    begin, apart, asked = done - done % BATCH, BATCH * group.count, list[str]()
    own = of(begin + BATCH * group.rank, apart)
    with signals.on_signal(asked.append) if group.count > 1 else nullcontext():
        for _ in range(begin, count, apart):
            yield from filter(None, group.gathered(next(own, [])))
            if name := group.stop(next(iter(asked), None)):
                raise Interrupted(f"stopped by {name}", signals.CODES[name])
