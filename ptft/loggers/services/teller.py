"""A process that tells a service what a run does: one JSON object a line in, until the run ends; warnings out.

What can't be sent is kept and tried again, ever less often, so that a server which comes back misses nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ptft.errors import first_line

MOST = 10_000
"""So many events wait at most; then the oldest are given up."""
AT_ONCE = 500
"""Events that a sink is given in one piece."""
LAST = 60.0
"""Seconds that it lives on after its run, which was killed if it does: whatever a library still waits for."""
SLOWEST = 60.0
"""Most seconds between two attempts."""

Event = Mapping[str, Any]


class Refused(Exception):
    """A service took note, and does not want it: to try again would give the same."""


class Sink(Protocol):
    """What stands for a service; each method may raise what its library raises, and is then tried again.

    Built with the options of its YAML and `warn`, which says a line to the user.
    """

    def open(self, run: Mapping[str, Any], known: str | None) -> str:
        """Begin the run, or go on with the one of that id, where there is one; returns its id."""

    def take(self, events: Sequence[Event]) -> None:
        """Rows, texts, pictures and the summary, in order. Raises Refused where another attempt is of no use."""

    def end(self, status: str) -> None:
        """status: "finished" or "cut"."""


class Teller:
    """Gives a sink what comes, in order. warn: says a line to the user; `begin` is the first event."""

    def __init__(self, begin: Event, warn: Callable[[str], None]) -> None:
        module, _, name = begin["sink"].partition(":")
        self.warn, self.run = warn, begin["run"]
        self.file = Path(self.run["folder"]) / "loggers" / f"{begin['name']}.json"
        self.make: Callable[[], Sink] = lambda: getattr(importlib.import_module(module), name)(
            warn=warn, **begin["options"]
        )
        self.sink: Sink | None = None
        self.waiting: deque[Event] = deque(maxlen=MOST)
        self.changed = threading.Condition()
        self.status = ""

    def put(self, event: Event) -> None:
        with self.changed:
            if event["kind"] == "end":
                self.status = event["status"]
            else:
                self.waiting.append(event)
            self.changed.notify()

    def tell(self) -> bool:
        """Until the run ends; whether everything was taken."""
        delay = 0.0
        while True:
            with self.changed:
                if delay:
                    self.changed.wait_for(lambda: self.status, delay)
                self.changed.wait_for(lambda: self.waiting or self.status)
                last = bool(self.status)
            try:
                self._send()
                delay = 0.0
                if last and not self.waiting:
                    self._open().end(self.status)
                    return True
            except Exception as error:
                self.warn(getattr(error, "strerror", None) or first_line(error, 160))
                if last:
                    return False
                delay = min(SLOWEST, max(1.0, 2 * delay))

    def _open(self) -> Sink:
        if self.sink is None:
            sink = self.make()
            known = sink.open(self.run, _stored_id(self.file))
            with contextlib.suppress(OSError):  # then a resume begins a new run there
                self.file.write_text(json.dumps({"id": known}), encoding="utf-8")
            self.sink = sink
        return self.sink

    def _send(self) -> None:
        sink = self._open()
        while self.waiting:
            with self.changed:
                events = [self.waiting[i] for i in range(min(AT_ONCE, len(self.waiting)))]
            try:
                sink.take(events)
            except Refused as error:
                self.warn(f"refused ({first_line(error, 160)})")
            done = {*map(id, events)}
            with self.changed:
                while self.waiting and id(self.waiting[0]) in done:
                    self.waiting.popleft()


def _stored_id(file: Path) -> str | None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if isinstance(stored, str) else None


def main() -> None:
    """Tell until the input ends. Standard output is for warnings; what a library prints goes to a log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w")
    begin = json.loads(sys.stdin.readline())

    def warn(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            replies.write(json.dumps({"warn": text}) + "\n")
            replies.flush()

    _redirect(Path(begin["run"]["folder"]) / "loggers" / f"{begin['name']}.log")
    teller = Teller(begin, warn)
    threading.Thread(target=_read, args=(teller,), daemon=True).start()
    told = teller.tell()
    sys.stdout.flush()
    replies.close()
    os._exit(0 if told else 1)  # whatever a library still wants to wait for


def _redirect(log: Path) -> None:
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _read(teller: Teller) -> None:
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # the last one of a run that was killed
            teller.put(json.loads(line))
    teller.put({"kind": "end", "status": teller.status or "cut"})
    time.sleep(LAST)
    os._exit(1)
