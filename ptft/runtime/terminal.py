"""The terminal: what is said on it can't fail, whatever became of it, and can't command it.

Everything that ptft prints goes through here: `say` for a line of its own, `guarded` for what libraries print.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""C0, DEL, C1, separators of lines, and marks that turn the direction in which text is shown."""
_SHOWN = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS}
_SHOWN_BUT_LINES = {code: text for code, text in _SHOWN.items() if chr(code) not in "\n\t"}


HUGE = 1e6
"""What a measure is below, that its decimals may be shown."""


def visible(text: str, *, lines: bool = True) -> str:
    r"""The text with control characters as they are written in Python (`\x1b`), so that no name commands a terminal.

    lines: whether ends of lines and tabs stay what they are.
    """
    return text.translate(_SHOWN_BUT_LINES if lines else _SHOWN)


def say(text: str, *, error: bool = False) -> None:
    """A line (or several) on standard output, or on standard error. Never raises an error of the system."""
    with guarded():
        print(visible(text), file=sys.stderr if error else sys.stdout, flush=True)


class Writer(io.TextIOBase):
    """A text stream that never raises: what can't be encoded is escaped, what can't be written is lost.

    stream: a terminal, a pipe or a file, closed or broken ones too; None is nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.failed: Exception | None = None
        """Why something was lost, if it was."""

    def write(self, text: str) -> int:
        if self.stream is not None:
            try:
                self.stream.write(self._encodable(text))
            except (OSError, ValueError) as error:  # the latter of a stream that was closed
                self.failed = error
        return len(text)

    def flush(self) -> None:
        if self.stream is not None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.failed = error

    def close(self) -> None:
        """Close the stream as well."""
        if self.stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self.stream.close()
            self.stream = None

    def isatty(self) -> bool:
        try:
            return self.stream is not None and self.stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def __del__(self) -> None:
        """Leaves the stream open: it belongs to who made it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("stream"), name)

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        except LookupError:
            return text
        return text


def decimal(value: float, *, signed: bool = False) -> str:
    """0.1234: a measure with four decimals, one that exploded as 1.67e+21."""
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}" if abs(value) < HUGE else f"{value:{sign}.3g}"


def safe(stream: TextIO | None) -> Writer:
    """A Writer to the stream: itself where it is one."""
    return stream if isinstance(stream, Writer) else Writer(stream)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside, nothing that is printed on standard output or error can raise an error of the system."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(safe, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def keep_standard_handles() -> None:
    """Have those that are closed (`ptft >&-`) lead nowhere, or the next file that is opened would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free, this one
