"""Run folders: a name of its own, claimed by one process, with its status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import time
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ptft.errors import StorageError
from ptft.runs import leftover, status_file
from ptft.runtime.system import finite, write_text

try:
    import fcntl
except ImportError:  # Windows has no flock; there the folder's atomic creation is the only claim
    fcntl = None  # type: ignore[assignment]


LEAST = ("stage", "status", "exit_code", "message", "pid", "host")
"""What a status says where the disk has no room for all of it."""


def slug(name: str) -> str:
    """Letters, digits, `.`, `_` and `-` only: safe in any shell, URL and Hydra override."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_name).strip("._-")[:40] or "x"


def new_name(base: Path, *names: str | None) -> Path:
    """`base/DATE/TIME-stage-model-dataset-xxxx`, new each time."""
    parts = [time.strftime("%H-%M-%S"), *(slug(name) for name in names if name), secrets.token_hex(2)]
    return base / time.strftime("%Y-%m-%d") / "-".join(parts)


WRITTEN = (
    "status.json",
    "checkpoints",
    "metrics.jsonl",
    "run.log",
    "summary.json",
    "split.csv",
    "transfer.json",
    "curves.png",
    "report.html",
    ".hydra",
    "predictions.csv",
    *leftover.BEGUN,
    "explanations",
    "explanations.json",
    "neighbours.json",
    "compare.json",
    "compare.png",
    "compare.svg",
    "tune.json",
    "tune.png",
    "tune.svg",
    "best.yaml",
    "folds.json",
    "found_test.pt",
    "results.csv",
    "results.json",
    "cells",
    "cell.json",
    "inspect.json",
    "panel.json",
    "previews.json",
    "ignore.csv",
    "sheet.png",
    "tensorboard",
    "loggers",
    *(f"export-{form}" for form in ("onnx", "torch", "safetensors", "huggingface", "peft")),
)
"""What runs write by these names, beside tables of evaluations; a folder that holds one of them is not free."""
TABLE = re.compile(r"\w+_(train|val|test|folds)\.(json|csv|parquet)")


def writes(name: str) -> bool:
    """Whether runs write something of that name in their folder."""
    return name in WRITTEN or name == ".lock" or TABLE.fullmatch(name) is not None


