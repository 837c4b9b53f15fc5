"""A job: one run from its configuration to its status: the stage called, its failure understood, said and stored."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.config import yaml_files
from ptft.config.overrides import Overrides, quote
from ptft.config.resolve import Job, resolve
from ptft.config.settled import own_code
from ptft.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    PtftError,
    ResourceError,
    StorageError,
)
from ptft.launch import rank, ranks
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime import json_lines, process, signals
from ptft.runtime.paths import cache_dir
from ptft.runtime.system import understood, writing
from ptft.runtime.terminal import say

if TYPE_CHECKING:
    from ptft.loggers.console import Console

REFUSED = (ConfigError.exit_code, DataError.exit_code, CheckpointError.exit_code)
"""Exit codes of what fails before any training."""
MENDED = (StorageError.exit_code, ResourceError.exit_code)
"""Exit codes of what the machine lacked: once it has it, a run goes on from its last save."""
INTERRUPTED = "interrupted outside of training; what was saved before is whole"
DESCRIPTION = "cell.json"
"""The file in a run's folder that says which of many runs it is."""


def execute(
    job: Job,
    folder: RunFolder | None,
    *,
    quiet: bool = False,
    brief: bool = False,
    typed: bool | None = None,
    raised: bool = False,
) -> dict[str, Any]:
    """Run one job to its end, whatever it is, and return its status: `status`, `exit_code` and more.

    A failure is returned, not raised, so that a sweep goes on. A continuation that is refused leaves the run's status.
    With `quiet` nothing is said on the terminal; its folder holds it all. With `brief` a bar is all that it shows.
    typed: whether the user typed the folder; one that nobody did does not stay where the run failed before its first
    step. None: it stays in any case. raised: whether the caller raises a failure, so that it is not printed.
    """
    from ptft.loggers.console import Console

    alone = job.config.quiet and not job.config.dry_run  # the result, which of a dry run is its plan
    bar = brief and not job.config.quiet
    report = Console(folder.path if folder else None, quiet=quiet or brief, bar=bar, brief=alone)
    trains = {"trains": other} if (other := job.config.stage.get("trains")) else {}
    base = {"stage": job.config.names.stage, **trains, "overrides": list(job.overrides.texts)}
    began = time.perf_counter()
    with signals.held():
        with json_lines.labelled(None if quiet else {}):
            status = {**base, **_outcome(job, report, folder, base)}
        status["seconds"] = round(time.perf_counter() - began, 3)
        if folder:
            status |= _stored(folder, None if _stays(folder, status) else _without_trace(status))
    _write_failure(status, report)
    report.close()
    if folder and typed is not None and _is_idle(folder, status, typed):
        folder.discard()
    if not (quiet or brief):
        if not raised:
            _print_failure(status, folder)
        tell(status, folder.path if folder else None)
    return _without_trace(status)


def _stays(folder: RunFolder, status: dict[str, Any]) -> bool:
    """Whether what is there is what was there: a continuation was refused, or one of a finished run ended, before it
    took a step."""
    if not folder.before or folder.moved or not status["exit_code"]:
        return False
    return status["exit_code"] in REFUSED or (folder.before.get("status") == "finished" and not folder.goes_on)


def tell(status: dict[str, Any], folder: Path | None) -> None:
    """With `--json`, how a job ended: its result, if its stage gave one, and an error if it failed."""
    where = str(folder.absolute()) if folder and folder.exists() else None
    if status["exit_code"] == 0 or "error" not in status:
        planned: dict[str, Any] = {"status": "planned", **status.get("plan", {})}
        summary = read_json(folder / "summary.json") if folder else planned
        outcome: dict[str, Any] = {key: status[key] for key in ("stage", "status", "before") if key in status}
        json_lines.emit("result", **{**outcome, **summary, "folder": where})
    if status["exit_code"]:
        failed = {key: status[key] for key in ("status", "error", "message") if key in status}
        json_lines.emit("error", code=status["exit_code"], **failed, folder=where)


