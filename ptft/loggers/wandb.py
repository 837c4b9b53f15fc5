"""Loggers of Weights & Biases and of Trackio, which has the same interface (`pip install 'ptft[wandb]'`, `[trackio]`).

One sink stands for both in the teller's process.
"""

from __future__ import annotations

import base64
import importlib
import netrc
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ptft.errors import first_line
from ptft.loggers.services.service import ServiceLogger
from ptft.loggers.services.teller import Event

SERVER = "https://api.wandb.ai"
PATIENCE = 20
"""Seconds that a server has to answer before the run is kept on disk instead."""


class WandbLogger(ServiceLogger):
    """A run of a project, with the sweep or comparison that it is part of as its group.

    mode: online, offline (kept in the run's folder, until `wandb sync`), or None for $WANDB_MODE, else online. Who is
    not logged in, and whom no server answers, is offline.
    """

    package, sink = "wandb", "ptft.loggers.wandb:WandbSink"

    def __init__(self, project: str = "ptft", entity: str | None = None, mode: str | None = None, **run: Any) -> None:
        chosen = mode or os.environ.get("WANDB_MODE") or "online"
        super().__init__({"project": project, "entity": entity, "mode": chosen}, **run)


class TrackioLogger(ServiceLogger):
    """A run of a project, in Trackio's own folder or at a Space of Hugging Face (`space`: USER/NAME)."""

    package, sink = "trackio", "ptft.loggers.wandb:TrackioSink"

    def __init__(self, project: str = "ptft", space: str | None = None, **run: Any) -> None:
        super().__init__({"project": project, "space": space}, **run)


class WandbSink:
    """A `Sink` for wandb, and the base of that for what has its interface."""

    package = "wandb"

    def __init__(self, project: str, warn: Callable[[str], None], **options: Any) -> None:
        self.library = importlib.import_module(self.package)
        self.project, self.warn, self.options = project, warn, options
        self.pictures = tempfile.TemporaryDirectory()
        self.run: Any = None

    def open(self, run: Mapping[str, Any], known: str | None) -> str:
        chosen = known or secrets.token_hex(4)
        mode = self.options["mode"]
        if mode == "online" and (reason := _why_offline()):
            mode = self._offline(reason, run)
        try:
            self.run = self._begin(run, chosen, mode)
        except Exception as error:
            if mode != "online":
                raise
            self.run = self._begin(run, chosen, self._offline(first_line(error, 100), run))
        return chosen

    def _offline(self, reason: str, run: Mapping[str, Any]) -> str:
        self.warn(f"{reason}, so it is kept in {run['folder']}/loggers/wandb, which wandb sync uploads")
        return "offline"

    def _begin(self, run: Mapping[str, Any], chosen: str, mode: str) -> Any:
        settings = self.library.Settings(console="off", silent=True, init_timeout=PATIENCE, login_timeout=PATIENCE)
        return self.library.init(
            project=self.project,
            entity=self.options["entity"],
            id=chosen,
            name=run["name"],
            group=run["group"],
            config=run["config"],
            dir=f"{run['folder']}/loggers",
            resume="allow",
            mode=mode,
            settings=settings,
        )

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            kind = event["kind"]
            if kind == "row" and event["held_out"]:
                self.result(event)
            elif kind == "row":
                self.run.log(event["metrics"], step=event["step"])
            elif kind == "picture":
                self.run.log({event["name"]: self._picture(event)}, step=event["step"])
            elif kind == "text":
                self.text(event)
            elif kind == "summary":
                self.summary(event["summary"])

    def _picture(self, event: Event) -> Any:
        file = Path(self.pictures.name) / f"{event['name'].replace('/', '_')}.png"
        file.write_bytes(base64.b64decode(event["png"]))
        return self.library.Image(str(file))

    def result(self, event: Event) -> None:
        """Of the test split: numbers of the run, and no points of curves, which may lie further on already."""
        self.run.summary.update(event["metrics"])

    def text(self, event: Event) -> None:
        self.run.log({event["name"]: self.library.Html(f"<pre>{event['text']}</pre>")}, step=event["step"])

    def summary(self, summary: Mapping[str, Any]) -> None:
        best = summary.get("best") or {}
        names = ("seconds", "samples_per_second", "parameters", "flops", "peak_memory_bytes")
        self.run.summary.update({f"best/{best.get('metric')}": best.get("value"), **{n: summary.get(n) for n in names}})

    def end(self, status: str) -> None:
        self.run.finish(exit_code=0 if status == "finished" else 1)


class TrackioSink(WandbSink):
    """Trackio finds a run again by its name, and has curves only."""

    package = "trackio"

    def open(self, run: Mapping[str, Any], known: str | None) -> str:
        chosen = known or f"{run['name']}-{secrets.token_hex(2)}"
        self.run = self.library.init(
            project=self.project,
            name=chosen,
            group=run["group"],
            space_id=self.options["space"],
            config=run["config"],
            resume="allow",
            embed=False,
        )
        return chosen

    def result(self, event: Event) -> None:
        self.run.log(event["metrics"], step=event["step"])

    def text(self, event: Event) -> None:
        self.run.log({event["name"]: self.library.Markdown(event["text"])}, step=event["step"])

    def summary(self, summary: Mapping[str, Any]) -> None: ...

    def end(self, status: str) -> None:
        self.run.finish()


def _why_offline() -> str:
    """What is in the way of the server, as far as that can be told at once; wandb itself would ask, or wait."""
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or SERVER)
    host = str(server.hostname)
    if not _has_key(host):
        return "nobody is logged in (wandb login)"
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or os.environ.get("HTTP_PROXY"):
        return ""
    try:
        socket.create_connection((host, server.port or (443 if server.scheme == "https" else 80)), 5).close()
    except OSError as error:
        return f"{server.geturl()} does not answer ({error.strerror or error})"
    return ""


def _has_key(host: str) -> bool:
    """Whether wandb would find a key without asking for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
