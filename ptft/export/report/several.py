"""What the page of several runs shows: a sweep's jobs, a comparison's arms, folds, or any runs side by side."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.config.settled import stored
from ptft.errors import CheckpointError, counted
from ptft.export.report import charts, one_run
from ptft.export.report.numbers import metric
from ptft.loggers.jsonl import stored_rows
from ptft.metrics.properties import is_share, less_is_better
from ptft.runs.folder import read_json
from ptft.runs.registry import FOLDS
from ptft.runtime.paths import relative

CURVES = 12
"""Runs whose curves are laid over each other, the best."""
LINES = 200
"""Runs in parallel coordinates, the best."""
AXES = 6
"""Keys in parallel coordinates, the first."""
VALUES = 12
"""Values of a key whose effect is drawn; a key with more is one of parallel coordinates alone."""


def of_sweep(folder: Path) -> dict[str, Any]:
    """A sweep's jobs, by its results.json."""
    try:
        jobs = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'results.json'}: can't be read ({error})") from error
    runs = [
        run_of(
            Path(str(job.get("folder"))),
            f"job {job.get('number')}",
            dict(job.get("keys") or {}),
            str(job.get("status")),
        )
        for job in (jobs if isinstance(jobs, list) else [])
        if isinstance(job, Mapping)
    ]
    done = sum(run["status"] == "finished" for run in runs)
    opening = f"A sweep of {counted(len(runs), 'jobs')}, of which {done:,} finished."
    return page_of(
        f"sweep {folder.name}", opening, runs, [("go on with it", shlex.join(["ptft", f"resume={relative(folder)}"]))]
    )


def of_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """Any runs; their keys are those of the configuration in which they differ. Raises CheckpointError."""
    for folder in folders:
        if not (folder / "summary.json").is_file():
            raise CheckpointError(f"{folder}: holds no run that has ended")
    configurations = [
        stored.leaves({k: v for k, v in stored.read(folder).items() if k not in stored.APART}) for folder in folders
    ]
    keys = [
        key
        for key in dict.fromkeys(key for each in configurations for key in each)
        if any(each.get(key) != configurations[0].get(key) for each in configurations)
    ]
    runs = [run_of(folder, relative(folder), {}, None) for folder in folders]
    commands = [("two of them in detail", shlex.join(["ptft", "diff", *map(relative, folders[:2])]))]
    page = page_of(f"{len(runs)} runs", f"{counted(len(runs), 'runs')} side by side.", runs, commands)
    rows = [[key, *(each.get(key) for each in configurations)] for key in keys]
    return page | {"settings": {"names": ["key", *(run["name"] for run in runs)], "rows": rows}}


def of_comparison(folder: Path) -> dict[str, Any]:
    """A comparison: its answer, its table and picture, and its runs."""
    found = read_json(folder / "compare.json")
    if not isinstance(found.get("rows"), list):
        raise CheckpointError(f"{folder}: holds a comparison that has not ended")
    keys = [key for key in ("arm", "amount", "seed", "lr") if any(key in cell for cell in found.get("cells") or [])]
    runs = [
        run_of(
            Path(str(cell.get("folder"))), str(cell.get("arm")), {k: cell.get(k) for k in keys}, str(cell.get("status"))
        )
        for cell in found.get("cells") or []
    ]
    what = f"{found.get('model')} on {found.get('dataset')}, {counted(len(runs), 'runs')}."
    page = page_of("comparison", what, runs, [("go on with it", shlex.join(["ptft", f"resume={relative(folder)}"]))])
    picture = folder / "compare.svg"
    image = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else ""
    rows = [row for row in found["rows"] if isinstance(row, Mapping)]
    measure = found.get("measure") or {}
    return page | {
        "sentences": [what],
        "answer": str(found.get("answer") or ""),
        "notes": [str(note) for note in found.get("notes") or []],
        "picture": f"data:image/svg+xml;base64,{image}" if image else "",
        "arms": [_arm(row, str(measure.get("metric") or "")) for row in rows],
    }


def of_folds(folder: Path) -> dict[str, Any]:
    """A cross-validation: what its folds give together, and its runs."""
    found, summary = read_json(folder / FOLDS), read_json(folder / "summary.json")
    if found.get("status") != "finished":
        raise CheckpointError(f"{folder}: holds a cross-validation that has not ended")
    runs = [
        run_of(Path(str(cell.get("folder"))), f"fold {cell.get('fold')}", {}, str(cell.get("status")))
        for cell in found.get("cells") or []
    ]
    what = f"{found.get('model')} on {found.get('dataset')}, each of {counted(len(runs), 'folds')} tested once."
    commands = [("the mean and all of its settings", shlex.join(["ptft", "show", relative(folder)]))]
    name, value = one_run.headline(summary)
    pooled, short = found.get("pooled") or {}, name.split("/")[-1]
    sentences = [f"{name} is {metric(value, name)}, the mean of {counted(len(runs), 'folds')}"]
    sentences[0] += _ends((found.get("intervals") or {}).get("test"), short, name)
    if short in (pooled.get("metrics") or {}):
        together = f"all answers measured at once give {metric(pooled['metrics'][short], name)}"
        sentences.append(together + _ends(pooled.get("intervals"), short, name))
    elif "why" in pooled:
        sentences.append(f"answers are not measured at once, as {pooled['why']}")
    note = (
        "An interval over folds is a little too narrow, as folds share what they train on. predictions_folds.csv has "
        "each example once, answered by the run that was not trained on it."
    )
    page = page_of("cross-validation", what, runs, commands)
    return page | {"sentences": [what], "answer": "; ".join(sentences) + ".", "notes": [note]}


