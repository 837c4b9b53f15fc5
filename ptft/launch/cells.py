"""The cells of a stage that trains many runs: each in its own folder, reused or continued where it is there."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ptft.config.overrides import Overrides
from ptft.errors import StorageError
from ptft.launch.job import DESCRIPTION, run_or_continue
from ptft.launch.pool import Worker
from ptft.runs.folder import read_json, write_json
from ptft.runtime import signals
from ptft.runtime.paths import cache_dir


class Cell(Protocol):
    """One of many runs: what is typed for it, and a digest of all that decides what comes of it."""

    @property
    def overrides(self) -> list[str]: ...

    @property
    def identity(self) -> str: ...

    def folder(self, base: Path) -> Path:
        """Its folder below that of all of them."""

    def description(self) -> dict[str, Any]:
        """What its folder says of it; `identity` among it."""


C = TypeVar("C", bound=Cell)

BUDGET = ("train.epochs", "train.steps", "train.minutes", "train.patience")
"""What may be typed where a run goes on, and makes another one of it."""


def finished(cell: Cell, base: Path | None, *, elsewhere: bool) -> Path | None:
    """The folder of a finished run that is this cell: below `base`, or `elsewhere` of an earlier comparison.

    Raises StorageError for one below `base` that somebody trained further, which is no cell any more and must not go.
    """
    own = None if base is None else cell.folder(base)
    if own is not None and _is_whole(cell.identity, own):
        if typed := _trained_further(own):
            raise StorageError(f"{own}: went on with {' '.join(typed)}; move it elsewhere, and the run is made anew")
        return own
    with contextlib.suppress(OSError, ValueError):
        if elsewhere:
            place = Path(_pointer(cell.identity).read_text(encoding="utf-8", errors="surrogateescape"))
            return place if _is_whole(cell.identity, place) and not _trained_further(place) else None
    return None


def _is_whole(identity: str, folder: Path) -> bool:
    same = read_json(folder / DESCRIPTION).get("identity") == identity
    return bool(same and read_json(folder / "status.json").get("status") == "finished")


def _trained_further(folder: Path) -> list[str]:
    """What was typed last that gave the run in a folder another budget than it began with."""
    typed = Overrides.parse(map(str, read_json(folder / "status.json").get("overrides") or ()))
    return list(typed.where(lambda key: key in BUDGET).texts) if "resume" in typed.keys else []


def _pointer(identity: str) -> Path:
    return cache_dir() / "cells" / identity


def remember(cell: Cell, folder: Path) -> None:
    """Have other comparisons find the finished run in `folder`."""
    with contextlib.suppress(OSError):  # a cache that can't be written is no reason to stop
        pointer = _pointer(cell.identity)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(folder), encoding="utf-8", errors="surrogateescape")


def disown(cell: Cell, base: Path) -> None:
    """Have nobody take the run that was made for a cell for it: it is another one."""
    write_json(cell.folder(base) / DESCRIPTION, {**cell.description(), "identity": None})


def run_cell(cell: Cell, base: Path, run: Callable[..., dict[str, Any]] = run_or_continue) -> dict[str, Any]:
    """Run one cell to its end, or on from where it was cut; its status, failures included."""
    return run(cell.overrides, cell.description(), cell.folder(base))


def run_all(cells: list[C], base: Path, processes: int) -> Generator[tuple[C, dict[str, Any]], None, None]:
    """Every cell with its status as it ends; the first that a signal ended is the last."""
    if processes > 1 and len(cells) > 1:
        yield from _in_processes(cells, base, min(processes, len(cells)))
        return
    for cell in cells:
        yield cell, run_cell(cell, base)


def _in_processes(cells: list[C], base: Path, processes: int) -> Generator[tuple[C, dict[str, Any]], None, None]:
    """Each worker is served by a thread; all are told to save and stop when this generator is closed or fails."""
    import torch

    todo, done = iter(cells), queue.SimpleQueue[tuple[C, dict[str, Any]]]()
    lock, stop = threading.Lock(), threading.Event()
    workers = [Worker(max(1, torch.get_num_threads() // processes)) for _ in range(processes)]

    def serve(worker: Worker) -> None:
        while not stop.is_set():
            with lock:
                cell = next(todo, None)
            if cell is None:
                return
            done.put((cell, run_cell(cell, base, worker.run)))

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in workers]
    try:
        with signals.held():  # one that comes in between may leave a thread waiting for its own start
            for thread in threads:
                thread.start()
        for _ in cells:
            yield done.get()
    finally:
        stop.set()
        for worker in workers:
            worker.close()
        for thread in threads:
            if thread.is_alive():
                thread.join()
        for worker in workers:
            worker.end()
