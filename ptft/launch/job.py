"""A job: one run from its configuration to its status: the stage called, its failure understood, said and stored."""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.config import compose
from ptft.config.overrides import Overrides, quote
from ptft.config.resolve import Job, resolve
from ptft.errors import CheckpointError, ConfigError, DataError, Interrupted, PtftError, ResourceError
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime import process

if TYPE_CHECKING:
    from ptft.config.config import Config
    from ptft.loggers.console import Console

REFUSED = (ConfigError.exit_code, DataError.exit_code, CheckpointError.exit_code)
"""Exit codes of what fails before any training."""
DESCRIPTION = "cell.json"
"""The file in a run's folder that says which of many runs it is."""


def execute(job: Job, folder: RunFolder | None, *, quiet: bool = False) -> dict[str, Any]:
    """Run one job to its end, whatever it is, and return its status: `status`, `exit_code` and more.

    A failure is returned, not raised, so that a sweep goes on. A continuation that is refused leaves the run's status.
    With `quiet` nothing is said on the terminal; its folder holds it all.
    """
    from ptft.loggers.console import Console

    report = Console(folder.path if folder else None, quiet=quiet)
    cfg, typed = job.config, list(job.overrides.texts)
    if folder and not cfg.resume:
        _write_config(folder.path, cfg, typed)
    base = {"stage": cfg.names.stage, "overrides": typed}
    before = read_json(folder.path / "status.json") if folder and cfg.resume else {}
    began = time.perf_counter()
    if folder:
        folder.status(**base, status="running")
    status = {**base, **_outcome(job, report, folder)}
    status["seconds"] = round(time.perf_counter() - began, 3)
    if folder:
        folder.status(**(before if before and status["exit_code"] in REFUSED else _without_trace(status)))
        folder.release()
    _write_failure(status, report)
    if not quiet:
        _print_failure(status, folder)
    report.close()
    return _without_trace(status)


def run_or_continue(overrides: list[str], description: dict[str, Any], path: Path) -> dict[str, Any]:
    """Do the job in `path`, or on from where it was cut there; its status, failures included. Nothing is printed.

    description: which of many runs it is (`identity` says it in short), kept beside the run in the file `DESCRIPTION`.
    """
    try:
        folder, job = _begin(overrides, description, path)
    except PtftError as error:
        return {"status": "failed", "exit_code": error.exit_code, "message": str(error)}
    return execute(job, folder, quiet=True)


def _begin(overrides: list[str], description: dict[str, Any], path: Path) -> tuple[RunFolder, Job]:
    ours = read_json(path / DESCRIPTION).get("identity") == description["identity"]
    if path.exists() and (cut := take_up(path, Overrides.parse(overrides), ours=ours)):
        return cut
    job, folder = resolve(overrides), RunFolder.claim(path)
    write_json(path / DESCRIPTION, description)
    return folder, job


def take_up(path: Path, typed: Overrides, *, ours: bool) -> tuple[RunFolder, Job] | None:
    """The folder and continuation of a run that was cut in `path`; None where it begins anew, the folder gone.

    typed: what was typed for it, of which only `trusted` counts again. ours: whether the run there is this one.
    """
    cut = ours and read_json(path / "status.json").get("status") in ("running", "interrupted")
    if cut and (path / "checkpoints" / "last.pt").exists():
        trusted = typed.where(lambda key: key == "trusted").texts
        return RunFolder.reopen(path), resolve([quote(f"resume={path}"), *trusted])
    if path.is_symlink():
        path.unlink()
    else:  # a failed run, or one without a checkpoint yet
        RunFolder.reopen(path).release()
        shutil.rmtree(path)
    return None


def _without_trace(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "trace"}


def _outcome(job: Job, report: Console, folder: RunFolder | None) -> dict[str, Any]:
    """What the stage returned, or how it failed."""
    try:
        return _stage(job, report, folder)
    except PtftError as error:
        return _failure(error, error.exit_code)
    except KeyboardInterrupt:
        return _failure(Interrupted("interrupted outside of training; what was saved before is whole"), 130)
    except Exception as error:  # a bug of ours or the user's own code: the traceback is what helps
        return _failure(*_understood(error))


def _stage(job: Job, report: Console, folder: RunFolder | None) -> dict[str, Any]:
    from ptft.config import instantiate

    trusted = job.config.trusted
    if trusted and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the installed command does not look here by itself; last, it hides nothing
    stage = instantiate.stage(job.config.stage, trusted)
    process.settle()
    result = stage(job, report, folder)
    return {"exit_code": 0, "status": "finished", **result}


def _failure(error: BaseException, code: int) -> dict[str, Any]:
    kind = "interrupted" if isinstance(error, Interrupted) else "failed"
    trace = "".join(traceback.format_exception(error))
    return {"status": kind, "exit_code": code, "error": type(error).__name__, "message": str(error), "trace": trace}


def _understood(error: Exception) -> tuple[BaseException, int]:
    """Limits of the machine and of batch statistics, which torch says in its own words; everything else is a bug."""
    text, name = str(error), type(error).__name__
    known: PtftError | None = None
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        message = "out of memory; lower train.batch_size, or raise train.accumulate to cut each batch into parts"
        known = ResourceError(message)
    elif "more than 1 value per channel when training" in text:
        message = "a batch of one image has no batch statistics; raise train.batch_size or lower train.accumulate"
        known = ConfigError(message)
    if known is None:
        return error, 1
    known.__cause__ = error
    return known, known.exit_code


def _write_failure(status: dict[str, Any], report: Console) -> None:
    report.write(status.get("trace", "").rstrip())
    if status["exit_code"]:
        for line in str(status.get("message", "")).splitlines():
            report.write(f"ptft: {line}")


def _print_failure(status: dict[str, Any], folder: RunFolder | None) -> None:
    if status["exit_code"] == 0 or "message" not in status:
        return
    if "trace" in status and (status["exit_code"] == 1 or os.environ.get("HYDRA_FULL_ERROR") == "1"):
        print(status["trace"], file=sys.stderr)
    for line in str(status["message"]).splitlines():
        print(f"ptft: {line}", file=sys.stderr)
    if folder and status["exit_code"] != ConfigError.exit_code:
        print(
            f"ptft: {status['status']} after {status['seconds']:.1f} s; its log is {folder.path / 'run.log'}",
            file=sys.stderr,
        )


def _write_config(folder: Path, cfg: Config, overrides: list[str]) -> None:
    hidden = folder / ".hydra"
    hidden.mkdir(exist_ok=True)
    compose.save(cfg.plain(), hidden / "config.yaml")
    compose.save(overrides, hidden / "overrides.yaml")
