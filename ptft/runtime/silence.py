"""Lines that C libraries write to stderr by themselves, past Python."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

STDERR = 2
_lock = threading.Lock()
_inside = 0
_kept: int | None = None


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Inside, in any thread, what is written to file descriptor 2 is dropped; where that can't be, it is written."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        with contextlib.suppress(OSError):  # it is closed, or no more files can be open
            _kept = os.dup(STDERR)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, STDERR)
            os.close(nothing)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            _restore()


def _restore() -> None:
    global _kept
    if _kept is not None:
        os.dup2(_kept, STDERR)
        os.close(_kept)
        _kept = None


def _in_child() -> None:
    """A process that was forked meanwhile has none of the threads that were inside."""
    global _inside, _lock
    _lock, _inside = threading.Lock(), 0
    _restore()


os.register_at_fork(after_in_child=_in_child)
