"""`--json`: what a run says as JSON objects on standard output, a line each, and nothing else there.

Each has a `kind`: `plan` (what is going to be done), `row` (what a training measured, as metrics.jsonl has it), `run`
(of a comparison), `prediction`, `result` (what summary.json holds, with the folder) and `error`. The last one is a
result or an error. Those of a sweep's jobs have their number as `job`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from ptft.runtime.system import finite
from ptft.runtime.terminal import Writer

FLAG = "--json"


class _Objects(Writer):
    """In the place of standard output: what is printed goes to `stream`, objects to `lines`.

    handle: of what was standard output. about: what every object says besides; None: none is written.
    """

    def __init__(self, stream: TextIO, lines: Writer, handle: int) -> None:
        super().__init__(stream)
        self.lines, self.handle = lines, handle
        self.about: dict[str, Any] | None = {}


@contextlib.contextmanager
def only(on: bool) -> Iterator[None]:
    """Inside, if it is `on`, standard output takes objects only; what libraries print there goes to standard error."""
    if not on:
        yield
        return
    before, handle = sys.stdout, os.dup(1)
    before.flush()
    os.dup2(2, 1)
    lines = Writer(os.fdopen(handle, "w", encoding="utf-8", closefd=False))
    sys.stdout = _Objects(sys.stderr, lines, handle)
    try:
        yield
    finally:
        lines.close()
        sys.stdout = before
        os.dup2(handle, 1)
        os.close(handle)


def _stream() -> _Objects | None:
    return sys.stdout if isinstance(sys.stdout, _Objects) else None


def enabled() -> bool:
    """Whether objects are asked for, and lines for people are not."""
    return _stream() is not None


def emit(kind: str, **content: Any) -> None:
    """Write an object of that kind where objects are asked for; numbers that are not finite are null."""
    stream = _stream()
    if stream is not None and stream.about is not None:
        record = finite({"kind": kind, **stream.about, **content})
        stream.lines.write(json.dumps(record, default=str) + "\n")
        stream.lines.flush()


@contextlib.contextmanager
def handed_on() -> Iterator[None]:
    """Inside, processes that are started have the standard output that objects go to, for their own."""
    stream = _stream()
    if stream is None:
        yield
        return
    os.dup2(stream.handle, 1)
    try:
        yield
    finally:
        os.dup2(2, 1)


def labels() -> dict[str, Any] | None:
    """What every object says besides, where objects are asked for; else None."""
    stream = _stream()
    return stream.about if stream else None


@contextlib.contextmanager
def labelled(labels: dict[str, Any] | None) -> Iterator[None]:
    """Inside, every object has these labels too (`{"job": 3}`); None: there are no objects."""
    stream = _stream()
    if stream is None:
        yield
        return
    before = stream.about
    stream.about = None if labels is None or before is None else {**before, **labels}
    try:
        yield
    finally:
        stream.about = before
