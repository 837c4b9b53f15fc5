"""Loggers of services, each told by a process of its own (`teller.py`), so that nothing it does meets the training.

What such a library does, and ptft does not want: it takes seconds to be imported, prints, waits for a server, asks for
a login, hangs at the end. There it may.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ptft.errors import ConfigError
from ptft.loggers import pictures
from ptft.loggers.logger import Logger, curves_of
from ptft.runtime import signals

START = """
import sys
sys.path = [entry for entry in sys.path if entry]
from ptft.loggers.services.teller import main
main()
"""
"""The program of such a process, which imports nothing from the folder that the user stands in."""
MOST = 10_000
"""So many events wait at most; of those that come then none is kept."""
CUT = 5.0
"""Seconds that a run which was cut or failed waits at its end, at most."""


class ServiceLogger(Logger):
    """Every metric as `SPLIT/NAME` at its step, the configuration, texts, pictures and, at the end, the summary.

    A run that continues goes on under the id that its folder holds (`loggers/KEY.json`). What a library prints goes to
    `loggers/KEY.log`.

    package: what must be installed. sink: `module:class` of what stands in the teller's process for the service.
    wait: seconds that the end of a run waits for what is not sent yet, at most.
    """

    package: ClassVar[str]
    sink: ClassVar[str]

    def __init__(
        self,
        options: Mapping[str, Any],
        /,
        folder: Path,
        config: Mapping[str, Any],
        step: int,
        name: str,
        group: str | None,
        key: str,
        warn: Callable[[str], None],
        wait: float = 10.0,
    ) -> None:
        """options: for the sink; the others are those that `Logger` describes."""
        self.log_file, self.warn_user, self.wait = folder / "loggers" / f"{key}.log", warn, wait
        self.key = key
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST)
        self.said: deque[str] = deque()
        self.told: set[str] = set()
        self.warned = self.ended = False
        self.latest = step
        with contextlib.suppress(OSError):  # a disk that is full, which others notice
            self.log_file.parent.mkdir(exist_ok=True)
        self.process = _started()
        threads = (self._feed, self._listen)
        self.threads = [threading.Thread(target=each, daemon=True, name=f"ptft-{key}") for each in threads]
        for thread in self.threads:
            thread.start()
        run = {"name": name, "group": group, "folder": str(folder), "config": config, "step": step}
        self._put("begin", name=key, sink=self.sink, options=dict(options), run=run)

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        if importlib.util.find_spec(cls.package) is None:
            raise missing(cls.package)

    def log(self, row: Mapping[str, Any]) -> None:
        self.latest = max(self.latest, row["step"])
        self._put("row", step=row["step"], metrics=curves_of(row), held_out=row["split"] == "test")

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        if row is not None:
            self.log(row)

    def warn(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self._put("text", name="warnings", text=text, step=self.latest)

    def table(
        self, name: str, split: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        self._picture(f"{name}/{split}", pictures.matrix(rows, columns, values))

    def answers(self, split: str, columns: Mapping[str, Sequence[Any]], images: Sequence[Any] | None) -> None:
        if images:
            self._picture(f"predictions/{split}", pictures.grid(images, pictures.captions(columns)))
        self._put("text", name=f"predictions/{split}", text=pictures.markdown(columns), step=self.latest)

    def _picture(self, name: str, png: bytes) -> None:
        self._put("picture", name=name, png=base64.b64encode(png).decode(), step=self.latest)

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._put("summary", summary=dict(summary))
        self._end("finished", self.wait)

    def close(self) -> None:
        self._end("cut", min(self.wait, CUT))

    def _put(self, kind: str, **event: Any) -> None:
        """Hand over what a run did. Never waits."""
        self._say()
        if not self.ended:
            try:
                with signals.held():  # one in between may leave the queue locked, and `_feed` waiting
                    self.events.put_nowait({"kind": kind, **event})
            except queue.Full:
                self._warn(f"is slower than the run: {MOST:,} events wait, and what comes now is left out")

    def _say(self) -> None:
        while self.said:
            self._warn(self.said.popleft())

    def _warn(self, text: str) -> None:
        """Once: what comes later follows from it."""
        if not self.warned:
            self.warn_user(f"logger.{self.key}: {text}; the run goes on")
        self.warned = True

    def _feed(self) -> None:
        """A thread: what waits, to the other process."""
        pipe = self.process.stdin
        assert pipe
        with contextlib.suppress(OSError, ValueError):  # it is gone, which `_listen` says
            while (event := self.events.get()) is not None:
                pipe.write(json.dumps(event, default=str) + "\n")
                if self.events.empty():
                    pipe.flush()
        with contextlib.suppress(OSError, ValueError):
            pipe.close()

    def _listen(self) -> None:
        """A thread: what the other process says, and that it is gone."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(str(json.loads(line)["warn"]))
        if not self.ended:
            self.said.append(self._gone)

    @property
    def _gone(self) -> str:
        return f"its process ended; {self.log_file} says why"

    def _end(self, status: str, seconds: float) -> None:
        """Wait until everything is sent, so many seconds at most, then end the other process whatever it does."""
        if self.ended:
            return
        self._put("end", status=status)
        self.ended = True
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self.events.put(None, timeout=seconds)
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.1, until - time.monotonic()))
        if self.process.poll() is None:
            self.said.append(f"not everything was taken {seconds:g} s after the end (logger.{self.key}.wait)")
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        elif self.process.returncode:  # after the run had ended, when `_listen` expects it to go
            self.said.append(self._gone)
        for thread in self.threads:
            thread.join(CUT)
        if self.process.stdout and not self.threads[1].is_alive():
            self.process.stdout.close()
        self._say()


def missing(package: str) -> ConfigError:
    return ConfigError(f"logger={package}: needs the package {package}: pip install 'ptft[{package}]'")


def _started() -> subprocess.Popen[str]:
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the run, which then tells it how it ended
    )
