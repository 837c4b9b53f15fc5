"""Recordings opened with soundfile, from files and from cells of tables; other rates by soxr."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ptft.data.hub.cells import Cell, File, stream
from ptft.errors import not_imported
from ptft.runtime.silence import silenced

STREAM = 2**31 - 2**12
"""Bytes from which on the length in a WAV header means that nobody knew it."""
BLOCK = 2**22
"""Values that are read at a time where a header promises more: it may promise what the file does not hold."""


def quiet(path: File | str) -> contextlib.AbstractContextManager[None]:
    """The decoder of MP3 files writes what is wrong with them on the terminal; what it raises says it as well."""
    suffix = path.suffix if isinstance(path, Cell) else os.path.splitext(path)[1].lower()
    return silenced() if suffix == ".mp3" else contextlib.nullcontext()


def values_of(file: Any, begin: int, end: int, unknown: bool) -> np.ndarray:
    """Float32 [n, channels]: the samples from `begin` to `end`, or to where they really end."""
    if unknown:  # and no place in it can be found
        values = np.concatenate([np.empty((0, file.channels), np.float32), *blocks(file, end)])
        return values[begin:]
    if begin:
        file.seek(begin)
    if (end - begin) * file.channels <= BLOCK:
        return np.asarray(file.read(end - begin, dtype="float32", always_2d=True))
    return np.concatenate([np.empty((0, file.channels), np.float32), *blocks(file, end - begin)])


def blocks(file: Any, count: int) -> Iterator[np.ndarray]:
    """Up to `count` samples from where the file stands, some at a time."""
    size = max(1, BLOCK // file.channels)
    while count > 0 and len(block := file.read(min(size, count), dtype="float32", always_2d=True)):
        yield block
        count -= len(block)


def openable(path: File | str) -> Any:
    """What soundfile takes: a name, or the bytes of a cell."""
    return stream(path) if isinstance(path, Cell) else str(path)


def opened(path: File | str) -> Any:
    """The file, to be read from where it stands."""
    return _forward()(openable(path))


@cache
def _forward() -> Any:
    """A SoundFile that does not look for its place after every part, which fails where a header knows no length."""
    return type("Forward", (soundfile_library().SoundFile,), {"seekable": lambda self: False})


def soundfile_library() -> Any:
    """Imported when a recording is read, so that whatever else speaks of audio works without it."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError where libsndfile is not found
        raise not_imported("audio files need soundfile", "soundfile", "'ptft[speech]'", error) from error
    return soundfile


def soxr_library() -> Any:
    try:
        import soxr
    except ImportError as error:
        raise not_imported("recordings at another rate need soxr", "soxr", "'ptft[speech]'", error) from error
    return soxr


def is_cut(log: str) -> bool:
    """Whether libsndfile's log of a file tells that it ends too early; of a stream the header knows no length."""
    cut = re.search(r"^data *: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    return "ended unexpectedly" in log or (cut is not None and int(cut[2]) < int(cut[1]) < STREAM)
