"""A file of what long work has done so far, so that it goes on where it was cut: a line of JSON a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptft.errors import StorageError
from ptft.runtime.system import writing

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


class PartFile:
    """Parts of work, in order, behind a first line that says which work it is. One process holds it at a time.

    A part is there whole or not at all: of a process that is killed while it writes one, the torn line is taken away.
    """

    def __init__(self, path: Path, about: dict[str, Any], remedy: str, *, anew: bool = False) -> None:
        """Open it, or make it. anew: whether to begin again where it is of other work. Raises StorageError.

        matches: whether it is of this work; nothing was written where it is of other work.
        """
        self.path, self.remedy = path, remedy
        with writing(path, remedy):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._hold()
            self._file.seek(0)
            first = _parsed(self._file.readline())
            self.matches = first is None or anew or first == about
            if self.matches and first != about:
                self._file.truncate(0)
                self._file.write(_line(about))
                self._file.flush()

    def _hold(self) -> None:
        if fcntl:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                raise StorageError(f"{self.path}: another process is at it; wait for it, or {self.remedy}") from error

    def parts(self) -> Iterator[dict[str, Any]]:
        """What is there, one after the other; a last one that is torn is taken away."""
        self._file.seek(0)
        whole = len(self._file.readline())
        for line in iter(self._file.readline, b""):
            part = _parsed(line)
            if part is None:
                break
            whole += len(line)
            yield part
        with writing(self.path, self.remedy):
            self._file.truncate(whole)

    def add(self, part: dict[str, Any]) -> None:
        """Raises StorageError."""
        with writing(self.path, self.remedy):
            self._file.write(_line(part))
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was told
            self._file.close()

    def remove(self) -> None:
        """The work is done."""
        with suppress(OSError):
            os.unlink(self.path)
        self.close()


def _line(part: dict[str, Any]) -> bytes:
    return json.dumps(part, default=str).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None for a line that is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        part = json.loads(line)
    except ValueError:
        return None
    return part if isinstance(part, dict) else None
