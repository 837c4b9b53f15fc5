"""What is read ahead: batches in processes of their own, single inputs in threads.

Axes: B batch.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptft.core import Batch, Examples
from ptft.errors import PtftError
from ptft.runtime import signals
from ptft.runtime.process import cores
from ptft.runtime.signals import CODES
from ptft.runtime.system import UNSENT, understood, worker_failure, writing
from ptft.runtime.terminal import Writer

T = TypeVar("T")
R = TypeVar("R")
MOST_THREADS = 32
AHEAD = 1
"""How many parts are read in threads while one is used."""
TIMEOUT = 300
"""Seconds that one batch may take a worker."""


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
    stop: Callable[[], None] = _nothing
    try:
        with signals.held():  # DataLoader can't be taken apart half-built
            try:
                batches: Any = iter(loader)
            except (OSError, RuntimeError) as error:  # of handles, threads or processes that can't be had
                _end(set(multiprocessing.active_children()) - before)
                raise understood(error) or error from error
            batches._try_put_index = partial(_whole, batches._try_put_index)
            processes = set(multiprocessing.active_children()) - before
            stop = partial(_stop, batches, processes)
            atexit.register(stop)  # of an epoch that an error left behind: Python would wait for its workers forever
        for _ in indices:
            yield _next(batches, processes)
    finally:
        atexit.unregister(stop)
        stop()


def _nothing() -> None:
    """There are no workers to stop yet."""


def _whole(work: Callable[[], None]) -> None:
    """No signal interrupts it: one that did so within a queue's locks would leave them locked, for whoever ends it."""
    with signals.held():
        work()


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
    with contextlib.suppress(RuntimeError):  # of torch's handler, where one of them dies of being left
        batches._shutdown_workers()
    vars(batches).pop("_try_put_index", None)  # which has them hold themselves, and their handles
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


def in_threads(read: Callable[[T], R], parts: Iterable[Sequence[T]]) -> Generator[list[R], None, None]:
    """What `read` makes of the items of each part, in order; the next part is read while one is used.

    Raises what `read` raises. A signal may interrupt it anywhere, as the caller's thread waits by nothing but queues
    that stay whole where a handler raises. Python's own pools may wait forever then: the locks of
    their `Condition`s stay locked (https://github.com/python/cpython/issues/74174).
    """
    asked = SimpleQueue[tuple[int, T] | None]()
    made = SimpleQueue[tuple[int, R | BaseException]]()
    begun, known = deque[range](), dict[int, R | BaseException]()

    def work() -> None:
        while (each := asked.get()) is not None:
            try:
                made.put((each[0], read(each[1])))
            except BaseException as error:
                made.put((each[0], error))

    def taken(places: range) -> Iterator[R]:
        for place in places:
            while place not in known:
                known.update([made.get()])
            if isinstance(value := known.pop(place), BaseException):
                raise value
            yield value

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(MOST_THREADS, cores() + 4))]
    count = 0
    try:
        with signals.held():
            for thread in threads:
                thread.start()
        for part in parts:
            begun.append(range(count, count + len(part)))
            for item in part:
                asked.put((count, item))
                count += 1
            if len(begun) > AHEAD:
                yield list(taken(begun.popleft()))
        while begun:
            yield list(taken(begun.popleft()))
    finally:
        with contextlib.suppress(Empty):
            while True:
                asked.get_nowait()
        for _ in threads:
            asked.put(None)
        for thread in threads:
            if thread.ident is not None:  # else the system has no more of them
                thread.join()