def _is_idle(folder: RunFolder, status: dict[str, Any], typed: bool) -> bool:
    """Whether nothing of a run that failed is worth its folder; a bug's trace and a loss that is not finite are."""
    if typed:
        return status["exit_code"] == ConfigError.exit_code and not folder.checkpoints.exists()
    early = (*REFUSED, StorageError.exit_code, ResourceError.exit_code, *signals.CODES.values())
    return status["exit_code"] in early and not folder.has_results()


def _stored(folder: RunFolder, status: dict[str, Any] | None) -> dict[str, Any]:
    """Write the final status, or with None the one before, and let the folder go; what is to be added to the status
    where that was impossible."""
    try:
        folder.put_back() if status is None else folder.status(**status)
    except PtftError as error:
        failure = _failure(error, error.exit_code)
        if status and status["exit_code"]:  # what went wrong first counts
            return {"message": f"{status.get('message', '')}\n{error}"}
        return failure
    finally:
        folder.release()
    return {}


def run_or_continue(overrides: list[str], description: dict[str, Any], path: Path) -> dict[str, Any]:
    """Do the job in `path`, or on from where it was cut there; its status, failures included. Nothing is printed.

    description: which of many runs it is (`identity` says it in short), kept beside the run in the file `DESCRIPTION`.
    """
    try:
        folder, job = _begin(overrides, description, path)
    except Exception as error:
        ptft_error = understood(error, (path,))
        if ptft_error is None:
            raise
        return {"status": "failed", "exit_code": ptft_error.exit_code, "message": str(ptft_error)}
    return execute(job, folder, quiet=True)


def _begin(overrides: list[str], description: dict[str, Any], path: Path) -> tuple[RunFolder, Job]:
    same_run = read_json(path / DESCRIPTION).get("identity") == description["identity"]
    if path.exists() and (cut := take_up(path, Overrides.parse(overrides), same_run=same_run)):
        return cut
    job, folder = dataclasses.replace(resolve(overrides), of_many=True), RunFolder.claim(path)
    write_json(path / DESCRIPTION, description)
    return folder, job


def take_up(path: Path, typed: Overrides, *, same_run: bool) -> tuple[RunFolder, Job] | None:
    """The folder and continuation of a run that was cut in `path`; None where it begins anew, the folder gone.

    typed: what was typed for it, of which only `trusted` and `train.pause` count again. same_run: whether the run
    there is this one.
    """
    status = read_json(path / "status.json")
    stopped = status.get("status") == "failed" and status.get("exit_code") in MENDED
    cut = same_run and (stopped or status.get("status") in ("running", "interrupted"))
    if cut and (path / "checkpoints" / "last.pt").exists():
        again = typed.where(lambda key: key in ("trusted", "train.pause")).texts
        folder = RunFolder.reopen(path)
        try:
            return folder, resolve([quote(f"resume={path}"), *again])
        except BaseException:
            folder.release()
            raise
    if path.is_symlink():
        path.unlink()
    else:  # a failed run, or one without a checkpoint yet
        RunFolder.reopen(path).release()
        shutil.rmtree(path)
    return None


def _without_trace(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "trace"}


def _outcome(job: Job, report: Console, folder: RunFolder | None, base: dict[str, Any]) -> dict[str, Any]:
    """What the stage returned, or how it failed."""
    try:
        job = rank.spread(job)
        if folder:
            if not job.config.resume:
                _write_config(folder.path, job)
            folder.status(**base, status="running")
        with signals.released():
            signals.check()
            return _stage(job, report, folder)
    except (KeyboardInterrupt, Exception) as error:
        return failed(error, folder)


