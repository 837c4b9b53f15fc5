"""The cells of a stage that trains many runs: each in its own folder, reused or continued where it is there."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ptft.launch.job import DESCRIPTION, run_or_continue
from ptft.launch.pool import Worker
from ptft.runs.folder import read_json
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


def finished(cell: Cell, base: Path | None, *, elsewhere: bool) -> Path | None:
    """The folder of a finished run that is this cell: below `base`, or `elsewhere` of an earlier comparison."""
    places = [] if base is None else [cell.folder(base)]
    with contextlib.suppress(OSError, ValueError):
        if elsewhere:
            places.append(Path(_pointer(cell.identity).read_text(encoding="utf-8", errors="surrogateescape")))
    for place in places:
        if _holds_cell(cell.identity, place) and read_json(place / "status.json").get("status") == "finished":
            return place
    return None


def _holds_cell(identity: str, folder: Path) -> bool:
    return bool(read_json(folder / DESCRIPTION).get("identity") == identity)


def _pointer(identity: str) -> Path:
    return cache_dir() / "cells" / identity


def run_cell(cell: Cell, base: Path, run: Callable[..., dict[str, Any]] = run_or_continue) -> dict[str, Any]:
    """Run one cell to its end, or on from where it was cut; its status, failures included."""
    folder = cell.folder(base)
    status = run(cell.overrides, cell.description(), folder)
    if status["exit_code"] == 0:
        with contextlib.suppress(OSError):  # a cache that can't be written is no reason to stop
            pointer = _pointer(cell.identity)
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.write_text(str(folder), encoding="utf-8", errors="surrogateescape")
    return status


def run_all(cells: list[C], base: Path, processes: int) -> Generator[tuple[C, dict[str, Any]], None, None]:
    """Every cell with its status as it ends; the first that a signal ended is the last."""
    if processes > 1 and len(cells) > 1:
        yield from _in_processes(cells, base, min(processes, len(cells)))
        return
    for cell in cells:
        yield cell, run_cell(cell, base)


def _in_processes(cells: list[C], base: Path, processes: int) -> Generator[tuple[C, dict[str, Any]], None, None]:
    """Each worker is served by a thread; all are told to save and stop when this generator is closed or fails."""
    todo, done = iter(cells), queue.SimpleQueue[tuple[C, dict[str, Any]]]()
    import torch

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
    for thread in threads:
        thread.start()
    try:
        for _ in cells:
            yield done.get()
    finally:
        stop.set()
        for worker in workers:
            worker.close()
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.end()
