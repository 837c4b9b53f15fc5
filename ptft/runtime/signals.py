"""Signal handlers: SIGINT and SIGTERM during training finish the step, save, leave. A second one leaves at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

CODES = {"SIGINT": 130, "SIGTERM": 143}


@contextlib.contextmanager
def on_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM calls `stop` with its name; the next one does what it did before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        restore()
        stop(signal.Signals(number).name)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
