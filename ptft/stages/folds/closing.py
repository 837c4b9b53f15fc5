"""The end of a cross-validation: a table of its folds, its files, its summary, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import Columns, Source
from ptft.errors import StorageError, counted, first_line, shortened
from ptft.launch import following
from ptft.loggers.console import Console, duration, number
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty.bootstrap import FEW
from ptft.runs.folder import read_json, write_json
from ptft.runs.registry import FOLDS
from ptft.runs.table_file import read_columns, write_columns
from ptft.runtime import json_lines
from ptft.runtime.terminal import decimal
from ptft.stages import messages, predictions
from ptft.stages.folds import results
from ptft.stages.measure import shown
from ptft.stages.provenance import provenance

SHARED = (
    *("stage", "model", "dataset", "objective", "input", "seed", "device", "precision", "layout"),
    *("parameters", "trainable_parameters", "parent", "refers", "refers_sha256", "transfer"),
)
"""Of a run's summary what is that of all folds."""
COLUMNS = 6
"""So many metrics are shown on the terminal, what decides first; folds.json has all."""
NOT_INDEPENDENT = (
    "± is half of a 95 % interval of the mean, a little too narrow, as folds share what they train on (Bengio & "
    "Grandvalet 2004)"
)


def progress(out: Console, record: Mapping[str, Any], left: float) -> None:
    """A line about a fold that ended; left: seconds that the others will take."""
    json_lines.emit("run", **record)
    what = f"fold {record['fold']} of {record['of']}"
    if record["status"] != "finished":
        out.say(f"{what}: {record['status']}, {first_line(record['message'])}", "red")
        return
    name = _metric(record)
    known = record["metrics"].get("test", {})
    value = f"test {number(name, known[name])}" if known.get(name) is not None else f"no test {name}"
    out.say(f"{what}: {value}  {record['took']:.1f} s" + (f"  about {duration(left)} left" if left else ""))


def _metric(record: Mapping[str, Any]) -> str:
    """What decides a run, without its split."""
    return str(record["best"]["metric"]).split("/")[-1]


def close(
    job: Job,
    out: Console,
    folder: Path,
    records: list[dict[str, Any]],
    source: Source,
    description: dict[str, Any],
) -> dict[str, Any]:
    """Write and say what the folds give; what `status.json` adds to the status. source: of any fold."""
    cfg = job.config
    done = [each for each in records if each["status"] == "finished"]
    if len(done) < len(records):
        write_json(folder / FOLDS, {"status": "failed", **description, "cells": records})
        return _failed(job, folder, records)
    means = results.means(records)
    pooled = results.pooled(records, source, cfg.trusted, cfg.seed)
    known = {
        split: {name: ends for name, mean in of.items() if (ends := results.interval(name, mean))}
        for split, of in means.items()
    }
    found = {"intervals": known, "pooled": pooled}
    summary = _summary(job, folder, records, means, found, description)
    write_json(folder / FOLDS, {"status": "finished", **description, **found, "cells": records})
    write_json(folder / "summary.json", summary)
    _answers(out, cfg, folder, records)
    for note in description["notes"]:
        out.say(note, "yellow")
    messages.report(cfg, out, folder)
    _say(out, cfg, folder, records, means, pooled, summary)
    return {"metrics": summary["metrics"]}


