"""Where decoded examples are kept: in memory, in a file that is mapped, or nowhere. The values are the same.

Axes: N all examples, n some of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.cache.memory_map import Decode, Store, free, needs
from ptft.data.examples import MemoryExamples, OnDemandExamples, left_out
from ptft.data.workers import from_workers
from ptft.errors import ConfigError, ResourceError, StorageError
from ptft.runtime.memory import free_memory
from ptft.runtime.paths import cache_dir
from ptft.runtime.process import cores

MODES = ("auto", "memory", "disk", "off")
SHARE = 4
"""`auto` takes one part in so many of the free memory at the most."""
WORTH = 1.0
"""Seconds of work from which on processes are started for it. Threads would not do: with small images they spend
their time waiting for Python's lock, and two are slower than one."""
BYTES_AT_A_TIME = 2**19
"""Bytes that a process reads at a time; two parts of each wait in shared memory, which containers have little of."""


def choose(
    mode: str | bool, parts: Sequence[Examples], memory: int | None = None, disk: int | None = None
) -> tuple[str, str]:
    """("memory", "disk" or "off" for `dataset.cache=mode`, and a sentence that says so; "" where nothing is read).

    parts: the splits that a run uses; memory, disk: free bytes, measured where they are not given.
    Raises ResourceError or StorageError where the mode that was asked for can't work.
    """
    read = [examples for examples in parts if isinstance(examples, OnDemandExamples)]
    if not read:
        return "off", ""
    mode = "off" if mode is False else str(mode)  # an unquoted `off` in YAML is the value false
    if mode == "disk" and any(examples.uneven for examples in read):
        raise ConfigError("dataset.cache=disk: only images can be mapped; memory, off or auto")
    memory = free_memory() if memory is None else memory
    size, count = sum(map(_needed, read)), sum(map(len, read))
    whole = f"need {_show(size)} of memory, {_show(memory)} are free"
    if mode == "memory" and size > memory:
        raise ResourceError(f"dataset.cache=memory: the examples {whole}; dataset.cache=disk maps them")
    if mode == "memory" or (mode == "auto" and size <= memory // SHARE):
        return "memory", f"{count:,} examples are read once and kept in memory; they {whole} (dataset.cache={mode})"
    if mode == "off":
        return "off", f"{count:,} examples are read again in every epoch (dataset.cache=off)"
    return _disk_or_off(mode, read, size, whole, free(cache_dir()) if disk is None else disk)


def _disk_or_off(mode: str, read: Sequence[OnDemandExamples], size: int, whole: str, disk: int) -> tuple[str, str]:
    if any(examples.uneven for examples in read):
        return "off", f"examples are read again in every epoch (dataset.cache=auto; they {whole})"
    missing = sum(Store(base).missing(torch.unique(rows)) for base, rows in (examples.whole() for examples in read))
    if mode == "disk" and missing > disk:
        raise StorageError(f"dataset.cache=disk: {cache_dir()} has no room: {needs(missing, cache_dir())}")
    why = "dataset.cache=disk" if mode == "disk" else f"dataset.cache=auto; they {whole}"
    if mode == "disk" or 2 * missing <= disk:
        written = f", {_show(size - missing)} of them there already" if missing < size else ""
        return "disk", f"{_show(size)} of examples are mapped from {cache_dir()}{written} ({why})"
    return "off", f"examples are read again in every epoch ({why}, and {_show(disk)} are free in {cache_dir()})"


def decode(
    examples: OnDemandExamples,
    rows: Tensor,
    *,
    worth: float = WORTH,
    at_a_time: int = BYTES_AT_A_TIME,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Batch]]:
    """(indices, their batch) over `rows` (long [n]), in order; in processes once it is known to take a while.

    worth: seconds of work from which on that is so. at_a_time: bytes of a batch. workers: how many processes; None is
    one for each core.
    """
    workers = cores() if workers is None else workers
    step = max(1, min(256, at_a_time * len(examples) // max(1, examples.nbytes)))
    parts, began = list(torch.split(rows, step)), time.perf_counter()
    for done, part in enumerate(parts):
        left = len(parts) - done
        if done and workers > 1 and (time.perf_counter() - began) / done * left > worth:
            yield from zip(parts[done:], from_workers(examples, parts[done:], workers), strict=True)
            return
        yield part, examples.take(part)


def silent(done: int, total: int) -> None:
    """No progress."""


def keep(
    examples: Examples, mode: str, progress: Callable[[int, int], None] = silent, decode: Decode = decode
) -> Examples:
    """The same examples as `mode`, one of those that `choose` returns, says; `progress(done, total)` now and then.

    Those that are skipped keep their numbers, are left out of what is taken, and counted in `notes`. Raises DataError
    for the first unreadable file or for too many skipped ones, StorageError for a disk that can't be written,
    ResourceError for a process that died.
    """
    if mode == "off" or not isinstance(examples, OnDemandExamples):
        return examples
    return (into_memory if mode == "memory" else onto_disk)(examples, progress, decode)


def into_memory(
    examples: OnDemandExamples, progress: Callable[[int, int], None] = silent, decode: Decode = decode
) -> Examples:
    """As one tensor of all of them."""
    if examples.uneven:
        return examples.to_memory(progress)
    first, rows = _first(examples)
    total, done, place = len(first), 0, torch.empty(len(examples), dtype=torch.long)
    place[first] = torch.arange(total)
    images, kept = torch.empty(total, *examples.shape, dtype=torch.uint8), torch.zeros(total, dtype=torch.bool)
    for wanted, batch in decode(examples, first):
        read = place[batch["index"]]
        images.index_copy_(0, read, examples.packed(batch))  # indexing would wake threads against the readers
        kept[read] = True
        done += len(wanted)
        progress(done, total)
    return _kept(images, examples, kept[rows], rows)


def onto_disk(
    examples: OnDemandExamples, progress: Callable[[int, int], None] = silent, decode: Decode = decode
) -> Examples:
    """As part of the mapped file of the whole set."""
    base, rows = examples.whole()
    store = Store(base)
    notes: tuple[str, ...] = ()
    opened = store.open()
    if opened is None or bool((opened[1][rows.numpy()] <= 0).any()):
        if store.fill(torch.unique(rows), decode, progress):
            notes = (f"{store.path} was broken and is made anew",)
        opened = store.open()
    if opened is None:
        raise StorageError(f"{store.path}: changed while it was read; try again, or dataset.cache=off")
    return _kept(opened[0], examples, torch.from_numpy(opened[1][rows.numpy()] > 0), rows, notes)


def _first(examples: OnDemandExamples) -> tuple[Tensor, Tensor]:
    """Of those that are read alike the first (long [n]), in order, and which of these is each (long [N])."""
    _, rows = examples.whole()
    _, same = torch.unique(rows, return_inverse=True)
    every = torch.arange(len(rows))
    first = torch.full_like(every, len(rows)).scatter_reduce_(0, same, every, "amin")[same]
    chosen, among = torch.unique(first, return_inverse=True)
    return chosen, among


def _needed(examples: OnDemandExamples) -> int:
    """Bytes of them where what is read alike is kept once."""
    return examples.nbytes if examples.uneven else math.prod(examples.shape) * len(torch.unique(examples.whole()[1]))


def _kept(
    base: Tensor, examples: OnDemandExamples, kept: Tensor, rows: Tensor, notes: tuple[str, ...] = ()
) -> Examples:
    """The `rows` (long [n]) of `base` with the labels of `examples`; kept: bool [n], which could be read."""
    examples.unreadable.update((~kept).nonzero().flatten().tolist())
    notes, readable = (*notes, *left_out(examples)), None if bool(kept.all()) else kept
    whole = len(rows) == len(base) and bool((rows == torch.arange(len(rows))).all())
    return examples.held(MemoryExamples(base, examples.labels, notes, None if whole else rows, readable=readable))


def _show(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
