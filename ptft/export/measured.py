"""What a card says of metrics: which they are, how sure, and on what they were measured; and which run was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptft.builders.membership import is_other_root
from ptft.config.settled import stored
from ptft.export.report.sureness import between
from ptft.export.subject import Subject
from ptft.loggers.console import number
from ptft.metrics.uncertainty.statistics import CONFIDENCE, share_interval
from ptft.runs.folder import read_json
from ptft.runs.lineage import stored_digest

FITTED = ("temperature",)
"""What stands among the metrics of a calibrated model, and says nothing of how good it is."""


def training(subject: Subject) -> dict[str, Any]:
    """The summary of the run that trained the weights: their own, or of those that `evaluate.calibrate` wrote the one
    of the weights it began with; {} where it is not found, or holds others by now.
    """
    summary = subject.summary
    while summary.get("stage") == "evaluate":
        parent = summary.get("parent") or {}
        path, run = Path(str(parent.get("path"))), parent.get("run")
        if not run or path.stem != "best" or stored_digest(path) != parent.get("sha256"):
            return {}
        summary = read_json(Path(str(run)) / "summary.json")
    return summary


def metrics(subject: Subject) -> dict[str, dict[str, float]]:
    """Split -> name -> value."""
    known: Mapping[str, Mapping[str, float | None]] = subject.predictor.card["metrics"]
    return {
        split: {name: value for name, value in values.items() if value is not None and name not in FITTED}
        for split, values in known.items()
    }


def held_out(subject: Subject) -> tuple[str, dict[str, float]] | None:
    """The metrics of the split that was not trained on, the test split's where there is one."""
    known = metrics(subject)
    return next(((split, known[split]) for split in ("test", "val") if known.get(split)), None)


def data_of(subject: Subject) -> tuple[str, str]:
    """The dataset that the metrics are of, for the hub: its name, and the kind that it is."""
    card, on = subject.predictor.card, subject.predictor.card["measured_on"]
    if not on:
        return str(card["dataset"]), str(card["dataset"])
    kind, root = str(on.get("dataset")), on.get("root")
    other = root and is_other_root(subject.checkpoint, root)
    return (f"{Path(str(root)).name} ({kind})" if other else kind), kind


def lines(subject: Subject) -> Iterator[str]:
    """What was measured, and each split that was held out, with the intervals of its metrics where they are known."""
    if on := subject.predictor.card["measured_on"]:
        where = f" from `{on['root']}`" if on.get("root") else ""
        yield f"measured by `stage=evaluate` on the dataset `{on.get('dataset')}`{where}"
    for split, values in metrics(subject).items():
        if split != "train" and values:
            yield f"{split}: {_with_intervals(subject, split, values)}"


def _with_intervals(subject: Subject, split: str, values: Mapping[str, float]) -> str:
    known, how = subject.summary.get("intervals") or {}, subject.summary.get("resampling") or {}
    pairs = known.get(split) or {}
    shown = [
        number(name, each) + (f" ({between(name, pairs[name])})" if name in pairs else "")
        for name, each in values.items()
    ]
    if pairs and how:
        shown[-1] += f"; in brackets {100 * how['level']:g} % intervals, by resampling {how['units']:,} {how['of']}"
    elif split not in known and (count := _independent(subject, split)) and "accuracy" in values:
        low, high = share_interval(values["accuracy"], count)
        place = [*values].index("accuracy")
        shown[place] += f" ({100 * CONFIDENCE:g} % interval over {count:,}: {between('accuracy', (low, high))})"
    return ", ".join(shown)


def _independent(subject: Subject, split: str) -> int:
    """How many examples of a split were right or wrong, each by itself; 0 where that is not so, or not known."""
    summary, config = subject.summary, subject.checkpoint.config or {}
    evaluated = summary.get("stage") == "evaluate"
    if evaluated and subject.checkpoint.run:
        config = stored.read(Path(subject.checkpoint.run))
    if not subject.classifies or (config.get("dataset") or {}).get("group") is not None:
        return 0
    if evaluated:
        return int(summary.get("samples") or 0) if summary.get("split") == split else 0
    return int((summary.get("data") or {}).get("examples", {}).get(split) or 0)
