"""A run of several processes on this machine: started with its job, told of signals, and its end understood."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.config.resolve import Job
from ptft.errors import ResourceError
from ptft.launch import rank
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime import json_lines, signals
from ptft.runtime.process import cores

if TYPE_CHECKING:
    from ptft.loggers.console import Console

START = """
import sys
sys.path = [sys.argv[2], *(entry for entry in sys.path if entry)]
from ptft.launch.rank import main
main(sys.argv[1])
"""
"""A process's program. Python looks in the folder that the user stands in first: nothing there is to be imported."""
LOOK = 0.1
"""Seconds between looks at whether all are gone."""
STILL = 120.0
"""Seconds without a sign of a process, whose thread gives five a second, after which it is ended."""
STOOD_STILL = (
    f"gave no sign for {STILL:.0f} seconds and was ended: it was stopped (SIGSTOP), or its machine swaps; against that "
    "lower train.batch_size or train.processes"
)


class Still:
    """Which processes stand still: their threads too, so that they answer nobody, whatever the others wait for.

    since: of each, the time of its last sign, and how often it was the same when this process looked. Where this one
    stands still as well (a machine that sleeps) nothing is counted.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.since: dict[int, tuple[float, int]] = {}
        self.ended: list[int] = []

    def look(self) -> None:
        """End those that stood still for STILL seconds: the others fail then, and it is said why."""
        for file in self.place.glob("*.pid"):
            with contextlib.suppress(OSError):
                number, sign = int(file.stem), file.stat().st_mtime
                last, times = self.since.get(number, (sign, 0))
                self.since[number] = (sign, times + 1 if sign == last else 0)
                if self.since[number][1] > STILL / LOOK and not rank.outcome_of(self.place, number).exists():
                    os.kill(int(file.read_text()), signal.SIGKILL)
                    self.ended.append(number)
                    self.since[number] = (sign, 0)


def run(job: Job, report: Console, folder: RunFolder) -> dict[str, Any]:
    """What the stage returned in the first process, or how the first that failed did."""
    count, place = int(job.config.train.processes), Path(tempfile.mkdtemp(prefix="ptft-"))
    try:
        write_json(place / rank.JOB, _task(job, report, folder, count))
        still = Still(place)
        launched = _ended(count, place, still)
        told = read_json(rank.outcome_of(place, 0))
        folder.began, folder.moved = bool(told.get(rank.BEGAN, folder.began)), bool(told.get(rank.MOVED, True))
        return _gone(still.ended[0], count, STOOD_STILL) if still.ended else _outcome(place, count, launched)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _task(job: Job, report: Console, folder: RunFolder, count: int) -> dict[str, Any]:
    return {
        "job": rank.told(job),
        "folder": str(folder.path),
        "goes_on": folder.goes_on,
        "console": report.options,
        "json": json_lines.labels(),
        "threads": max(1, cores() // count),
    }


def _ended(count: int, place: Path, still: Still) -> dict[int, int]:
    """Wait for all of them: exit codes of those that failed. The first signal is handed on, the next ends them."""
    from ptft.distributed.launcher import Launch

    asked, told = list[str](), set[int]()
    try:
        with signals.on_signal(asked.append), json_lines.handed_on():
            launch = Launch(count, ["-c", START, str(place), str(Path(__file__).resolve().parents[2])])
            while not launch.ended(LOOK):
                for name in asked:  # one that is not there yet is told when it is
                    _signal(place, getattr(signal, name), told)
                still.look()
    finally:
        _signal(place, signal.SIGKILL, set())
    if launch.error is not None:
        raise ResourceError(f"train.processes={count}: can't be started ({launch.error})") from launch.error
    return launch.codes


def _signal(place: Path, number: int, told: set[int]) -> None:
    """Send it to those that are there and were not told, and note them."""
    for file in place.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            if (pid := int(file.read_text())) not in told:
                os.kill(pid, number)
                told.add(pid)


def _outcome(place: Path, count: int, codes: dict[int, int]) -> dict[str, Any]:
    """The result; else the failure that came first, and not what other processes made of it."""
    outcomes = {number: read_json(rank.outcome_of(place, number)) for number in range(count)}
    failed = [(each[rank.TIME], number) for number, each in outcomes.items() if each.get("status") == "failed"]
    if failed:
        number = min(failed)[1]
        if outcomes[0].get("message") == outcomes[number]["message"]:  # what all of them were refused
            number = 0
        return _said_by(number, count, _status(outcomes[number]))
    silent = [number for number, each in outcomes.items() if not each]
    # The launcher ends the others by SIGTERM as soon as one is gone.
    if killed := [(codes[number] == -signal.SIGTERM, number) for number in silent if codes.get(number, 0) < 0]:
        number = min(killed)[1]
        how = f"was killed ({signal.Signals(-codes[number]).name})"
        return _gone(number, count, f"{how}; with too little memory lower train.batch_size or train.processes")
    if interrupted := [each for each in outcomes.values() if each.get("status") == "interrupted"]:
        return _status(interrupted[0])
    for number in silent:
        return _gone(number, count, f"left before the end (exit code {codes.get(number, 0)})")
    return _status(next((each for each in outcomes.values() if each["status"] == rank.LOST), outcomes[0]))


def _status(outcome: dict[str, Any]) -> dict[str, Any]:
    status = "failed" if outcome["status"] == rank.LOST else outcome["status"]
    return {
        **{key: value for key, value in outcome.items() if key not in (rank.TIME, rank.BEGAN, rank.MOVED)},
        "status": status,
    }


def _said_by(number: int, count: int, status: dict[str, Any]) -> dict[str, Any]:
    """A failure of another process than the first says whose it is."""
    whose = f"process {number} of {count}: " if number else ""
    return {**status, "message": whose + status["message"]}


def _gone(number: int, count: int, how: str) -> dict[str, Any]:
    """The failure of a process that did not say how it ended."""
    error = ResourceError(f"process {number} of {count} {how}")
    return {
        "status": "failed",
        "exit_code": error.exit_code,
        "error": type(error).__name__,
        "message": str(error),
    }
