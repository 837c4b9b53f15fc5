"""What is left of the metrics where the examples are corrupted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.core import Examples
from ptft.data.corrupted.examples import SEVERITIES, Corrupted, Corruption, chosen
from ptft.loggers.console import Console
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.stages.measure import intervals, shown
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Measured, Subject


def asked(model: Subject, examples: Examples) -> dict[str, Corruption]:
    """What `evaluate.corrupt` names. Raises ConfigError for what there is not."""
    names = model.cfg.evaluate.corrupt or ()
    return chosen(model.source.spec, (names,) if isinstance(names, str) else tuple(names), examples) if names else {}


def measure(
    model: Subject, examples: Examples, corruptions: Mapping[str, Corruption]
) -> dict[tuple[str, int], Measured]:
    """By corruption and severity."""
    return {
        (name, severity): model.measure(Corrupted(examples, corruption, severity, model.source.spec))
        for name, corruption in corruptions.items()
        for severity in SEVERITIES
    }


def of(
    model: Subject, examples: Examples, measured: Mapping[tuple[str, int], Measured], units: Units, plan: Resampling
) -> dict[str, Any]:
    """What `summary.json` says of it: `metric`, which decides, and `rows` with metrics and intervals each."""
    rows: list[dict[str, Any]] = []
    for (name, severity), each in measured.items():
        sure = intervals.of(model.objective, examples, each.found, units, each.metrics, plan)
        rows.append({"corruption": name, "severity": severity, "metrics": each.metrics, "intervals": sure.plain})
    metric = model.objective.monitor["metric"].split("/")[-1]
    return {"metric": metric if all(metric in row["metrics"] for row in rows) else "loss", "rows": rows}


def say(out: Console, split: str, clean: Mapping[str, float], found: dict[str, Any]) -> None:
    """A row for each corruption, a column for each severity."""
    metric = found["metric"]
    cells: dict[str, list[str]] = {}
    for row in found["rows"]:
        cells.setdefault(row["corruption"], [shown.value(metric, clean[metric])]).append(
            shown.value(metric, row["metrics"][metric])
        )
    title = f"{metric} by corruption and severity, {split}; summary.json has intervals"
    header = ["", "clean", *map(str, SEVERITIES)]
    out.table(title, header, [[name, *values] for name, values in cells.items()], result=True)
