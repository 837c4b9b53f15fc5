"""Logger of metrics.jsonl, one object a line, and of the matrices of an evaluation, a JSON file each."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ptft.errors import PtftError
from ptft.loggers.console import Console
from ptft.loggers.logger import Logger
from ptft.runtime import json_lines
from ptft.runtime.system import finite, write_text, writing


class JsonlLogger(Logger):
    """Appends every row to `metrics.jsonl` in a run's folder, NaN and infinity as null; with `--json` it is said, too.

    A disk that is full costs the rows and not the run: it is said once on the console. No row is written in part.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.file: IO[bytes] | None = None
        self.failed = False

    def log(self, row: Mapping[str, Any]) -> None:
        self._write({key: value for key, value in row.items() if key != "samples"})

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        if row is not None:
            self._write(row)

    def table(
        self, name: str, split: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        try:
            write_table(self.folder, name, split, rows, columns, values)
        except PtftError as error:
            self.console.say(f"{error}; the run goes on without it", "yellow")

    def close(self) -> None:
        if self.file:
            with contextlib.suppress(OSError):
                self.file.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        json_lines.emit("row", **row)
        path = self.folder / "metrics.jsonl"
        line = json.dumps(finite(dict(row))) + "\n"
        try:
            self.file = self.file or path.open("ab", buffering=0)
            _append(self.file, line.encode())
        except OSError as error:
            if not self.failed:
                self.console.say(f"{path}: can't be written ({error.strerror}); the run goes on without it", "yellow")
            self.failed = True


def _append(file: IO[bytes], line: bytes) -> None:
    """All of the line or nothing of it. Raises OSError."""
    end = os.fstat(file.fileno()).st_size
    try:
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(end)
        raise


def write_table(
    folder: Path,
    name: str,
    split: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
) -> None:
    """`confusion_test.json` and the like: names of rows and columns, and the values. Raises StorageError."""
    content = {"rows": rows, "columns": columns, "values": finite(values)}
    write_text(folder / f"{name}_{split}.json", json.dumps(content))


def stored_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics.jsonl, those that are whole; none where it is no file (a device that logs were sent to)."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                if isinstance(row := json.loads(line), dict):
                    yield row


def cut_metrics(path: Path, step: int) -> None:
    """Drop the rows of metrics.jsonl that are newer than `step`, the end's (test), and a last line that was cut.

    Raises StorageError.
    """
    if not path.is_file():
        return
    kept = []
    with writing(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row.get("step", 0) <= step and row.get("split") != "test":
                kept.append(line + "\n")
    write_text(path, "".join(kept))
