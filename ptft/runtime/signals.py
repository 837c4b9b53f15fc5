"""Signals: outside of training they interrupt; in training they finish the step, save, leave.

SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is gone); the last one only where it was not ignored (nohup).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from ptft.errors import Interrupted

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}

_NUMBERS = {int(getattr(signal, name)) for name in CODES if hasattr(signal, name)}
_received: list[str] = []
"""Names of the signals that interrupted this process outside of training."""
_late: list[str] = []
"""Those of them that came where they are held back, and were not told yet."""
_depth = 0
"""How often `held` was entered; 0 where signals are not held back."""


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Inside, a signal raises Interrupted; should a library swallow it, `check` and `on_signal` know of it still."""
    _received.clear()
    _late.clear()
    with _handled(_interrupt, {number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN}):
        yield


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Inside, a signal waits for `check` or for the end of this, which raise Interrupted.

    For what must be done whole: a folder that is claimed says how its run ended. Other threads hear of no signal.
    """
    with _at_depth(_depth + 1):
        yield
    if _late and not _depth and _hears():
        _tell()


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Inside, a signal interrupts again, though `held` is around."""
    with _at_depth(0):
        yield


@contextlib.contextmanager
def _at_depth(depth: int) -> Iterator[None]:
    global _depth
    if not _hears():
        yield
        return
    before, _depth = _depth, depth
    try:
        yield
    finally:
        _depth = before


def _hears() -> bool:
    """Whether this is the thread in which Python handles signals."""
    return threading.current_thread() is threading.main_thread()


def check() -> None:
    """Raises Interrupted where a signal came inside `interrupting` and what it raised got lost, or waits."""
    if _received:
        _tell()


def _tell() -> None:
    _late.clear()
    raise _interrupted(_received[0])


@contextlib.contextmanager
def on_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first signal calls `stop` with its name; the next one does what it did before.

    One that came before and got lost calls `stop` at once. Only SIGHUP may be ignored.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        stop(signal.Signals(number).name)

    hangup = {getattr(signal, "SIGHUP", 0)}
    ignored = {number for number in hangup & _NUMBERS if signal.getsignal(number) is signal.SIG_IGN}
    with _handled(handle, _NUMBERS - ignored) as restore:
        if _received:
            stop(_received[0])
        yield


@contextlib.contextmanager
def _handled(handle: Callable[[int, FrameType | None], None], numbers: set[int]) -> Iterator[Callable[[], None]]:
    """Inside, `handle` is called for the signals; yields what undoes that. Only the main thread may do so."""
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if _hears():
        before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}
        for number in before:
            signal.signal(number, handle)
    try:
        yield restore
    finally:
        restore()


def _interrupt(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    _received.append(name)
    if not _depth:
        raise _interrupted(name)
    _late.append(name)


def _interrupted(name: str) -> Interrupted:
    what = "interrupted" if name == "SIGINT" else "terminated"
    return Interrupted(f"{what} outside of training ({name}); what was saved before is whole", CODES[name])
