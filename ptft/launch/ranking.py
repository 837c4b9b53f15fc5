"""What a sweep found: a ranking for each metric that jobs were judged by, means over seeds, results.csv and .json."""

from __future__ import annotations

import contextlib
import csv
import io
import shlex
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.config.overrides import Overrides
from ptft.config.resolve import Job
from ptft.config.resume import typed_again
from ptft.errors import PtftError, counted, first_line
from ptft.launch import following, sweep
from ptft.runs.folder import read_json, write_json
from ptft.runtime import json_lines
from ptft.runtime.paths import short
from ptft.runtime.system import finite, write_text
from ptft.runtime.terminal import decimal

if TYPE_CHECKING:
    from ptft.loggers.console import Console

LONGEST = 1000
"""Characters of a job's failure at most: its end says what to do."""
Result = dict[str, Any]
"""What is known of a job, as results.json holds it."""


def finish(folder: Path, planned: list[Job], swept: list[str], typed: Sequence[str]) -> int:
    """Collect the results of the planned jobs, print and store them; 0 if all of them finished, or paused as they were
    asked to, else 1.

    swept: the keys that were given several values; typed: the sweep's command.
    """
    jobs = [_job(folder, number, job) for number, job in enumerate(planned)]
    _write(folder, jobs, swept)
    from ptft.loggers.console import Console

    report = Console()
    rankings = ranked(jobs)
    for members in rankings:
        _table(report, members, swept, len(jobs), apart=len(rankings) > 1)
    for job in jobs:
        if job["message"]:
            how = f"job {job['number']} {job['status']}: {first_line(job['message'], LONGEST)}"
            report.say(how, "" if job["paused"] else "red")
    report.say(f"results   {folder.absolute() / 'results.csv'}")
    if any(job["status"] != "finished" for job in jobs):
        retyped = shlex.join(typed_again(Overrides.parse(typed)))
        report.say(f"continue  ptft resume={short(folder)} {retyped}".rstrip())
    for members in rankings:
        if next_command := _next(members[0], planned):
            report.say(f"next      {next_command}")
    done = all(job["status"] == "finished" for job in jobs)
    stopped = any(job["status"] == "interrupted" for job in jobs)
    status = "finished" if done else "interrupted" if stopped else "failed"
    json_lines.emit("result", status=status, folder=str(folder.absolute()), jobs=_with_keys(jobs, swept))
    return 0 if all(job["status"] == "finished" or job["paused"] for job in jobs) else 1


def _next(best: Result, planned: list[Job]) -> str | None:
    if best["status"] != "finished" or not best["monitor"]:
        return None
    if planned[best["number"]].config.get("train", {}).get("folds") is not None:
        return following.without_folds(read_json(Path(best["folder"]) / "summary.json").get("command", ""))
    from ptft.checkpoint.load import open_checkpoint

    ckpt, spec = Path(best["folder"]) / "checkpoints" / "best.pt", None
    with contextlib.suppress(PtftError, OSError):
        spec = open_checkpoint(str(ckpt)).spec
    return following.command(planned[best["number"]].config, ckpt, spec)


def line(folder: Path, number: int, planned: list[Job], swept: list[str], status: Mapping[str, Any]) -> str:
    """What is said of a job when it ends: its number, keys, metric and time, or how it failed."""
    job = _job(folder, number, planned[number])
    keys = "".join(f" {key}={value}" for key, value in _swept(job, swept).items())
    parts = [f"finished before, in {job['folder']}"] if status.get("before") else []
    metrics = [name for name in _shown([job]) if job["monitor"]] or list(job["metrics"])[:1]
    parts += [f"{name} {_number(job['metrics'][name])}" for name in metrics[:1]]
    if status["exit_code"]:
        log = f"; its log is {job['folder']}/run.log" if sweep.place(folder, number) else ""
        failed = status["status"] == "failed"
        parts = [f"failed: {first_line(status.get('message', ''), LONGEST)}{log}" if failed else status["status"]]
    if job["paused"]:
        parts.append(first_line(job["message"]))
    if status.get("seconds") is not None and not status.get("before"):
        parts.append(f"{status['seconds']:.1f} s")
    return f"[{number + 1}/{len(planned)}]{keys}  {', '.join(parts)}"


def _job(folder: Path, number: int, planned: Job) -> Result:
    where = sweep.place(folder, number) or folder / str(number)
    status = sweep.refusal(folder, number) or read_json(where / "status.json")
    summary = read_json(where / "summary.json")
    metrics = {
        f"{split}/{name}": finite(value)
        for split, values in summary.get("metrics", {}).items()
        for name, value in values.items()
    }
    monitor = summary.get("best", {})
    return {
        "number": number,
        "stage": status.get("stage"),
        "status": status.get("status", "not started"),
        "paused": "paused" in status,
        "overrides": list(planned.overrides.where(lambda key: key != "hydra.sweep.dir").texts),
        "objective": summary.get("objective"),
        "metrics": metrics,
        "monitor": finite(monitor),
        "message": status.get("message", ""),
        "folder": str(where.absolute()),
    }