def _ends(known: Any, short: str, name: str) -> str:
    """ " (95 %: 80.1 % to 85.2 %)" of a metric's interval, where it has one."""
    pair = known.get(short) if isinstance(known, Mapping) else None
    return f" (95 %: {metric(pair[0], name)} to {metric(pair[1], name)})" if pair else ""


def _arm(row: Mapping[str, Any], name: str) -> list[str]:
    """Arm, labels, rate, its mean, and what sets it apart from the baseline in points, each with its interval."""
    factor, unit = (100, " %") if is_share(name) else (1, "")
    parts = []
    for key, sign in (("mean", ""), ("difference", "+")):
        entry = row.get(key)
        value, half = (entry.get(each) for each in ("mean", "half")) if isinstance(entry, Mapping) else (None, None)
        shown = "–" if value is None else f"{factor * value:{sign}.4g}"
        shown += "" if half is None else f" ± {factor * half:.3g}"
        parts.append(shown + (unit if key == "mean" and value is not None else ""))
    return [str(row.get("arm")), metric(row.get("amount")), metric(row.get("rate")), *parts]


def run_of(folder: Path, name: str, keys: dict[str, Any], status: str | None) -> dict[str, Any]:
    summary = read_json(folder / "summary.json")
    what, value = one_run.headline(summary)
    return {
        "name": name,
        "folder": folder,
        "keys": keys,
        "status": status or str(summary.get("status")),
        "metric": what,
        "mode": str((summary.get("best") or {}).get("mode") or ""),
        "value": value,
        "metrics": summary.get("metrics") or {},
        "seconds": summary.get("seconds"),
        "page": (folder / "report.html").is_file(),
    }


def page_of(title: str, opening: str, runs: list[dict[str, Any]], commands: list[tuple[str, str]]) -> dict[str, Any]:
    """Values of the template `several.html`: leaderboard, effects, parallel coordinates, curves."""
    names = list(dict.fromkeys(run["metric"] for run in runs if run["value"] is not None))
    name = max(names, key=lambda each: sum(run["metric"] == each for run in runs), default="")
    mode = next((run["mode"] for run in runs if run["metric"] == name and run["mode"]), "")
    mode = mode or ("min" if less_is_better(name.split("/")[-1]) else "max")
    judged = [run for run in runs if run["value"] is not None and run["metric"] == name]
    ranked = sorted(judged, key=lambda run: -run["value"] if mode == "max" else run["value"])
    keys = list(dict.fromkeys(key for run in runs for key in run["keys"]))
    best = f"The best by {name} is {ranked[0]['name']} with {metric(ranked[0]['value'], name)}." if ranked else ""
    return {
        "kind": "several",
        "title": title,
        "sentences": [opening, *([best] if best else [])],
        "name": name,
        "keys": keys,
        "runs": [*ranked, *(run for run in runs if run not in ranked)],
        "measured": list(
            dict.fromkeys(
                f"{split}/{each}"
                for run in runs
                for split, values in run["metrics"].items()
                if split != "train"
                for each in values
            )
        ),
        "effects": list(_effects(ranked, keys, name)),
        "parallel": _parallel(ranked[:LINES], keys, name, mode),
        "charts": list(_curves(ranked[:CURVES], name)),
        "commands": commands,
        "limits": {"values": VALUES, "axes": AXES, "lines": LINES, "curves": CURVES},
        "settings": {},
        "answer": "",
        "notes": [],
        "picture": "",
        "arms": [],
    }


def _effects(runs: Sequence[Mapping[str, Any]], keys: Sequence[str], name: str) -> Iterator[dict[str, Any]]:
    for key in keys:
        groups: dict[Any, list[float]] = {}
        for run in runs:
            groups.setdefault(_value(run["keys"].get(key)), []).append(run["value"])
        if 1 < len(groups) <= VALUES:
            numbers = all(isinstance(value, float) for value in groups)
            ordered = sorted(groups.items()) if numbers else list(groups.items())
            yield charts.strip(f"{name} by {key}", {_called(value): group for value, group in ordered})


def _value(value: Any) -> Any:
    """A key's value as what can be compared: a number, also one that was typed, or text."""
    if isinstance(value, bool) or value is None or not isinstance(value, int | float | str):
        return json.dumps(value, default=str)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(value)):
            return number
    return str(value)


def _called(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _parallel(runs: Sequence[Mapping[str, Any]], keys: Sequence[str], name: str, mode: str) -> dict[str, Any]:
    """Keys in which the runs differ, and what came of them; nothing for fewer than two runs or keys."""
    apart = [key for key in keys if len({_value(run["keys"].get(key)) for run in runs}) > 1][:AXES]
    if len(runs) < 2 or not apart:
        return {}
    lines = [
        {
            "name": f"{run['name']}: {metric(run['value'], name)}",
            "at": [*(_value(run["keys"].get(key)) for key in apart), run["value"]],
        }
        for run in runs
    ]
    return charts.parallel([*apart, name], lines, mode)


def _curves(runs: Sequence[Mapping[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """Over the steps: what decides and the loss, on the validation split; where there is none, of training."""
    stored_by_run = {run["name"]: list(stored_rows(run["folder"] / "metrics.jsonl")) for run in runs}
    for each in dict.fromkeys((name.split("/")[-1], "loss")):
        for split in ("val", "train"):
            lines = {
                run: [
                    (row["step"], row[each])
                    for row in rows
                    if row.get("split") == split and "step" in row and each in row
                ]
                for run, rows in stored_by_run.items()
            }
            if any(len(charts.finite(line)) > 1 for line in lines.values()):
                yield charts.chart(f"{split} {each}", lines)
                break
