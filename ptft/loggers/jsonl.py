"""Logger of metrics.jsonl, one object a line, and of the matrices of an evaluation, a JSON file each."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ptft.loggers.console import Console
from ptft.loggers.logger import Logger


class JsonlLogger(Logger):
    """Appends every row to `metrics.jsonl` in a run's folder, NaN and infinity as null.

    A disk that is full costs the rows and not the run: it is said once on the console.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.file: IO[str] | None = None
        self.failed = False

    def log(self, row: Mapping[str, Any]) -> None:
        self._write({key: value for key, value in row.items() if key != "samples"})

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        if row is not None:
            self._write(row)

    def table(
        self, name: str, split: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        write_table(self.folder, name, split, rows, columns, values)

    def close(self) -> None:
        if self.file:
            self.file.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        if self.failed:
            return
        path = self.folder / "metrics.jsonl"
        try:
            self.file = self.file or path.open("a", encoding="utf-8")
            self.file.write(json.dumps({key: _finite(value) for key, value in row.items()}) + "\n")
            self.file.flush()
        except OSError as error:
            self.failed = True
            self.console.say(f"{path}: can't be written ({error.strerror}); the run goes on without it", "yellow")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_table(
    folder: Path,
    name: str,
    split: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
) -> None:
    """`confusion_test.json` and the like: names of rows and columns, and the values."""
    content = {"rows": rows, "columns": columns, "values": [[_finite(value) for value in row] for row in values]}
    (folder / f"{name}_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def cut_metrics(path: Path, step: int) -> None:
    """Drop the rows of metrics.jsonl that are newer than `step`, the end's (test), and a last line that was cut."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row.get("step", 0) <= step and row.get("split") != "test":
                kept.append(line + "\n")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text("".join(kept), encoding="utf-8")
    os.replace(aside, path)