def ranked(jobs: list[Result]) -> list[list[Result]]:
    """Jobs that can be compared, each list best first; those without a value are the last of the last list.

    What was judged by another metric, the other way round, or by the loss of another objective is in another list.
    """
    by_measure: dict[Any, list[Result]] = defaultdict(list)
    for job in jobs:
        if job["monitor"].get("value") is not None:
            by_measure[_measure(job)].append(job)
    lists = [sorted(members, key=_merit) for members in by_measure.values()]
    rest = [job for job in jobs if job["monitor"].get("value") is None]
    return [*lists[:-1], [*lists[-1], *rest]] if lists else [rest]


def _measure(job: Result) -> tuple[Any, ...]:
    metric = job["monitor"].get("metric")
    return metric, job["monitor"].get("mode"), job["objective"] if metric == "val/loss" else None


def _merit(job: Result) -> float:
    sign = -1 if job["monitor"].get("mode") == "max" else 1
    return float(sign * job["monitor"]["value"])


def _table(report: Console, jobs: list[Result], swept: list[str], total: int, *, apart: bool) -> None:
    header, rows = _rows(jobs, swept)
    measure, mode, objective = _measure(jobs[0])
    title = f"{counted(total, 'jobs')}, best first"
    if apart:
        task = f" of {objective}" if objective else ""
        title = f"{len(jobs)} of {total} jobs, best {measure}{task} first ({mode})"
    report.table(f"\n{title}", header, rows)
    if "seed" in swept:
        _over_seeds(report, jobs, [key for key in swept if key != "seed"])


def _swept(job: Result, keys: list[str]) -> dict[str, str]:
    """The job's values of the keys that were given several; of a key that was typed twice, the last."""
    typed = Overrides.parse(job["overrides"]).typed
    return {key: "null" if (value := typed.get(key, "")) is None else str(value) for key in keys}


def _rows(jobs: list[Result], swept: list[str]) -> tuple[list[str], list[list[str]]]:
    names = _shown(jobs)
    rows = [
        [
            str(job["number"]),
            *_swept(job, swept).values(),
            job["status"],
            *(_number(job["metrics"].get(name)) for name in names),
        ]
        for job in jobs
    ]
    return ["job", *swept, "status", *names], rows


def _shown(jobs: list[Result]) -> list[str]:
    """Loss and the monitored metric, on the held-out splits."""
    measured = [name for job in jobs for name in job["metrics"]]
    monitored = {str(job["monitor"].get("metric", "")).removeprefix("val/") for job in jobs} - {""}
    names = [f"{split}/{name}" for name in [*sorted(monitored - {"loss"}), "loss"] for split in ("val", "test")]
    return [name for name in names if name in measured]


def _number(value: float | None) -> str:
    return "" if value is None else decimal(value)


def _over_seeds(report: Console, jobs: list[Result], keys: list[str]) -> None:
    """Mean ± standard deviation over the seeds of every setting, the best mean of what they are judged by first."""
    names = _shown(jobs)
    settings: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for job in jobs:
        if job["status"] == "finished" and job["monitor"].get("value") is not None:
            settings[tuple(_swept(job, keys).values())].append(job)
    best_first = sorted(settings.items(), key=lambda setting: statistics.mean(map(_merit, setting[1])))
    rows = []
    for setting, members in best_first:
        values = [[job["metrics"][name] for job in members if job["metrics"].get(name) is not None] for name in names]
        rows.append([*setting, str(len(members)), *map(_spread, values)])
    if names and rows:
        report.table("\nmean ± standard deviation over seeds", [*keys, "seeds", *names], rows)


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {decimal(statistics.stdev(values))}" if len(values) > 1 else ""
    return f"{decimal(statistics.mean(values))}{deviation}"


def _write(folder: Path, jobs: list[dict[str, Any]], swept: list[str]) -> None:
    """results.csv has a column for each key that was given several values, results.json `keys` by name."""
    names = sorted({name for job in jobs for name in job["metrics"]})
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["number", "status", *swept, "overrides", *names, "folder"])
    for job in jobs:
        metrics = [job["metrics"].get(name, "") for name in names]
        keys = _swept(job, swept).values()
        writer.writerow([job["number"], job["status"], *keys, " ".join(job["overrides"]), *metrics, job["folder"]])
    write_text(folder / "results.csv", table.getvalue(), "choose another hydra.sweep.dir")
    write_json(folder / "results.json", _with_keys(jobs, swept))


def _with_keys(jobs: Sequence[Result], swept: list[str]) -> list[Result]:
    return [{**job, "keys": _swept(job, swept)} for job in jobs]
