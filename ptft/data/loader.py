"""Batches of examples in an order that only (seed, epoch) decide, from memory or from worker processes.

Axes: B batch, N all examples.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptft.core import Batch, Examples, Table
from ptft.data.examples import check_skipped
from ptft.data.ragged import cut, grouped, sizes
from ptft.data.user_dataset.transformed import DRAW, Transformed
from ptft.errors import DataError, PtftError, counted
from ptft.runtime.prefetch import on_device
from ptft.runtime.signals import CODES
from ptft.runtime.system import UNSENT, understood, worker_failure, writing
from ptft.runtime.terminal import Writer
from ptft.runtime.together.alone import Lists

TIMEOUT = 300
"""Seconds that one batch may take a worker."""


class Loader:
    """An epoch after another of batches on `device`.

    shuffle: an order of its own for every epoch, a function of `seed` and the epoch; else the order of the examples.
    workers: processes that read ahead; examples in memory need none. What they read ahead changes nothing.
    tokens: instead of `batch_size` examples, as many as are at most so many tokens (or frames, or samples: whatever
        the examples' `lengths` count) once they are padded.
    joins_last: whether the last batch of an epoch would hold one example, which batch normalisation can't take; it
        joins the batch before it then.
    skipped: indices of examples that `take` left out so far.

    Examples of uneven length are batched with others of about their length; the batches of a shuffled epoch come in a
    random order, the others shortest first. How many there are is the same in every epoch.

    Never touches the global random state. Raises ConfigError for `tokens` where the examples have no lengths.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
        workers: int = 0,
        shuffle: bool = False,
        tokens: int | None = None,
    ) -> None:
        assert min(len(examples), batch_size) > 0
        joins = tokens is None  # else it would hold more of them than it may
        self.lengths, batch_size, tokens = sizes(examples, batch_size, tokens)
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.device, self.shuffle = device, shuffle
        self.workers = 0 if examples.in_memory else workers
        self.joins_last = joins and len(examples) > batch_size > 1 and len(examples) % batch_size == 1
        self.ends = self._ends(tokens)
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.ends) + 1

    def _ends(self, tokens: int | None) -> list[int]:
        """Where an order of all examples is cut into batches."""
        total = len(self.examples)
        if tokens is None:
            return list(range(self.batch_size, total, self.batch_size))[: -1 if self.joins_last else None]
        assert self.lengths is not None
        return cut(grouped(self.lengths, torch.arange(total))[1], tokens)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of that epoch from number `start` on.

        Raises DataError for an example that can't be read, ResourceError for a worker that died or hangs.
        """
        return on_device(self._read(epoch, start), self.device)

    def _read(self, epoch: int, start: int) -> Iterator[Batch]:
        yield from self._these(self._batches(epoch)[start:], epoch)

    def _these(self, indices: list[Tensor], epoch: int) -> Iterator[Batch]:
        for wanted, batch in zip(indices, self._taken(indices, epoch), strict=True):
            if len(batch["index"]) < len(wanted):
                self._count(wanted % DRAW, batch["index"])
            yield batch

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        """What the examples make of the lists of an evaluation."""
        return self.examples.score(lists)

    def whole(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]:
        """Sums and lists of whole batches, of those of this loader's; places: which batches the lists are of."""
        return sums, lists

    def first(self, parts: int = 1) -> Batch:
        """The first part of the first batch, read here and not in a worker: to try things with."""
        indices = self._batches(0)[0]
        batch = self.examples.take(wanted := indices[: -(-len(indices) // parts)])
        _check_some(wanted, batch["index"])
        return {name: value.to(self.device) for name, value in batch.items()}

    def _batches(self, epoch: int) -> list[Tensor]:
        seed = self._seed(epoch)
        order = self.examples.shuffled(seed) if self.shuffle else torch.arange(len(self.examples))
        if self.lengths is not None:
            order = grouped(self.lengths, order)[0]
        # One copy an epoch, and batches are views of it: examples that lie on a GPU are gathered there without waiting
        # for an index from here.
        batches = list(order.to(self.examples.device).tensor_split(self.ends))
        if self.lengths is None or not self.shuffle:
            return batches
        mixed = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed + 1))
        return [batches[i] for i in mixed.tolist()]

    def _seed(self, epoch: int) -> int:
        return (self.seed * 1_000_003 + epoch) % (2**63 - 1)

    def _taken(self, indices: list[Tensor], epoch: int) -> Iterator[Batch]:
        own = self.examples
        examples = own.of_epoch(self._seed(epoch)) if isinstance(own, Transformed) else own
        if self.workers == 0 or not indices:
            return map(examples.take, indices)
        return from_workers(examples, indices, self.workers, self.device.type == "cuda")

    def _count(self, wanted: Tensor, got: Tensor) -> None:
        self.skipped.update(wanted[~torch.isin(wanted, got.cpu())].tolist())
        check_skipped(self.examples, sorted(self.skipped))
        _check_some(wanted, got)


def _check_some(wanted: Tensor, got: Tensor) -> None:
    if len(got) == 0:
        raise DataError(f"none of the {counted(len(wanted), 'files')} of a batch is readable; see dataset.on_error")


class _Sent:
    """A batch as a worker sends it: packed where it was read, so that what fails in packing is an error of its own.

    Left to the queue, it would fail in a thread of the worker, and the training would wait for it.
    """

    def __init__(self, batch: Batch) -> None:
        self.packed = bytes(ForkingPickler.dumps(batch))

    def unpacked(self) -> Batch:
        batch: Batch = pickle.loads(self.packed)
        return batch

    def pin_memory(self) -> Batch:
        """What DataLoader's pinning thread calls."""
        return {name: value.pin_memory() for name, value in self.unpacked().items()}


class _Batches(Dataset[_Sent | PtftError]):
    """What a worker runs. Errors travel as values, so that they arrive as they were."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, indices: NDArray[np.int64]) -> _Sent | PtftError:
        try:
            return _Sent(self.examples.take(torch.from_numpy(indices)))
        except Exception as error:
            if explained := understood(error):
                return type(explained)(str(explained))
            if "<locals>" in type(error).__qualname__:  # which can't be sent
                raise RuntimeError("".join(traceback.format_exception(error))) from None
            raise


def from_workers(examples: Examples, indices: list[Tensor], workers: int, pin: bool = False) -> Iterator[Batch]:
    """A batch for each of `indices` (long [B]), in their order, read ahead in processes.

    Raises what `take` raises, and ResourceError for a worker that died or hangs.
    """
    before = set(multiprocessing.active_children())
    workers = min(workers, len(indices))
    with writing(Path(os.devnull)):
        _need_handles(4 * workers + 8)  # DataLoader can't be taken apart where it fails half-built
    loader = DataLoader(
        _Batches(examples),
        batch_size=None,
        sampler=[part.numpy() for part in indices],  # tensors would go through shared memory, and take handles
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_begin,
        generator=torch.Generator().manual_seed(0),  # without it, making the iterator draws from the global state
        pin_memory=pin,
        timeout=TIMEOUT,
    )
    try:
        batches = iter(loader)
    except (OSError, RuntimeError) as error:  # of handles, threads or processes that can't be had
        _end(set(multiprocessing.active_children()) - before)
        raise understood(error) or error from error
    processes = set(multiprocessing.active_children()) - before
    stop = partial(_stop, batches, processes)
    atexit.register(stop)  # of an epoch that an error left behind: Python would wait for its workers forever
    try:
        for _ in indices:
            yield _next(batches, processes)
    finally:
        atexit.unregister(stop)
        stop()


def _need_handles(count: int) -> None:
    """Raises OSError where no `count` files can be opened."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in opened:
            os.close(handle)


def _stop(batches: Any, workers: set[BaseProcess]) -> None:
    """Ask the workers to end, then make them: they ignore SIGTERM, and one that hangs hears nothing else."""
    batches._shutdown_workers()
    _end(workers)


def _end(workers: set[BaseProcess]) -> None:
    while workers:  # once: when Python ends, this is called again without the modules that it takes
        process = workers.pop()
        process.kill()
        process.join()


def _next(batches: Iterator[Batch | _Sent | PtftError], workers: set[BaseProcess]) -> Batch:
    try:
        return _received(batches, workers)
    except RuntimeError as error:  # torch's handler of a worker's end raises wherever this process stands
        raise worker_failure(error) or error from error


def _received(batches: Iterator[Batch | _Sent | PtftError], workers: set[BaseProcess]) -> Batch:
    try:
        batch = next(batches)
        batch = batch.unpacked() if isinstance(batch, _Sent) else batch
    except (RuntimeError, OSError, EOFError) as error:  # a tensor of a worker that just died is a broken connection
        ended = connection.wait([process.sentinel for process in workers], timeout=1)
        for process in (each for each in workers if each.sentinel in ended):
            process.join(1)  # its files are closed a moment before its exit code can be read
        failure = worker_failure(error, [process.exitcode or 0 for process in workers]) or understood(error)
        if failure is None and isinstance(error, EOFError | ConnectionError):
            failure = worker_failure(RuntimeError("DataLoader lost a worker"))  # whose exit code nobody could read
        if failure is None:
            raise
        raise failure from error
    if isinstance(batch, PtftError):
        raise batch
    return batch


def _as_is(batch: Any) -> Any:
    return batch


def _begin(worker: int) -> None:
    """Signals reach the whole process group; the main process saves first, and needs its workers for it."""
    for name in CODES:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.excepthook = _unsent
    Finalize(None, _hush, exitpriority=1)


def _hush() -> None:
    """What a worker says while it ends is of no use to anybody: it may have no handle left to tidy up with."""
    sys.stderr = Writer(None)


def _unsent(*error: object) -> None:
    """End a worker whose thread that hands out shared memory failed: it would fail on and on, and be waited for."""
    os._exit(UNSENT)
