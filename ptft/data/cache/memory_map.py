"""Decoded examples in a file that every process maps: pixels as they are, read through the page cache.

A file is a page of header, then a record int64 for each example, then the pixels uint8 [N, C, H, W]. A record is 0
until the example's pixels are on the disk, then 1 + their CRC-32, or -1 where it can't be read. So one file serves
every part of a dataset, holds only what was asked for (the rest is a hole), and a killed build goes on where it was.

Axes: N all examples of the set, n those asked for.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.examples import OnDemandExamples
from ptft.errors import StorageError
from ptft.runtime.paths import cache_dir

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
PAGE = 4096
FLUSH = 2**26
"""Bytes of pixels that are written and flushed before their records are."""
PROBES = 256
"""Examples whose CRC is compared when a file is opened, and as many chosen anew each time; all of them would mean to
read all of it."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Records: TypeAlias = "NDArray[np.int64]"
Decode = Callable[[OnDemandExamples, Tensor], Iterable[tuple[Tensor, Batch]]]
"""The batches of the examples at long [n], with the indices that each was asked for; unreadable ones are missing."""


class Store:
    """The file of one whole set of examples; its name is a digest of all that decides the pixels."""

    def __init__(self, examples: OnDemandExamples) -> None:
        self.examples, self.count = examples, len(examples)
        kind = type(examples)
        what = f"{VERSION} {kind.__module__}.{kind.__qualname__} {self.count} {examples.shape}\0".encode()
        key = hashlib.sha256(what + examples.cache_digest()).hexdigest()[:32]
        self.path = cache_dir() / f"{key}.examples"
        self.header = f"ptft examples, version {VERSION}\n{key}\n".encode().ljust(PAGE, b"\0")
        self.item = examples.nbytes // self.count
        self.pixels = PAGE + -(-8 * self.count // PAGE) * PAGE
        self.size = self.pixels + self.count * self.item

    def open(self) -> tuple[Tensor, Records] | None:
        """(pixels uint8 [N, C, H, W], mapped read-only, and a copy of the records); None unless the file is ours."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.size or file.read(PAGE) != self.header:
                    return None
                records = np.frombuffer(file.read(8 * self.count), np.int64)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{self.path}: not readable ({error.strerror}); try dataset.cache=off") from error
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            pixels = torch.frombuffer(mapped, dtype=torch.uint8, offset=self.pixels).view(-1, *self.examples.shape)
        return (pixels, records) if _intact(pixels, records) else None

    def missing(self, rows: Tensor) -> int:
        """Bytes of the examples at `rows` (long [n]) that are still to be written."""
        opened = self.open()
        return self.item * (len(rows) if opened is None else int((opened[1][rows.numpy()] == 0).sum()))

    def fill(self, rows: Tensor, decode: Decode, progress: Callable[[int, int], None]) -> bool:
        """Decode and write what is missing of `rows`; other processes wait meanwhile. Whether a broken file was there.

        Raises StorageError where that can't be written; of a full disk it takes nothing then.
        """
        from filelock import FileLock

        with self._writing(len(rows) * self.item):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{self.path}.lock")
            lock.acquire()
        try:
            opened = self.open()
            broken = opened is None and self.path.exists()
            todo = rows if opened is None else rows[torch.from_numpy(opened[1][rows.numpy()] <= 0)]
            if opened is None:
                self._create(len(todo) * self.item)
            if len(todo):
                self._write(todo.sort().values, len(rows), decode, progress)
        finally:
            lock.release()
        return broken

    def _create(self, needed: int) -> None:
        """An empty file in one step, so that whoever has mapped a broken one keeps it."""
        aside = self.path.with_suffix(".new")
        with self._writing(needed):
            with aside.open("wb") as file:
                file.write(self.header)
                file.truncate(self.size)
                os.fsync(file.fileno())
            os.replace(aside, self.path)

    def _write(self, todo: Tensor, total: int, decode: Decode, progress: Callable[[int, int], None]) -> None:
        needed, done = len(todo) * self.item, total - len(todo)
        records, unsettled = np.zeros(self.count, np.int64), list[Tensor]()
        with self._writing(needed):
            file = self.path.open("r+b", buffering=0)
        with file:
            for wanted, batch in decode(self.examples, todo):
                index, pixels = batch["index"].numpy(), self.examples.packed(batch).numpy()
                records[wanted.numpy()] = -1
                records[index] = [1 + zlib.crc32(image) for image in pixels]
                unsettled.append(wanted)  # as a tensor: sending it to a process moves what an array points at
                done += len(wanted)
                with self._writing(needed):
                    _put(file, self.pixels, index, pixels)
                    if done == total or sum(map(len, unsettled)) * self.item >= FLUSH:
                        _settle(file, torch.cat(unsettled).numpy(), records)
                        unsettled = []
                progress(done, total)

    @contextmanager
    def _writing(self, needed: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.path}: can't be written ({error.strerror}); {needs(needed, self.path.parent)}"
            if error.errno in FULL:  # a full disk stops more than this run
                for path in (self.path, self.path.with_suffix(".new")):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
            raise StorageError(message) from error


def needs(needed: int, where: Path) -> str:
    """What to do about a cache that does not fit."""
    return (
        f"the decoded examples need {needed:,} bytes and {free(where):,} are free; free some space, set PTFT_CACHE to "
        "a folder on another disk, or dataset.cache=off"
    )


def free(where: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet; 0 where it can't be made or written."""
    while not where.exists() and where != where.parent:
        where = where.parent
    return shutil.disk_usage(where).free if where.is_dir() and os.access(where, os.W_OK) else 0


def _settle(file: IO[bytes], rows: Records, records: Records) -> None:
    """Pixels are flushed before their records are written: none speaks of pixels that a power cut took."""
    os.fsync(file.fileno())
    _put(file, PAGE, rows, records[rows])
    os.fsync(file.fileno())


def _put(file: IO[bytes], start: int, rows: Records, values: NDArray[np.generic]) -> None:
    """Write `values` [n, ...] to their places in an array that begins at byte `start`; neighbours at once."""
    if len(rows) == 0:
        return
    item = values[0].nbytes
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        file.seek(start + int(rows[run[0]]) * item)
        left = np.ascontiguousarray(values[run[0] : run[-1] + 1]).data.cast("B")
        while left:
            left = left[file.write(left) :]


def _intact(pixels: Tensor, records: Records) -> bool:
    """Whether the records are possible, and some of them true: spread over the file, and others each time."""
    if ((records < -1) | (records > 2**32)).any():
        return False
    written = np.flatnonzero(records > 0)
    spread = written[:: max(1, len(written) // PROBES)]
    other = np.random.default_rng().choice(written, min(PROBES, len(written)), replace=False)  # no run's generator
    return all(1 + zlib.crc32(pixels[i].numpy().data) == records[i] for i in np.union1d(spread, other))
