"""Batches of examples in an order that only (seed, epoch) decide, from memory or from worker processes.

Axes: B batch, N all examples.
"""

from __future__ import annotations

import atexit
import multiprocessing
import re
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptft.core import Batch, Examples
from ptft.data.examples import check_skipped
from ptft.data.ragged import cut, grouped
from ptft.errors import ConfigError, DataError, PtftError, ResourceError

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
        assert len(examples) > 0
        assert batch_size > 0
        joins = tokens is None  # else it would hold more of them than it may
        self.lengths, batch_size, tokens = _sizes(examples, batch_size, tokens)
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
        indices = self._batches(epoch)[start:]
        for wanted, batch in zip(indices, self._taken(indices, epoch), strict=True):
            if len(batch["index"]) < len(wanted):
                self._count(wanted, batch["index"])
            yield batch

    def score(self, lists: dict[str, Tensor]) -> dict[str, float]:
        """What the examples make of the lists of an evaluation."""
        return self.examples.score(lists)

    def first(self, parts: int = 1) -> Batch:
        """The first part of the first batch, read here and not in a worker: to try things with."""
        indices = self._batches(0)[0] if self.lengths is not None else torch.arange((*self.ends, len(self.examples))[0])
        batch = self.examples.take(indices[: -(-len(indices) // parts)])
        return {name: value.to(self.device) for name, value in batch.items()}

    def _batches(self, epoch: int) -> list[Tensor]:
        seed = (self.seed * 1_000_003 + epoch) % (2**63 - 1)
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

    def _taken(self, indices: list[Tensor], epoch: int) -> Iterator[Batch]:
        if self.workers == 0 or not indices:
            return map(self.examples.take, indices)
        return from_workers(self.examples, indices, self.workers, self.device.type == "cuda")

    def _count(self, wanted: Tensor, got: Tensor) -> None:
        self.skipped.update(wanted[~torch.isin(wanted, got.cpu())].tolist())
        check_skipped(self.examples, sorted(self.skipped))
        if len(got) == 0:
            raise DataError(f"none of the {len(wanted)} files of a batch is readable; see dataset.on_error")


def _sizes(examples: Examples, batch_size: int, tokens: int | None) -> tuple[Tensor | None, int, int | None]:
    """The examples' lengths (long [N]) where batches must heed them, and the size of a batch in examples or tokens."""
    lengths = examples.lengths
    if lengths is None:
        if tokens is not None:
            raise ConfigError(f"train.tokens={tokens}: these examples have no length to count; set train.batch_size")
        return None, batch_size, None
    if bool((lengths == lengths[0]).all()):
        return None, batch_size if tokens is None else max(1, tokens // int(lengths[0])), None
    return lengths.cpu(), batch_size, tokens


class _Batches(Dataset[Batch | PtftError]):
    """What a worker runs. Errors travel as values, so that they arrive as they were."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, indices: Tensor) -> Batch | PtftError:
        try:
            return self.examples.take(indices)
        except PtftError as error:
            return type(error)(str(error))


def from_workers(examples: Examples, indices: list[Tensor], workers: int, pin: bool = False) -> Iterator[Batch]:
    """A batch for each of `indices` (long [B]), in their order, read ahead in processes.

    Raises what `take` raises, and ResourceError for a worker that died or hangs.
    """
    before = set(multiprocessing.active_children())
    batches = iter(
        DataLoader(
            _Batches(examples),
            batch_size=None,
            sampler=indices,
            num_workers=min(workers, len(indices)),
            collate_fn=_as_is,
            worker_init_fn=_begin,
            generator=torch.Generator().manual_seed(0),  # without it, making the iterator draws from the global state
            pin_memory=pin,
            timeout=TIMEOUT,
        )
    )
    processes = set(multiprocessing.active_children()) - before
    stop = partial(_stop, batches, processes)
    atexit.register(stop)  # of an epoch that an error left behind: Python would wait for its workers forever
    try:
        for _ in indices:
            yield _next(batches, processes)
    finally:
        atexit.unregister(stop)
        stop()


def _stop(batches: Any, workers: set[BaseProcess]) -> None:
    """Ask the workers to end, then make them: they ignore SIGTERM, and one that hangs hears nothing else."""
    batches._shutdown_workers()
    while workers:  # once: when Python ends, this is called again without the modules that it takes
        process = workers.pop()
        process.kill()
        process.join()


def _next(batches: Iterator[Batch | PtftError], workers: set[BaseProcess]) -> Batch:
    try:
        batch = next(batches)
    except (RuntimeError, OSError, EOFError) as error:  # a tensor of a worker that just died is a broken connection
        connection.wait([process.sentinel for process in workers], timeout=1)
        failure = worker_failure(error, [process.exitcode or 0 for process in workers])
        if failure is None and isinstance(error, EOFError | ConnectionError):
            failure = worker_failure(RuntimeError("DataLoader lost a worker"))  # whose exit code nobody could read
        if failure is None:
            raise
        raise failure from error
    if isinstance(batch, PtftError):
        raise batch
    return batch


def worker_failure(error: Exception, exit_codes: Iterable[int] = ()) -> ResourceError | None:
    """What DataLoader says of a lost worker, in our words; None where the error is another.

    exit_codes: of the workers, where they are known: DataLoader does not always say which signal it was.

    A dead worker interrupts the main process wherever it is, so the training loop needs this as well.
    """
    text, killed = str(error), [code for code in exit_codes if code < 0]
    if "DataLoader" not in text and not killed:
        return None
    if "timed out" in text:
        return ResourceError(f"a reading process gave no batch for {TIMEOUT} s; train.workers=0 shows where it hangs")
    named = re.search(r"by signal: (.+?)\.", text)
    names = [named[1]] if named else [signal.strsignal(-code) for code in killed]
    how = f"was ended by a signal ({names[0]})" if names else "died"
    return ResourceError(f"a reading process {how}, perhaps for lack of memory; try fewer train.workers (0 reads here)")


def _as_is(batch: Any) -> Any:
    return batch


def _begin(worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; the main process saves first, and needs its workers for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`, in their order; on a CPU they are passed on as they are.

    On cuda they are copied from pinned memory over a stream of their own. The loop never waits for the device, so it
    asks for a batch while the device still computes the one before: the copy then runs beside it, and no batch is read
    before it is asked for, so an unreadable example is an error at its own step. What is there already is not copied.
    Not yet measured on a GPU.
    """
    if device.type != "cuda":
        for batch in batches:
            yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        yield _copied(batch, device, copying)


def _copied(batch: Batch, device: torch.device, copying: torch.cuda.Stream) -> Batch:
    """The batch on `device`, ready for whatever its current stream does next."""
    absent = {name: value for name, value in batch.items() if not value.is_cuda}
    if not absent:
        return batch
    with torch.cuda.stream(copying):
        moved = {name: value.pin_memory().to(device, non_blocking=True) for name, value in absent.items()}
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(copying)
    for value in moved.values():
        # Its memory belongs to the copying stream, which must not reuse it before the computing one is done with it.
        value.record_stream(computing)
    return {**batch, **moved}
