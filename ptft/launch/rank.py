"""One process of a run of several: its place among them, and the stage called in all of them with the same job.

They are started by `ptft.launch.ranks`, which hands a file to each, or by `torchrun … -m ptft …`, where the first one
resolves what was typed and tells the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ptft.config.config import Config
from ptft.config.overrides import Overrides
from ptft.config.resolve import Job
from ptft.errors import ConfigError, NotFiniteError, ResourceError
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime import json_lines, process, signals
from ptft.runtime.terminal import guarded, say

if TYPE_CHECKING:
    from ptft.distributed.group import Group
    from ptft.loggers.console import Console

JOB = "job.json"
TIME, BEGAN, MOVED = "ended_at", "began", "moved"
"""What a process says of its end besides its status: when it was, and whether it took a step."""
LOST = "lost"
"""The status of a process that ended because another one was gone."""
GRACE = 2.0
"""Seconds in which a process may end by itself once another one failed: it may wait for that one where it hears
nothing."""
BROKEN = ("Connection closed by peer", "Connection reset by peer", "[c10d]", "gloo", "NCCL", "TCPStore", "Timed out")
"""What torch says where another process is gone."""


def is_one() -> bool:
    """Whether this process is one of several that somebody else started together."""
    variables = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in variables) and int(os.environ["WORLD_SIZE"]) > 1


def spread(job: Job) -> Job:
    """The job with the number of processes that there are, where somebody else started them. Raises ConfigError."""
    if not is_one() or job.config.dry_run:
        return job
    if not job.config.stage.get("spreads"):
        raise ConfigError(f"stage={job.config.names.stage}: is done by one process; start it without torchrun")
    count, typed = int(os.environ["WORLD_SIZE"]), job.overrides.typed.get("train.processes", 1)
    if typed not in (1, count):
        raise ConfigError(f"train.processes={typed}: torchrun started {count}; leave it out")
    return dataclasses.replace(job, config=job.config.merged({"train": {"processes": count}}))


def told(job: Job) -> dict[str, Any]:
    """A job as plain data; its checkpoint is opened again by its name."""
    start = job.checkpoint
    return {
        "config": job.config.plain(),
        "overrides": list(job.overrides.texts),
        "checkpoint": start and {"path": start.path, "latest": start.latest},
        "folder": job.folder,
        "notes": list(job.notes),
        "of_many": job.of_many,
    }


def heard(told: dict[str, Any]) -> Job:
    """The job that `told` made plain data of."""
    config, start = Config(told["config"]), told["checkpoint"]
    checkpoint = None
    if start is not None:
        from ptft.checkpoint import load

        opened = load.open_checkpoint(start["path"], "resume" if config.resume else "ckpt")
        checkpoint = dataclasses.replace(opened, latest=start["latest"])
    overrides, notes = Overrides.parse(told["overrides"]), tuple(told["notes"])
    return Job(config, overrides, checkpoint, told["folder"], notes, told["of_many"])


def joined(run: Callable[[], int]) -> int:
    """The exit code of `run` in the first process of those that somebody started, and of what it has the others do."""
    from ptft.distributed.group import Group

    group = Group.join()
    if not group.main:
        warnings.simplefilter("ignore")  # the first one says them
        return _follow(group)
    code = run()
    if code == 0:
        group.same(None)  # nothing more is to do; after a failure the others find nobody
    return code


def lead(job: Job, report: Console, folder: RunFolder) -> dict[str, Any]:
    """What the stage returned here, called in the other processes as well."""
    from ptft.launch.job import called
    from ptft.runtime.together.alone import current

    current().same(told(job))
    try:
        return called(job, report, folder)
    finally:
        current().end()


def _follow(group: Group) -> int:
    """Do what the first process says until it says no more; the exit code."""
    while (task := _next(group)) is not None:
        status = _done(task, None)
        if status["status"] == "failed" and status["exit_code"] != NotFiniteError.exit_code:  # which is everybody's
            say(f"ptft: process {group.rank} of {group.count}: {status['message']}", error=True)
        if status["exit_code"]:
            return 0 if status["status"] == "interrupted" else int(status["exit_code"])
        group.end()
    return 0


def _next(group: Group) -> dict[str, Any] | None:
    """What the first process says is to do; None where it says nothing more, or is gone, and has said why."""
    try:
        task: dict[str, Any] | None = None
        return group.same(task)
    except RuntimeError as error:
        if loss(error) is None:
            raise
        process.leave(ResourceError.exit_code)


def loss(error: BaseException) -> ResourceError | None:
    """What torch says where another process is gone or does not answer, in ptft's words; None for everything else."""
    if not (isinstance(error, RuntimeError) and any(sign in str(error) for sign in BROKEN)):
        return None
    if re.search("timed? ?out", str(error), re.IGNORECASE):
        return ResourceError("another process of the run does not answer; does it wait for something, or hang?")
    return ResourceError("another process of the run is gone, and says why if it could")


