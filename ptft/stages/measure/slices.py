"""Metrics of parts of the examples: of each speaker, of short and long texts, of every value of any column.

Axes: N examples measured, n of them in a slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ptft.builders import membership
from ptft.core import Examples
from ptft.data.source import DividedSource
from ptft.errors import ConfigError, counted
from ptft.loggers.console import Console
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.stages.measure import columns, intervals, shown
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Measured, Subject

LABEL, LENGTH, SIZE = "label", "length", "size"
"""What `evaluate.by` may be beside columns: the class, the length as the model reads it, the size of the file."""
PARTS = 4
"""Into so many parts of equally many examples numbers are cut."""
MOST = 100
"""Slices at most."""
SHOWN = 20
LEAST = 10
"""Of fewer units a slice is not called the worst."""
NOTHING = "(empty)"


def values(model: Subject, split: str, examples: Examples) -> list[str] | list[float]:
    """The value of `evaluate.by` of every example of a split. Raises ConfigError where there is none."""
    by = str(model.cfg.evaluate.by)
    if by == LABEL:
        return _labels(model, examples)
    if by == LENGTH:
        if examples.lengths is None:
            raise ConfigError("evaluate.by=length: the examples are all of one length")
        return [float(length) for length in examples.lengths.tolist()]
    if by == SIZE:
        return _sizes(model, split, examples)
    cells = columns.cells(model, split, examples, by, "evaluate.by")
    if cells is None:
        kind = type(model.source).__name__
        raise ConfigError(f"evaluate.by={by}: {kind} has no columns; {LABEL}, {LENGTH} and {SIZE} work")
    numbers = _numbers(cells)
    return [cell or NOTHING for cell in cells] if numbers is None else numbers


def _labels(model: Subject, examples: Examples) -> list[str]:
    classes = model.checkpoint.spec.classes if model.checkpoint.spec else ()
    if examples.labels is None or examples.labels.ndim > 1 or not classes:
        raise ConfigError("evaluate.by=label: the examples have no class each")
    return [classes[label] for label in examples.labels.tolist()]


def _sizes(model: Subject, split: str, examples: Examples) -> list[float]:
    source = model.source
    root = source.root if isinstance(source, DividedSource) else None
    base = root if root is None or root.is_dir() else root.parent
    files = [base / name for name in membership.names(source, split, examples)] if base else list[Path]()
    if not files or not all(file.is_file() for file in files):
        raise ConfigError("evaluate.by=size: the examples are no files of their own")
    return [float(file.stat().st_size) for file in files]


def _numbers(cells: Sequence[str]) -> list[float] | None:
    """As numbers, where all are and they are more than could stand for kinds."""
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return None
    several = len(set(numbers)) > 2 * PARTS and all(map(math.isfinite, numbers))
    return numbers if several else None


def slices(found: Sequence[str] | Sequence[float]) -> dict[str, list[int]]:
    """What each slice is called, and which examples are in it; numbers in parts of about equally many.

    Raises ConfigError for too many.
    """
    rows: dict[str, list[int]] = {}
    if found and isinstance(found[0], str):
        for row, value in enumerate(found):
            rows.setdefault(str(value), []).append(row)
        if len(rows) > MOST:
            raise ConfigError(f"evaluate.by: {counted(len(rows), 'values')} are too many, at most {MOST} have a slice")
        return dict(sorted(rows.items()))
    numbers = torch.tensor([float(value) for value in found], dtype=torch.float64)
    shares = torch.linspace(0, 1, PARTS + 1, dtype=torch.float64)[1:-1]
    edges = torch.unique(torch.quantile(numbers, shares))
    part = torch.bucketize(numbers, edges)  # an edge belongs to the part below it
    for number in torch.unique(part).tolist():
        chosen = (part == number).nonzero().flatten()
        low, high = numbers[chosen].min(), numbers[chosen].max()
        rows[f"{low:,g} to {high:,g}" if low < high else f"{low:,g}"] = chosen.tolist()
    return rows


def of(
    model: Subject, examples: Examples, measured: Measured, units: Units, parts: dict[str, list[int]], plan: Resampling
) -> dict[str, Any]:
    """What `summary.json` says of slices: `by`, `rows` with metrics and intervals each, `metric` and the `worst`."""
    if not measured.found.each:
        raise ConfigError(f"evaluate.by: objective={model.cfg.names.objective} measures examples together, not each")
    place = {index: row for row, index in enumerate(measured.found.index.tolist())}
    rows: list[dict[str, Any]] = []
    for name, indices in parts.items():
        there = [place[index] for index in indices if index in place]
        if not there:
            continue
        found = measured.found.at(torch.tensor(there))
        once = intervals.measured_by(model.objective, examples, found)(torch.ones(1, len(there), dtype=torch.float64))
        metrics = {key: float(once[key]) for key in measured.metrics if key in once}
        sure = intervals.of(model.objective, examples, found, units, metrics, plan)
        rows.append({"slice": name, "n": sure.units, "metrics": metrics, "intervals": sure.plain})
    metric, sign = _decisive(model, rows)
    ranked = [row for row in rows if row["n"] >= LEAST]
    numbers = [(sign * row["metrics"][metric], row["slice"]) for row in ranked]
    numbers = [pair for pair in numbers if not math.isnan(pair[0])]
    worst = min(numbers, key=lambda pair: pair[0])[1] if len(numbers) > 1 else None
    return {"by": str(model.cfg.evaluate.by), "metric": metric, "worst": worst, "rows": rows}


def _decisive(model: Subject, rows: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """The metric that slices are compared by, the objective's own where there is one, and 1 where more is better."""
    name, sign = model.objective.monitor["metric"].split("/")[-1], 1 if model.objective.monitor["mode"] == "max" else -1
    return (name, sign) if all(name in row["metrics"] for row in rows) else ("loss", -1)


def say(out: Console, split: str, found: dict[str, Any], plan: Resampling) -> None:
    """A row for each slice, of many the worst."""
    metric = found["metric"]
    rows = [
        [
            row["slice"],
            f"{row['n']:,}",
            shown.value(metric, row["metrics"][metric]),
            shown.between(metric, tuple(row["intervals"][metric]) if metric in row["intervals"] else None),
        ]
        for row in found["rows"]
    ]
    title = f"{metric} by {found['by']}, {split}"
    if len(rows) > SHOWN:
        title += f", the first {SHOWN} of {len(rows)}; summary.json has all"
    out.table(title, [found["by"], "n", metric, f"{100 * plan.level:g} %"], rows[:SHOWN], result=True)
    if found["worst"] is not None:
        out.note(f"worst: {found['by']} {found['worst']}")
    elif len(rows) > 1 > sum(row["n"] >= LEAST for row in found["rows"]) - 1:
        out.note(f"none is called the worst: fewer than two of these slices have n of at least {LEAST}")