class RunFolder:
    """One run's folder, held by this process until it is released. Raises StorageError where that is impossible."""

    def __init__(self, path: Path, key: str = "hydra.run.dir") -> None:
        """key: what to type another of, where it can't be held."""
        self.path, self.key = path.absolute(), key
        self._lock: IO[str] | None = None
        self._made: list[Path] = []
        self.goes_on = False
        """Whether it held what it is claimed for before."""
        self.before: dict[str, Any] = {}
        """The status of the run that goes on, as it was found."""
        self._found: status_file.Found | None = None
        self._rows: status_file.Found | None = None
        self.began = False
        """Whether its run took a step, or says that it can go on."""
        self.moved = False
        """Whether its run took a step since it was found."""

    @classmethod
    def claim(cls, path: Path, goes_on: str | None = None, command: Sequence[str] | None = None) -> RunFolder:
        """Make the folder and hold it; one that holds a run already is refused, unless of the stage that `goes_on`, or
        of this command (what was typed) where it ended before its first checkpoint."""
        folder = cls(path)
        try:
            folder._made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
            folder.path.mkdir(parents=True, exist_ok=True)
            if not os.access(folder.path, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(
                f"{folder.path}: can't be made or written ({reason}); choose another hydra.run.dir"
            ) from error
        lock = folder.path / ".lock"
        new = not os.path.lexists(lock)
        folder._hold()
        before = folder._look()
        folder.goes_on = goes_on is not None and before.get("stage") == goes_on
        folder.before = before if folder.goes_on else {}
        try:
            if not folder.goes_on and (taken := folder._taken()):
                folder._begin_anew(taken, before, command)
        except (OSError, StorageError):
            folder.release()
            if new:
                lock.unlink()
            raise
        try:
            folder.status(status="running", **({"stage": goes_on} if goes_on else {}))
        except StorageError:
            folder.release()
            if not folder.goes_on:
                folder.discard()
            raise
        return folder

    @classmethod
    def reopen(cls, path: Path, key: str = "hydra.run.dir") -> RunFolder:
        """Hold the folder of a run that is to be continued, or by its key that of a sweep."""
        folder = cls(path, key)
        folder._hold()
        folder.before = folder._look()
        return folder

    def _look(self) -> dict[str, Any]:
        """The status that is there, which `put_back` can write again."""
        self._found = status_file.found(self.path / "status.json")
        self._rows = status_file.found(self.path / "metrics.jsonl")
        return read_json(self.path / "status.json")

    def _begin_anew(self, taken: list[str], before: Mapping[str, Any], command: Sequence[str] | None) -> None:
        """Take away what the run of this command left that can't go on. Raises StorageError for anything else."""
        at_work = before.get("status") == "running"  # for all that is known where a system has no locks
        if fcntl:
            at_work = False
        if leftover.is_bare(self.path, before, taken) and leftover.is_of(before, command) and not at_work:
            return leftover.clear(self.path)
        why = leftover.refusal(self.path, before, taken)
        raise StorageError(f"{self.path}: holds {why} choose another hydra.run.dir")

    def _taken(self) -> list[str]:
        """What of a run's is there; folders that hold nothing are not counted."""
        entries = [entry for entry in self.path.iterdir() if entry.name != ".lock" and writes(entry.name)]
        entries = [entry for entry in entries if not entry.is_char_device()]
        return [entry.name for entry in entries if entry.is_symlink() or not entry.is_dir() or any(entry.iterdir())]

    def _hold(self) -> None:
        """Raises StorageError where it can't, and where what is written goes elsewhere, through a link."""
        try:
            links = [entry for entry in self.path.iterdir() if entry.is_symlink() and writes(entry.name)]
            links = [entry for entry in links if not entry.is_char_device()]  # /dev/null holds nothing of anybody's
            if links:
                raise StorageError(
                    f"{links[0]}: is a link to {os.readlink(links[0])}, and a run writes in its own folder only; "
                    "put what it points at in its place"
                )
            self._lock = (self.path / ".lock").open("a")  # which keeps what a user's file of that name holds
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            owner = read_json(self.path / "status.json")
            who = f"process {owner['pid']} on {owner.get('host', '?')}" if "pid" in owner else "another process"
            raise StorageError(f"{self.path}: in use by {who}; wait for it or choose another {self.key}") from error
        except OSError as error:
            self.release()
            raise StorageError(
                f"{self.path}: can't be written ({error.strerror}); choose another {self.key}"
            ) from error

    def status(self, **fields: Any) -> None:
        """Write status.json: the fields, this process and the time. Raises StorageError.

        A full disk has room for it where the one before lies.
        """
        stamp = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.strftime(status_file.STAMP)}
        path, content = self.path / "status.json", {**fields, **stamp}
        try:
            write_json(path, content)
        except StorageError:
            least = {key: content[key] for key in LEAST if key in content}
            if not status_file.write_over(
                path, *(_json(each).encode(errors="backslashreplace") for each in (content, least))
            ):
                raise

    def put_back(self) -> None:
        """Write status.json and metrics.jsonl as they were found: a run that did not go on is no newer than it was.

        Raises StorageError.
        """
        status_file.put_back(self.path / "status.json", self._found)
        status_file.put_back(self.path / "metrics.jsonl", self._rows)

    def release(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def has_results(self) -> bool:
        """Whether there is more than a run leaves that failed before its first step."""
        return self.began or any(entry.name not in leftover.BARE for entry in self.path.iterdir())

    def discard(self) -> None:
        """Undo the claim of a run that never began: its files, and the folders that were made for it.

        One that was there before, or that is continued, stays.
        """
        if self.goes_on:
            return
        with contextlib.suppress(OSError):  # something of the user's is in them, or they can't be written any more
            if self.path in self._made and not self.has_results():
                for name in ("best.pt", "last.pt"):
                    (self.checkpoints / name).unlink(missing_ok=True)
                if self.checkpoints.exists():
                    self.checkpoints.rmdir()
                (self.path / "split.csv").unlink(missing_ok=True)
            lock = self.path / ".lock"
            if lock.stat().st_size == 0:
                lock.unlink()
            for name in ("run.log", ".hydra/config.yaml", ".hydra/overrides.yaml", "status.json", *leftover.BEGUN):
                (self.path / name).unlink(missing_ok=True)
            for folder in (self.path / ".hydra", *self._made):
                folder.rmdir()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def is_held(path: Path) -> bool:
    """Whether a process holds that folder; where a system has no locks, whether its status says so."""
    held: bool = read_json(path / "status.json").get("status") == "running"
    if fcntl:
        held = False
        try:
            with (path / ".lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            held = True
        except OSError:  # there is no lock, or it can't be read
            held = False
    return held


def read_json(path: Path | str) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none or it is cut."""
    try:
        with open(path, "rb", buffering=0) as file:  # there may be thousands of them to look into
            content = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Any) -> None:
    """Write aside and rename, so that a reader never sees half a file; NaN becomes null. Raises StorageError.

    A name that is not UTF-8 is escaped as JSON escapes it, and is read again as it was.
    """
    write_text(path, _json(content))


def _json(content: Any) -> str:
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
