"""Sweeps: a folder for the jobs, in which a sweep that was cut goes on where it is started again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from ptft.config.overrides import PATH_KEYS, Overrides, quote
from ptft.config.resolve import Job
from ptft.errors import ConfigError, PtftError, StorageError
from ptft.launch.job import execute, take_up
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runs.registry import FOLDS, SWEEP, is_name, sweep_command
from ptft.runtime import signals
from ptft.runtime.system import writing


def new_folder(base: Path) -> Path:
    """`base/DATE/TIME-xxxx`, new each time."""
    return base / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{token_hex(2)}"


def pinned(folder: Path, jobs: Sequence[Overrides]) -> list[Overrides]:
    """The jobs of a sweep; `ckpt=latest`, or a short name, means what it meant when the sweep was first started."""
    meant = sweep_command(folder).get("latest")
    return [_with_latest(job, meant.get(str(n))) if isinstance(meant, dict) else job for n, job in enumerate(jobs)]


def _with_latest(job: Overrides, path: Any) -> Overrides:
    if not _named(job) or not isinstance(path, str) or "${" in path:
        return job
    return Overrides.parse(
        quote(f"ckpt={path}") if key == "ckpt" else text for text, key in zip(job.texts, job.keys, strict=True)
    )


def _named(job: Overrides) -> bool:
    ckpt = job.typed.get("ckpt")
    return isinstance(ckpt, str) and is_name(ckpt)


@contextlib.contextmanager
def claimed(folder: Path, typed: Sequence[str], planned: Sequence[Job]) -> Iterator[None]:
    """Inside, the folder is this process's. typed: the sweep's command, without the folder.

    Raises StorageError where it can't be written, is in use, or holds anything but a sweep of the same command.
    """
    command, stored = folder / SWEEP / "command.json", sweep_command(folder)
    earlier = stored.get("overrides")
    with writing(folder.absolute(), "choose another hydra.sweep.dir"):
        folder.mkdir(parents=True, exist_ok=True)
        taken = earlier is None and any(folder.iterdir())
        if not taken and earlier is None:
            command.parent.mkdir()
    if taken:
        raise StorageError(f"{folder.absolute()}: holds something already; choose another hydra.sweep.dir")
    if earlier is not None and earlier != list(typed):
        raise StorageError(
            f"{folder.absolute()}: holds the sweep {' '.join(map(str, earlier))}; type the same to go on with it, "
            "or choose another hydra.sweep.dir"
        )
    _same_paths(folder, stored.get("cwd"), planned)
    claim = RunFolder.reopen(folder, "hydra.sweep.dir")
    try:
        if earlier is None:
            latest = {n: job.config.ckpt for n, job in enumerate(planned) if _named(job.overrides)}
            started = {"latest": latest, "starts": _starts(planned), "cwd": os.getcwd()}
            write_json(command, {"overrides": list(typed), **started})
        yield
    finally:
        claim.release()


def other_starts(folder: Path, planned: Sequence[Job]) -> list[str]:
    """What to say of jobs that have not begun, and start from another checkpoint than the sweep was started with."""
    before, now = sweep_command(folder).get("starts"), _starts(planned)
    if not isinstance(before, dict):
        return []
    found: dict[str, list[str]] = {}
    for number, sha256 in now.items():
        if before.get(str(number), sha256) != sha256 and place(folder, number) is None:
            found.setdefault(str(planned[number].config.ckpt), []).append(str(number))
    return [
        f"{ckpt} changed since the sweep was started: what it is now counts for {'job' if len(jobs) == 1 else 'jobs'} "
        f"{', '.join(jobs)}, what it was for those of before"
        for ckpt, jobs in found.items()
    ]


def _starts(planned: Sequence[Job]) -> dict[int, str]:
    """Number of a job -> the digest of the checkpoint that it starts from."""
    return {n: job.checkpoint.sha256 for n, job in enumerate(planned) if job.checkpoint and job.checkpoint.sha256}


def _same_paths(folder: Path, cwd: Any, planned: Sequence[Job]) -> None:
    """Raises StorageError where a path that was typed means another file here than where the sweep was started."""
    if not isinstance(cwd, str) or cwd == os.getcwd():
        return
    for key, value in {pair for job in planned for pair in _paths(job.overrides)}:
        before, now = Path(cwd, value), Path(value)
        if before.exists() and not (now.exists() and now.samefile(before)):
            raise StorageError(
                f"{folder.absolute()}: holds a sweep that was started in {cwd}, where {key}={value} lies; "
                "go on with it from there"
            )


def _paths(typed: Overrides) -> list[tuple[str, str]]:
    texts = [(key, os.path.expanduser(value)) for key, value in typed.typed.items() if isinstance(value, str)]
    return [(key, path) for key, path in texts if key in PATH_KEYS and key.split(".")[0] != "hydra"]


def run_job(folder: Path, number: int, job: Job, path: Path) -> dict[str, Any]:
    """Do the job of that number in `path`, or on from where it was cut when the sweep was started before.

    Its status, failures included, with `before` where it was finished before and stays as it is. What it says goes to
    its run.log.
    """
    before = place(folder, number)
    status = read_json(before / "status.json") if before else {}
    if status.get("status") == "finished":
        return {"exit_code": 0, **status, "before": True}
    with signals.held():
        return _begun(folder, number, job, before, path)


def _begun(folder: Path, number: int, job: Job, before: Path | None, path: Path) -> dict[str, Any]:
    try:
        run_folder, job = _begin(folder, number, job, before, path)
    except PtftError as error:
        failed = {
            "status": "failed",
            "exit_code": error.exit_code,
            "error": type(error).__name__,
            "message": str(error),
        }
        write_json(_record(folder, number), {"overrides": list(job.overrides.texts), **failed})
        return failed
    return execute(job, run_folder, brief=True)


def _begin(folder: Path, number: int, job: Job, before: Path | None, path: Path) -> tuple[RunFolder, Job]:
    if before and (before / FOLDS).is_file():  # it goes on by itself
        return RunFolder.reopen(before), job
    if before and before.exists() and (cut := take_up(before, job.overrides, same_run=True)):
        return cut
    relative = os.path.relpath(path, folder)
    if relative.split(os.sep)[0] in ("..", ".", SWEEP):
        raise ConfigError(f"hydra.sweep.subdir: {path} is no folder for a job below {folder}; name one for each job")
    run_folder = RunFolder.claim(path)
    write_json(_record(folder, number), {"folder": relative})
    return run_folder, job


def place(folder: Path, number: int) -> Path | None:
    """Where the job of that number began; None where it did not, or that is not below the sweep's folder."""
    name = read_json(_record(folder, number)).get("folder")
    path = folder / name if isinstance(name, str) else None
    return path if path and path.resolve().is_relative_to(folder.resolve()) else None


def refusal(folder: Path, number: int) -> dict[str, Any]:
    """The status of a job that could not begin; empty for any other."""
    return read_json(_record(folder, number)) if place(folder, number) is None else {}


def _record(folder: Path, number: int) -> Path:
    return folder / SWEEP / f"{number}.json"
