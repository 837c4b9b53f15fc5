"""Cells run: each an ordinary finetune in a folder of its own, reused where it is there, continued where it was cut."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from ptft import argv, job, plan, runs
from ptft.comparison.design import Cell
from ptft.errors import PtftError, ResourceError
from ptft.process import cache_dir

STOPPED = (130, 143)
"""Exit codes of a run that a signal ended."""


def finished(cell: Cell, base: Path | None) -> Path | None:
    """The folder of a finished run that is this cell: below `base`, or of an earlier comparison elsewhere."""
    places = [] if base is None else [cell.folder(base)]
    with contextlib.suppress(OSError, ValueError):
        places.append(Path(_pointer(cell.identity).read_text(encoding="utf-8")))
    for place in places:
        if _is(cell.identity, place) and runs.read_json(place / "status.json").get("status") == "finished":
            return place
    return None


def _is(identity: str, folder: Path) -> bool:
    return runs.read_json(folder / "cell.json").get("identity") == identity


def _pointer(identity: str) -> Path:
    return cache_dir() / "cells" / identity


def run_cell(overrides: list[str], about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Run one cell to its end in `path`, or on from where it was cut; its status, failures included."""
    try:
        folder, config, typed = _begin(overrides, about, path)
    except PtftError as error:
        return {"status": "failed", "exit_code": error.exit_code, "message": str(error)}
    status = job.execute(config, folder, typed, quiet=True)
    if status["exit_code"] == 0:
        with contextlib.suppress(OSError):  # a cache that can't be written is no reason to stop
            pointer = _pointer(about["identity"])
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.write_text(str(path), encoding="utf-8")
    return status


def _begin(overrides: list[str], about: dict[str, Any], path: Path) -> tuple[runs.RunFolder, dict[str, Any], list[str]]:
    status = runs.read_json(path / "status.json").get("status")
    if (
        status in ("running", "interrupted")
        and _is(about["identity"], path)
        and (path / "checkpoints/last.pt").exists()
    ):
        typed = [argv.quote(f"resume={path}")]
        return runs.RunFolder.reopen(path), plan.prepare(typed), typed
    if path.exists():  # a failed run, or one without a checkpoint yet
        runs.RunFolder.reopen(path).release()
        shutil.rmtree(path)
    config, folder = plan.prepare(overrides), runs.RunFolder.claim(path)
    runs.write_json(path / "cell.json", about)
    return folder, config, overrides


def run_all(cells: list[Cell], base: Path, processes: int) -> Generator[tuple[Cell, dict[str, Any]], None, None]:
    """Every cell with its status as it ends; the first that a signal ended is the last."""
    if processes > 1 and len(cells) > 1:
        yield from _in_processes(cells, base, min(processes, len(cells)))
        return
    for cell in cells:
        yield cell, run_cell(cell.overrides, cell.about(), cell.folder(base))


def _in_processes(cells: list[Cell], base: Path, processes: int) -> Generator[tuple[Cell, dict[str, Any]], None, None]:
    """Each worker is served by a thread; all are told to save and stop when this generator is closed or fails."""
    todo, done = iter(cells), queue.SimpleQueue[tuple[Cell, dict[str, Any]]]()
    lock, stop = threading.Lock(), threading.Event()
    workers = [Worker(max(1, torch.get_num_threads() // processes)) for _ in range(processes)]

    def serve(worker: Worker) -> None:
        while not stop.is_set():
            with lock:
                cell = next(todo, None)
            if cell is None:
                return
            done.put((cell, worker.run(cell, base)))

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


class Worker:
    """A process that runs cells, one at a time, with `threads` of the machine's."""

    def __init__(self, threads: int) -> None:
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.environment = {**os.environ, **counts, "PYTHONPATH": path}
        self.closed = False
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptft.comparison.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,  # Ctrl-C reaches it through its input, once it is closed
        )

    def run(self, cell: Cell, base: Path) -> dict[str, Any]:
        """Have a cell run and wait for its status."""
        assert self.process.stdin
        assert self.process.stdout
        task = {"overrides": cell.overrides, "about": cell.about(), "path": str(cell.folder(base))}
        with contextlib.suppress(OSError, ValueError):  # it died, or was closed: then it does not answer
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            status: dict[str, Any] = json.loads(line)
            return status
        if self.closed:
            return {"status": "interrupted", "exit_code": STOPPED[0], "message": "stopped before it began"}
        self.end()
        code = self.process.returncode
        self._start()
        message = f"its process died ({code}); with too little memory lower compare.processes or train.batch_size"
        return {"status": "failed", "exit_code": ResourceError.exit_code, "message": message}

    def close(self) -> None:
        """Let it save what it trains, and stop; it still answers."""
        assert self.process.stdin
        self.closed = True
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        """Wait until it is gone, after `close`."""
        assert self.process.stdout
        self.process.wait()
        self.process.stdout.close()
