"""The file status.json on a disk that is full; and files of a run as they were before it went on and was refused."""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from ptft.errors import StorageError
from ptft.runtime.system import written_whole

STAMP = "%Y-%m-%dT%H:%M:%S%z"
"""How it says the time."""


class Found(NamedTuple):
    """What it held, and when it was changed, in ns."""

    content: bytes
    changed: int


def found(path: Path) -> Found | None:
    """None where there is none, or what is there is no file: a device may have no end."""
    if not path.is_file():
        return None
    try:
        return Found(path.read_bytes(), path.stat().st_mtime_ns)
    except OSError:
        return None


def put_back(path: Path, before: Found | None) -> None:
    """Make it what it was, with the time it was changed. Raises StorageError."""
    if before is None:
        return
    try:
        with written_whole(path) as aside:
            aside.write_bytes(before.content)
    except StorageError:
        if not write_over(path, before.content):
            raise
    with contextlib.suppress(OSError):
        os.utime(path, ns=(before.changed, before.changed))


def write_over(path: Path, *contents: bytes) -> bool:
    """Into the file that is there, which takes no further room, the first of them that fits; whether one did."""
    try:
        with path.open("r+b", buffering=0) as file:
            before = file.read()
            if any(_put(file, each) for each in contents):
                return True
            _put(file, before)
            return False
    except OSError:
        return False


def _put(file: FileIO, data: bytes) -> bool:
    """Whether the file could be made to hold `data` and nothing else."""
    file.seek(0)
    try:
        whole = file.write(data) == len(data)
    except OSError:
        whole = False
    if whole:
        file.truncate()
    return whole
