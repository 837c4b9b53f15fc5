"""Sweeps: a folder for the jobs, in which a sweep that was cut goes on where it is started again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from ptft.config.overrides import Overrides, quote
from ptft.config.resolve import Job
from ptft.errors import ConfigError, PtftError, StorageError
from ptft.launch.job import execute, take_up
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime import terminal
from ptft.runtime.system import writing

RECORDS = ".sweep"
"""The folder in a sweep's own that holds its command and, a file each, where its jobs are."""


def new_folder(base: Path) -> Path:
    """`base/DATE/TIME-xxxx`, new each time."""
    return base / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{token_hex(2)}"


def pinned(folder: Path, jobs: Sequence[Overrides]) -> list[Overrides]:
    """The jobs of a sweep, whose `ckpt=latest` means what it meant when the sweep in that folder was first started."""
    meant = read_json(folder / RECORDS / "command.json").get("latest")
    return [_with_latest(job, meant.get(str(n))) if isinstance(meant, dict) else job for n, job in enumerate(jobs)]


def _with_latest(job: Overrides, path: Any) -> Overrides:
    if job.typed.get("ckpt") != "latest" or not isinstance(path, str) or "${" in path:
        return job
    return Overrides.parse(
        quote(f"ckpt={path}") if key == "ckpt" else text for text, key in zip(job.texts, job.keys, strict=True)
    )


@contextlib.contextmanager
def claimed(folder: Path, typed: Sequence[str], planned: Sequence[Job]) -> Iterator[None]:
    """Inside, the folder is this process's. typed: the sweep's command, without the folder.

    Raises StorageError where it can't be written, is in use, or holds anything but a sweep of the same command.
    """
    command = folder / RECORDS / "command.json"
    before = read_json(command).get("overrides")
    with writing(folder.absolute(), "choose another hydra.sweep.dir"):
        folder.mkdir(parents=True, exist_ok=True)
        taken = before is None and any(folder.iterdir())
        if not taken and before is None:
            command.parent.mkdir()
    if taken:
        raise StorageError(f"{folder.absolute()}: holds something already; choose another hydra.sweep.dir")
    if before is not None and before != list(typed):
        raise StorageError(
            f"{folder.absolute()}: holds the sweep {' '.join(map(str, before))}; type the same to go on with it, "
            "or choose another hydra.sweep.dir"
        )
    held = RunFolder.reopen(folder)
    try:
        if before is None:
            latest = {
                n: job.config.ckpt for n, job in enumerate(planned) if job.overrides.typed.get("ckpt") == "latest"
            }
            write_json(command, {"overrides": list(typed), "latest": latest})
        yield
    finally:
        held.release()


def run_job(folder: Path, number: int, job: Job, path: Path) -> dict[str, Any]:
    """Do the job of that number in `path`, or on from where it was cut when the sweep was started before.

    Its status, failures included. One that was finished stays as it is.
    """
    before = place(folder, number)
    status = read_json(before / "status.json") if before else {}
    if status.get("status") == "finished":
        terminal.say(f"finished before, in {before}")
        return {"exit_code": 0, **status}
    try:
        held, job = _begin(folder, number, job, before, path)
    except PtftError as error:
        failed = {"status": "failed", "exit_code": error.exit_code, "message": str(error)}
        write_json(_record(folder, number), {"overrides": list(job.overrides.texts), **failed})
        terminal.say(f"ptft: {error}", error=True)
        return failed
    return execute(job, held)


def _begin(folder: Path, number: int, job: Job, before: Path | None, path: Path) -> tuple[RunFolder, Job]:
    if before and before.exists() and (cut := take_up(before, job.overrides, ours=True)):
        return cut
    inside = os.path.relpath(path, folder)
    if inside.split(os.sep)[0] in ("..", ".", RECORDS):
        raise ConfigError(f"hydra.sweep.subdir: {path} is no folder for a job below {folder}; name one for each job")
    held = RunFolder.claim(path)
    write_json(_record(folder, number), {"folder": inside})
    return held, job


def place(folder: Path, number: int) -> Path | None:
    """Where the job of that number began; None where it did not, or that is not below the sweep's folder."""
    said = read_json(_record(folder, number)).get("folder")
    found = folder / said if isinstance(said, str) else None
    return found if found and found.resolve().is_relative_to(folder.resolve()) else None


def refusal(folder: Path, number: int) -> dict[str, Any]:
    """The status of a job that could not begin; empty for any other."""
    return read_json(_record(folder, number)) if place(folder, number) is None else {}


def _record(folder: Path, number: int) -> Path:
    return folder / RECORDS / f"{number}.json"