def _stage(job: Job, report: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Where the stage is spread over processes it is called in all of them, and the first one's answer counts."""
    train, spreads = job.config.get("train", {}), job.config.stage.get("spreads")
    cut = train.get("parallel", "ddp") != "ddp"
    if (start := job.checkpoint) and (said := own_code.changed(start.meta, job.config.trusted, start.path)):
        report.say(said, "yellow")
    several = folder is not None and (train.get("processes", 1) > 1 or cut)
    if several and spreads is None:
        typed = f"train.parallel={train['parallel']}" if cut else f"train.processes={train['processes']}"
        raise ConfigError(f"{typed}: stage={job.config.names.stage} is done by one process; leave it out")
    if folder and several and spreads:
        result = rank.lead(job, report, folder) if rank.is_one() else ranks.run(job, report, folder)
    else:
        result = called(job, report, folder)
    return {"exit_code": 0, "status": "finished", **result}


def called(job: Job, report: Console, folder: RunFolder | None) -> dict[str, Any]:
    """What the job's stage returned."""
    from ptft.config import instantiate
    from ptft.runtime.device import begin_peak

    trusted = job.config.trusted
    instantiate.look_here(trusted)
    stage = instantiate.stage(job.config.stage, trusted)
    process.settle()
    begin_peak()
    result: dict[str, Any] = stage(job, report, folder)
    return result


def failed(error: BaseException, folder: RunFolder | None) -> dict[str, Any]:
    """The status of a job that ended so; what nobody understands is a bug of ours or the user's own."""
    if isinstance(error, KeyboardInterrupt):
        ended = error if isinstance(error, Interrupted) else Interrupted(INTERRUPTED)
        return _failure(ended, ended.exit_code)
    ptft_error = _understood(error, folder) if isinstance(error, Exception) else None
    return _failure(ptft_error or error, ptft_error.exit_code if ptft_error else 1)


def _failure(error: BaseException, code: int) -> dict[str, Any]:
    kind = "interrupted" if isinstance(error, Interrupted) else "failed"
    trace = "" if isinstance(error, Interrupted) else "".join(traceback.format_exception(error))
    return {"status": kind, "exit_code": code, "error": type(error).__name__, "message": str(error), "trace": trace}


def _understood(error: Exception, folder: RunFolder | None) -> PtftError | None:
    """Limits of the system, the machine and batch statistics, said in ptft's words; None for everything else."""
    ptft_error = rank.loss(error) or understood(error, (cache_dir(), *([folder.path] if folder else [])))
    if ptft_error is None and "more than 1 value per channel when training" in str(error):
        message = "a batch of one image has no batch statistics; raise train.batch_size or lower train.accumulate"
        ptft_error = ConfigError(message)
    if ptft_error is None and "mixed torch.Tensor and DTensor" in str(error):
        message = (
            "this model computes with weights beside its blocks' and its own forward pass; type train.parallel=ddp"
        )
        ptft_error = ConfigError(f"train.parallel=fsdp: {message}")
    if ptft_error is not None and ptft_error is not error:
        ptft_error.__cause__ = error
    return ptft_error


def _write_failure(status: dict[str, Any], report: Console) -> None:
    if trace := status.get("trace"):
        report.write(trace.rstrip())
    if status["exit_code"]:
        for line in str(status.get("message", "")).splitlines():
            report.write(f"ptft: {line}")


def _print_failure(status: dict[str, Any], folder: RunFolder | None) -> None:
    if status["exit_code"] == 0 or "message" not in status:
        return
    if status.get("trace") and (status["exit_code"] == 1 or os.environ.get("HYDRA_FULL_ERROR") == "1"):
        say(status["trace"], error=True)
    for line in str(status["message"]).splitlines():
        say(f"ptft: {line}", error=True)
    if folder and (folder.path / "run.log").exists():
        log = folder.path / "run.log"
        say(f"ptft: {status['status']} after {status['seconds']:.1f} s; its log is {log}", error=True)


def _write_config(folder: Path, job: Job) -> None:
    hidden = folder / ".hydra"
    with writing(hidden):
        hidden.mkdir(exist_ok=True)
    yaml_files.save(job.config.plain(), hidden / "config.yaml")
    yaml_files.save(list(job.overrides.texts), hidden / "overrides.yaml")
