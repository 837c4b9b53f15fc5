"""What the page of one training or evaluation shows, taken from the files of its folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.config.settled import stored
from ptft.errors import counted
from ptft.export.report import charts, sureness
from ptft.export.report.numbers import metric
from ptft.loggers.console import duration
from ptft.loggers.jsonl import stored_rows
from ptft.metrics.properties import is_share
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative

SPLITS = ("val", "test", "train")
FORWARD = 10
"""Ancestors at most; a run may not be its own."""
EPOCHS = 200
"""Rows of the table of evaluations; of more every so manieth."""
MATRIX = 30
"""Classes of a confusion matrix that is shown whole."""
CONFUSIONS = 30
VERBS = {"pretrain": "was pretrained", "finetune": "was finetuned", "evaluate": "was measured"}


def content(folder: Path) -> dict[str, Any]:
    """Values of the template `run.html`."""
    summary, rows = read_json(folder / "summary.json"), list(stored_rows(folder / "metrics.jsonl"))
    config, parent = stored.read(folder), _run_of(summary.get("parent"))
    metrics = summary.get("metrics") or {}
    best = summary.get("best") or {}
    shown = next((split for split in ("test", "val", "train") if split in metrics), "")
    confusion, labels = _table(folder / f"confusion_{shown}.json"), _table(folder / f"labels_{shown}.json")
    confusion = confusion if confusion and confusion["rows"] == confusion["columns"] else None
    return {
        "kind": "run",
        "title": " ".join(str(summary.get(key)) for key in ("stage", "model", "dataset") if summary.get(key)),
        "best": best if isinstance(best.get("value"), int | float) and isinstance(best.get("step"), int) else None,
        "sentences": list(_sentences(summary, metrics, shown)),
        "splits": [split for split in SPLITS if split in metrics],
        "names": list(dict.fromkeys(name for split in metrics.values() for name in split)),
        "metrics": metrics,
        "charts": list(_charts(rows, str(best.get("metric") or ""))),
        "evaluations": _evaluations(rows),
        "shown": shown,
        "confusion": confusion if confusion and len(confusion["rows"]) <= MATRIX else None,
        "most_confusions": CONFUSIONS,
        "confusions": _confusions(confusion) if confusion and len(confusion["rows"]) > MATRIX else [],
        "confusing": bool(confusion),
        "by_class": _by_class(confusion) or _by_label(labels),
        "measures": labels["columns"] if labels and not confusion else ["support", "precision", "recall", "f1"],
        "mistakes": _mistakes(folder / f"mistakes_{shown}.json"),
        "lineage": list(_lineage(folder, summary)),
        "transfer": _transfer(summary.get("transfer"), read_json(folder / "transfer.json")),
        "against_defaults": [[key, *pair] for key, pair in stored.against_defaults(config).items()],
        "against_parent": _differences(config, stored.read(parent)) if parent else None,
        "configuration": sorted(stored.leaves(config).items()),
        "cost": list(_cost(summary)),
        "commands": list(_commands(folder, summary)),
        "folder": str(folder),
        **sureness.content(folder, summary, shown),
    }


def without_previews(mistakes: Mapping[str, Any] | None) -> dict[str, Any]:
    """What takes the place of mistakes that can be seen or heard."""
    return {"mistakes": {**mistakes, "previews": [None] * len(mistakes["rows"]), "bare": True}} if mistakes else {}


def _sentences(summary: Mapping[str, Any], metrics: Mapping[str, Any], shown: str) -> Iterator[str]:
    """What it is and what came of it."""
    stage, examples = str(summary.get("stage")), (summary.get("data") or {}).get("examples") or {}
    count = examples.get("train") if stage in ("pretrain", "finetune") else summary.get("samples")
    size = f" ({counted(count, 'examples')})" if isinstance(count, int) else ""
    spent = ""
    if isinstance(summary.get("steps"), int) and isinstance(summary.get("seconds"), int | float):
        spent = f" in {counted(summary['steps'], 'steps')} and {duration(summary['seconds'])}"
    start = (summary.get("parent") or {}).get("path")
    came = f", starting from {relative(Path(start))}" if start and stage == "finetune" else ""
    yield (
        f"{summary.get('model')} {VERBS.get(stage, 'was run')} on {summary.get('dataset')}{size} with the objective "
        f"{summary.get('objective')}{spent} on {summary.get('device')}{came}."
    )
    if summary.get("status") == "interrupted":
        yield "It was interrupted before its end."
    if measured := metrics.get(shown):
        best = str((summary.get("best") or {}).get("metric") or "").split("/")[-1]
        usual = next(filter(is_share, measured), next(iter(measured)))
        name = best if best in measured else usual
        many = examples.get(shown) or summary.get("samples")
        on = f"the {many:,} {shown} examples" if isinstance(many, int) else f"the {shown} split"
        yield f"On {on} its {name.replace('_', ' ')} is {metric(measured[name], name)}."


def _charts(rows: Sequence[Mapping[str, Any]], monitor: str) -> Iterator[dict[str, Any]]:
    """The loss, what decides, every other measure that has a line, and the learning rate."""
    first = list(dict.fromkeys(["loss", monitor.split("/")[-1]]))
    known = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, int | float))
    apart = {"step", "epoch", "seconds", "samples", "averaged"}
    for name in [*first, *(name for name in known if name not in first and name not in apart)]:
        lines = {
            split: [
                (row["step"], row[name]) for row in rows if row.get("split") == split and "step" in row and name in row
            ]
            for split in ("train", "val")
        }
        if any(len(charts.finite(line)) > 1 for line in lines.values()):
            yield charts.chart(name, lines)


def _evaluations(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of evaluations: its columns and rows."""
    measured = [row for row in rows if row.get("split") == "val"]
    every = -(-len(measured) // EPOCHS) or 1
    kept = [*measured[::-1][::every]][::-1]
    names = list(dict.fromkeys(name for row in kept for name in row if name != "split"))
    shown = [[row.get(name) for name in names] for row in kept]
    return {"names": names, "rows": shown, "all": len(measured), "every": every}


def _table(file: Path) -> dict[str, Any] | None:
    """A matrix of an evaluation, where the file is one."""
    found = read_json(file)
    rows, columns, values = (found.get(key) for key in ("rows", "columns", "values"))
    if not (isinstance(rows, list) and isinstance(columns, list) and isinstance(values, list)):
        return None
    whole = len(values) == len(rows) and all(isinstance(row, list) and len(row) == len(columns) for row in values)
    return {"rows": rows, "columns": columns, "values": values} if whole else None


def _by_class(confusion: Mapping[str, Any] | None) -> list[list[Any]]:
    """Class, support, precision, recall, F1; a dash where a class was not predicted or has no example."""
    if not confusion:
        return []
    values, rows = confusion["values"], []
    predicted = [sum(row[k] or 0 for row in values) for k in range(len(values))]
    for k, name in enumerate(confusion["rows"]):
        hits, support = values[k][k] or 0, sum(value or 0 for value in values[k])
        precision, recall = (hits / many if many else None for many in (predicted[k], support))
        f1 = 2 * hits / (predicted[k] + support) if predicted[k] + support else None
        rows.append([name, round(support), precision, recall, f1])
    return rows


def _by_label(labels: Mapping[str, Any] | None) -> list[list[Any]]:
    """Of label sets each label, how many examples have it, and what was measured of it, shares all of them."""
    if not labels:
        return []
    pairs = zip(labels["rows"], labels["values"], strict=True)
    return [[name, round(values[0] or 0), *values[1:]] for name, values in pairs if values]


def _confusions(confusion: Mapping[str, Any]) -> list[list[Any]]:
    """The most frequent: true, predicted, how often."""
    names = confusion["rows"]
    pairs = [
        [names[i], names[j], round(value)]
        for i, row in enumerate(confusion["values"])
        for j, value in enumerate(row)
        if i != j and value
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:CONFUSIONS]


def _mistakes(file: Path) -> dict[str, Any] | None:
    """What `mistakes.write` left, where it is that; a preview is a data URI of a picture or a sound or none."""
    found = read_json(file)
    rows, previews = found.get("rows"), found.get("previews")
    if not (isinstance(rows, list) and isinstance(previews, list) and len(rows) == len(previews)):
        return None
    kinds = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:audio/wav;base64,")
    safe = [uri if isinstance(uri, str) and uri.startswith(kinds) else None for uri in previews]
    kept = {key: found.get(key) for key in ("split", "mistakes", "columns", "rows", "worst", "cells")}
    return {**kept, "previews": safe, "sounds": any((uri or "").startswith("data:audio") for uri in safe)}


def _run_of(parent: Any) -> Path | None:
    """The folder of the run that a parent names, where it is still there."""
    run = parent.get("run") if isinstance(parent, Mapping) else None
    return Path(run) if isinstance(run, str) and (Path(run) / "status.json").is_file() else None


def _lineage(folder: Path, summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """This run and those that it descends from, the nearest first, as far as they are known here."""
    for _ in range(FORWARD):
        best = summary.get("best") or {}
        value = metric(best.get("value"), str(best.get("metric"))) if best.get("value") is not None else ""
        what = " ".join(str(summary[key]) for key in ("stage", "model", "dataset", "objective") if summary.get(key))
        yield {"name": relative(folder), "what": what, "best": f"{best.get('metric')} {value}" if value else ""}
        parent = summary.get("parent")
        if not isinstance(parent, Mapping):
            return
        before = _run_of(parent)
        if before is None or before == folder:
            yield {"name": str(parent.get("run") or parent.get("path")), "what": "not found here", "best": ""}
            return
        folder, summary = before, read_json(before / "summary.json")


def _transfer(counts: Mapping[str, Any] | None, names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was taken from the checkpoint and what not: kind, tensors, values, names."""
    return [
        {
            "kind": kind,
            "tensors": group.get("tensors"),
            "values": group.get("parameters"),
            "names": [str(name) for name in (names.get(kind) or {}).get("tensors") or []],
        }
        for kind, group in (counts or {}).items()
        if isinstance(group, Mapping) and group.get("tensors")
    ]


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[list[Any]]:
    one, other = (stored.leaves({k: v for k, v in each.items() if k not in stored.APART}) for each in (ours, theirs))
    keys = list(dict.fromkeys([*one, *other]))
    return [[key, one.get(key), other.get(key)] for key in keys if one.get(key) != other.get(key)]


def _cost(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    number, rate = summary.get("steps"), summary.get("samples_per_second")
    if isinstance(number, int):
        yield "steps", f"{number:,}, {summary.get('epochs', 0):,} epochs, {summary.get('samples', 0):,} examples"
    if isinstance(seconds := summary.get("seconds"), int | float):
        waited = summary.get("data_seconds")
        share = (
            f", {waited / seconds:.0%} of it waiting for data" if isinstance(waited, int | float) and seconds else ""
        )
        yield "training", f"{duration(seconds)}{f', {rate:,.0f} examples/s' if rate else ''}{share}"
    if isinstance(memory := summary.get("peak_memory_bytes"), int | float):
        yield "memory", f"{memory / 2**20:,.0f} MiB at most"
    if isinstance(flops := summary.get("flops"), int | float) and flops:
        yield "computed", f"{flops:.3g} floating-point operations"
    if isinstance(parameters := summary.get("parameters"), int):
        trained = summary.get("trainable_parameters")
        yield "parameters", f"{parameters:,}{f', {trained:,} of them trained' if trained != parameters else ''}"
    formats = ", ".join(str(summary[key]) for key in ("device", "precision", "layout") if summary.get(key))
    yield "device", formats
    if isinstance(versions := summary.get("versions"), Mapping):
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    if summary.get("git_commit"):
        yield "git commit", str(summary["git_commit"])


def _commands(folder: Path, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What to type: to reproduce it, to go on with it."""
    place = relative(folder)
    if summary.get("command"):
        yield "run it again", str(summary["command"])
    if summary.get("status") == "interrupted":
        yield "continue it", shlex.join(["ptft", f"resume={place}"])
        return
    if summary.get("checkpoints"):
        yield "predict new files", shlex.join(["ptft", "stage=predict", f"ckpt={place}"]) + " input=FILES"
        yield "measure it", shlex.join(["ptft", "stage=evaluate", f"ckpt={place}"])
        yield "start from it", shlex.join(["ptft", "stage=finetune", f"ckpt={place}"])
    yield "all that is known of it", shlex.join(["ptft", "show", place])


def headline(summary: Mapping[str, Any]) -> tuple[str, float | None]:
    """The metric that decides and its value, on the held-out split where there is one: `test/accuracy`."""
    best, metrics = summary.get("best") or {}, summary.get("metrics") or {}
    name = str(best.get("metric") or "").split("/")[-1]
    for split in ("test", "val"):
        if isinstance(value := (metrics.get(split) or {}).get(name), int | float):
            return f"{split}/{name}", float(value)
    return (f"val/{name}" if name else ""), best.get("value")