def main(place: str) -> NoReturn:
    """The program of a process that `ptft.launch.ranks` starts: do the job of the file there, leave how it ended."""
    process.start()
    folder, number = Path(place), int(os.environ["RANK"])
    if number:
        _hide_output(folder / f"{number}.log")
    with guarded(), signals.interrupting():
        try:
            status = _of_file(folder, number)
        except (KeyboardInterrupt, Exception) as error:
            status = _failed(error, None)
    write_json(outcome_of(folder, number), {**status, TIME: time.time()})
    process.leave(0 if status["status"] == "interrupted" else status["exit_code"])


def _of_file(place: Path, number: int) -> dict[str, Any]:
    """The status of the job in this process, which from here on can be found and told of signals."""
    (place / f"{number}.pid").write_text(str(os.getpid()))
    joined = threading.Event()
    threading.Thread(target=_watch, args=(place, number, os.getppid(), joined), daemon=True).start()
    task = json.loads((place / JOB).read_text(encoding="utf-8"))
    os.environ.setdefault("OMP_NUM_THREADS", str(task["threads"]))
    objects = task["json"] is not None and number == 0
    with json_lines.only(objects), json_lines.labelled(task["json"] if objects else {}):
        return _of_task(task, number, joined)


def _of_task(task: dict[str, Any], number: int, joined: threading.Event) -> dict[str, Any]:
    from ptft.loggers.console import Console

    folder = RunFolder(Path(task["folder"])) if number == 0 else None  # which the process that started it holds
    console = Console(folder.path, **task["console"]) if folder else None
    if folder:
        folder.goes_on = task["goes_on"]
    try:
        from ptft.distributed.group import Group

        Group.join()
        joined.set()
        status = _done(task["job"], folder, console)
    except (KeyboardInterrupt, Exception) as error:
        status = _failed(error, folder)
    if console:
        console.close()
    return {**status, BEGAN: bool(folder and folder.began), MOVED: bool(folder and folder.moved)}


def _done(task: dict[str, Any], folder: RunFolder | None, console: Console | None = None) -> dict[str, Any]:
    """The status of a job in this process."""
    from ptft.launch.job import called
    from ptft.loggers.console import Console

    try:
        result = called(heard(task), console or Console(quiet=True), folder)
        return {"exit_code": 0, "status": "finished", **result}
    except (KeyboardInterrupt, Exception) as error:
        return _failed(error, folder)


def _failed(error: BaseException, folder: RunFolder | None) -> dict[str, Any]:
    from ptft.launch.job import failed

    status = failed(error, folder)
    return {**status, "status": LOST} if loss(error) else status


def outcome_of(place: Path, number: int) -> Path:
    """The file in which a process says how it ended."""
    return place / f"{number}.json"


def _hide_output(log: Path) -> None:
    """What libraries print in other processes than the first is kept beside the job."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(handle, standard)
    os.close(handle)


def _watch(place: Path, number: int, parent: int, joined: threading.Event) -> None:
    """End this process where nobody waits for it any more, or another one failed and this one does not hear of it.

    One that has not joined hears of nothing, a signal included: it ends where another one did, however that was.
    Meanwhile the time of its file says that it lives, also to who counts (`ptft.launch.ranks`), whatever it waits for.
    """
    while os.getppid() == parent:
        with contextlib.suppress(OSError):
            os.utime(place / f"{number}.pid")
        numbers = [int(file.stem) for file in place.glob("*.pid")]
        ended = not joined.is_set() and any(outcome_of(place, each).exists() for each in numbers)
        if ended or any(_has_failed(place, each) for each in numbers):
            time.sleep(GRACE)
            break
        time.sleep(0.2)
    os._exit(ResourceError.exit_code)


def _has_failed(place: Path, number: int) -> bool:
    status = read_json(outcome_of(place, number)).get("status")
    if status is not None:
        return bool(status in ("failed", LOST))
    with contextlib.suppress(ValueError):
        try:
            os.kill(int((place / f"{number}.pid").read_text()), 0)
        except ProcessLookupError:
            return not outcome_of(place, number).exists()
        except OSError:
            return False
    return False
