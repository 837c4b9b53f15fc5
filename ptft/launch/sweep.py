"""Sweeps: a folder for the jobs, and at the end a table, means over seeds, results.csv and results.json."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections import defaultdict
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from ptft.config.overrides import Overrides
from ptft.config.resolve import Job
from ptft.errors import StorageError
from ptft.runs.folder import read_json, write_json
from ptft.runtime.system import write_text, writing

if TYPE_CHECKING:
    from ptft.loggers.console import Console


def new_folder(base: Path) -> Path:
    """`base/DATE/TIME-xxxx`, new each time."""
    return base / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{token_hex(2)}"


def claim(folder: Path) -> None:
    """Make a sweep's folder. Raises StorageError where that fails or it holds a sweep already."""
    with writing(folder.absolute(), "choose another hydra.sweep.dir"):
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
        (folder / "results.json").touch()
    if taken:
        raise StorageError(f"{folder.absolute()}: holds something already; choose another hydra.sweep.dir")


def finish(folder: Path, planned: list[Job], swept: list[str]) -> int:
    """Collect the results of the planned jobs, print and store them; 0 if all of them finished, else 1.

    swept: the keys that were given several values.
    """
    jobs = [_job(folder / str(number), number) for number in range(len(planned))]
    ranked = _ranked(jobs)
    _write(folder, jobs)
    from ptft.loggers.console import Console

    report = Console()
    header, rows = _rows(ranked, swept)
    report.table(f"\n{len(jobs)} jobs, best first", header, rows)
    if "seed" in swept:
        _over_seeds(report, ranked, [key for key in swept if key != "seed"])
    for job in jobs:
        if job["message"]:
            report.say(f"job {job['number']} {job['status']}: {job['message'].splitlines()[0]}", "red")
    report.say(f"results   {folder.absolute() / 'results.csv'}")
    best = ranked[0]
    following = planned[best["number"]].config.stage.get("next")
    if best["status"] == "finished" and following and best["monitor"]:
        ckpt = Path(best["folder"]) / "checkpoints" / "best.pt"
        report.say(f"next      ptft {following.replace('CKPT', str(ckpt))}")
    return 0 if all(job["status"] == "finished" for job in jobs) else 1


def _job(folder: Path, number: int) -> dict[str, Any]:
    status, summary = read_json(folder / "status.json"), read_json(folder / "summary.json")
    metrics = {
        f"{split}/{name}": value for split, found in summary.get("metrics", {}).items() for name, value in found.items()
    }
    return {
        "number": number,
        "stage": status.get("stage"),
        "status": status.get("status", "not started"),
        "overrides": status.get("overrides", []),
        "metrics": metrics,
        "monitor": summary.get("best", {}),
        "message": status.get("message", ""),
        "folder": str(folder.absolute()),
    }


def _ranked(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best monitored value first; jobs without one last."""
    sign = -1 if any(job["monitor"].get("mode") == "max" for job in jobs) else 1

    def key(job: dict[str, Any]) -> tuple[bool, float]:
        value = job["monitor"].get("value")
        return value is None, 0.0 if value is None else sign * value

    return sorted(jobs, key=key)


def _typed(job: dict[str, Any]) -> dict[str, str]:
    typed = Overrides.parse(job["overrides"]).typed
    return {key: "null" if value is None else str(value) for key, value in typed.items()}


def _rows(jobs: list[dict[str, Any]], swept: list[str]) -> tuple[list[str], list[list[str]]]:
    names = _shown(jobs)
    rows = [
        [
            str(job["number"]),
            *(_typed(job).get(key, "") for key in swept),
            job["status"],
            *(_number(job["metrics"].get(name)) for name in names),
        ]
        for job in jobs
    ]
    return ["job", *swept, "status", *names], rows


def _shown(jobs: list[dict[str, Any]]) -> list[str]:
    """Loss and the monitored metric, on the held-out splits."""
    found = [name for job in jobs for name in job["metrics"]]
    monitored = {str(job["monitor"].get("metric", "/")).split("/", 1)[1] for job in jobs} - {""}
    wanted = [f"{split}/{name}" for name in [*sorted(monitored - {"loss"}), "loss"] for split in ("val", "test")]
    return [name for name in wanted if name in found]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _over_seeds(report: Console, jobs: list[dict[str, Any]], keys: list[str]) -> None:
    """Mean ± standard deviation over the seeds of every setting, best first as the jobs are."""
    names = _shown(jobs)
    settings: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        if job["status"] == "finished":
            settings[tuple(_typed(job).get(key, "") for key in keys)].append(job)
    rows = []
    for setting, members in settings.items():
        values = [[job["metrics"][name] for job in members if job["metrics"].get(name) is not None] for name in names]
        rows.append([*setting, str(len(members)), *map(_spread, values)])
    if names and rows:
        sign = -1 if any(job["monitor"].get("mode") == "max" for job in jobs) else 1
        rows.sort(key=lambda row: sign * float(row[len(keys) + 1].split()[0] or "nan"))
        report.table("\nmean ± standard deviation over seeds", [*keys, "seeds", *names], rows)


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def _write(folder: Path, jobs: list[dict[str, Any]]) -> None:
    names = sorted({name for job in jobs for name in job["metrics"]})
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["number", "status", "overrides", *names, "folder"])
    for job in jobs:
        metrics = [job["metrics"].get(name, "") for name in names]
        writer.writerow([job["number"], job["status"], " ".join(job["overrides"]), *metrics, job["folder"]])
    write_text(folder / "results.csv", table.getvalue(), "choose another hydra.sweep.dir")
    write_json(folder / "results.json", jobs)