def _failed(job: Job, folder: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [each for each in records if each["status"] != "finished"]
    first = f"fold {failed[0]['fold']}: {first_line(failed[0]['message'])}"
    how = f"once that is mended go on with: {messages.to_resume(job, folder)}"
    message = f"{len(failed)} of {counted(len(records), 'folds')} failed, {first}\n{how}"
    return {"exit_code": 1, "status": "failed", "message": message}


def _summary(
    job: Job,
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    means: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Any],
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """As a run's: metrics are means over the folds, counts and seconds sums."""
    first, best = read_json(Path(records[0]["folder"]) / "summary.json"), records[0]["best"]
    values = [each["best"]["value"] for each in records]
    value = sum(values) / len(values) if all(_is_known(each) for each in values) else None
    examples = {"test": sum((each["examples"] or {}).get("test", 0) for each in records)}
    return {
        **{key: first.get(key) for key in SHARED},
        "status": "finished",
        "folds": {"count": len(records), **found},
        **{key: sum(each[key] or 0 for each in records) for key in ("steps", "samples", "seconds")},
        "metrics": {split: {name: mean.mean for name, mean in of.items()} for split, of in means.items()},
        "best": {"metric": best["metric"], "mode": best["mode"], "value": value},
        "data": {"examples": examples},
        **provenance(job, folder),
    }


def _is_known(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _answers(out: Console, cfg: Config, folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """`predictions_folds.csv` (or .parquet): the rows of all folds with the fold of each, and the worst of them."""
    if cfg.predictions == "none":
        return
    parts = [(each, Path(each["folder"]) / f"predictions_test.{cfg.predictions}") for each in records]
    if not all(file.is_file() for _, file in parts):  # of an objective without answers, or of a disk that was full
        return
    columns = _joined([(each["fold"], read_columns(file)) for each, file in parts])
    file = folder / f"predictions_folds.{cfg.predictions}"
    try:
        write_columns(file, columns, "free some space")
    except StorageError as error:
        out.say(f"{error}; the folds' own tables hold the same", "yellow")
        return
    losses = [float(value) if value not in (None, "") else None for value in columns.get("loss", [])]
    if losses:
        predictions.show({**columns, "loss": losses}, file.name, "all folds", out)


def _joined(parts: Sequence[tuple[int, Columns]]) -> Columns:
    """One table of those of several folds, whose number comes first; empty where one has not a column of another."""
    names = dict.fromkeys(name for _, own in parts for name in own)
    joined: Columns = {"fold": [fold for fold, own in parts for _ in next(iter(own.values()), [])]}
    for name in names:
        joined[name] = [
            value for _, own in parts for value in own.get(name, [None] * len(next(iter(own.values()), [])))
        ]
    return joined


def _say(
    out: Console,
    cfg: Config,
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    means: Mapping[str, Mapping[str, Any]],
    pooled: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> None:
    """The table, the result, the folder, the next command."""
    tested, together = means.get("test", {}), pooled.get("metrics") or {}
    names = sorted(tested, key=lambda name: name != _metric(records[0]))[:COLUMNS]
    rows = [
        [f"fold {each['fold']}", *(_count(each, split) for split in ("train", "test"))]
        + [_value(name, each["metrics"].get("test", {}).get(name)) for name in names]
        for each in records
    ]
    rows.append(["mean", "", "", *(_value(name, tested[name].mean) for name in names)])
    rows.append(["± 95 %", "", "", *(_value(name, tested[name].half) for name in names)])
    if together:
        rows.append(["pooled", "", f"{pooled['examples']:,}", *(_value(name, together.get(name)) for name in names)])
    out.table("\ntested on each fold", ["", "train", "test", *names], rows, result=True)
    for note in _notes(records, tested, pooled):
        out.note(note)
    out.block(f"{cfg.names.stage} in {len(records)} folds done", _result(records, tested, pooled, summary), "green")
    messages.ending(out, folder, following.without_folds(summary["command"]))


def _notes(records: Sequence[Mapping[str, Any]], tested: Mapping[str, Any], pooled: Mapping[str, Any]) -> list[str]:
    """What the numbers of the table mean, and do not."""
    notes, together = [NOT_INDEPENDENT], pooled.get("metrics") or {}
    if len(tested) > COLUMNS:
        notes.append(f"{len(tested) - COLUMNS} metrics more are in {FOLDS} and summary.json")
    if few := [f"{name} of {mean.size}" for name, mean in tested.items() if mean.size < len(records)]:
        notes.append(f"means of the folds in which they are numbers: {', '.join(few)}")
    if together:
        notes.append("pooled: the answers to all examples measured at once, each by the run that was not trained on it")
        if pooled["units"] < FEW:
            notes.append(f"{pooled['units']} {pooled['of']} are few: the interval of what is pooled is too narrow")
    without = [name for name in tested if name not in together]
    if without and "why" not in pooled:
        notes.append(f"none pooled of {shortened(without, 8)}: what is kept of each example does not give them again")
    return notes


def _result(
    records: Sequence[Mapping[str, Any]],
    tested: Mapping[str, Any],
    pooled: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> dict[str, str]:
    name = _metric(records[0])
    lines = {}
    if name in tested:
        mean = tested[name]
        half = "" if mean.half is None else f" ± {_value(name, mean.half)}"
        lines["test"] = f"{name} {shown.value(name, mean.mean)}{half}, mean of {mean.size} folds"
    if name in (pooled.get("metrics") or {}):
        pair = pooled["intervals"].get(name)
        of = f"{pooled['units']:,} {pooled['of']}"
        sure = f", 95 % {shown.between(name, (pair[0], pair[1]))}, by resampling {of}" if pair else f" of {of}"
        lines["pooled"] = f"{name} {shown.value(name, pooled['metrics'][name])}{sure}"
    elif "why" in pooled:
        lines["not pooled"] = pooled["why"]
    lines["training"] = f"{counted(summary['steps'], 'steps')} in {duration(summary['seconds'])}"
    return lines


def _count(record: Mapping[str, Any], split: str) -> str:
    return f"{(record['examples'] or {}).get(split, 0):,}"


def _value(name: str, value: float | None) -> str:
    """A share in percent, without the sign: columns are many."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{100 * value:.2f} %" if is_share(name) else decimal(value)
