"""Results: the mean over folds with its interval, and what all answers together give.

Folds are not independent, as their training sets overlap: no estimate of how the mean varies is right for all data
(Bengio & Grandvalet 2004), and the interval that is given, Student's t of the folds' values, is a little too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.builders.restore import rebuilt
from ptft.core import Examples, Source, Table
from ptft.data.source import DividedSource
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.metrics.uncertainty.statistics import Estimate, estimate
from ptft.stages.folds import kept
from ptft.stages.measure import intervals

Metrics = dict[str, dict[str, float]]
"""Split -> name -> value."""


def means(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Split -> metric -> its mean over the folds in which it is a number."""
    splits = dict.fromkeys(split for each in records for split in each["metrics"])
    found: dict[str, dict[str, Estimate]] = {}
    for split in splits:
        rows = [each["metrics"].get(split, {}) for each in records]
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [float(row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name])]
            if values:
                found.setdefault(split, {})[name] = estimate(values)
    return found


def interval(name: str, mean: Estimate) -> tuple[float, float] | None:
    """The ends of a mean's interval, of a share between 0 and 1; None of one fold."""
    if mean.half is None:
        return None
    low, high = mean.mean - mean.half, mean.mean + mean.half
    return (max(0.0, low), min(1.0, high)) if is_share(name) else (low, high)


def pooled(records: Sequence[Mapping[str, Any]], source: Source, trusted: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Of the answers of all folds at once: `metrics`, those that what was kept of each example gives again in every
    fold; `intervals` by resampling; `examples` and `units`, how many; and `of`, what units are called.

    source: of any fold. Where a fold kept nothing `why`, if the objective says it, and nothing else.
    """
    parts = [kept.read(Path(each["folder"])) for each in records]
    known = [part for part in parts if part is not None and part.found.each]
    objective = rebuilt(str(Path(records[0]["folder"]) / "checkpoints" / "best.pt"), "ckpt", trusted)[0].eval()
    if len(known) < len(records):
        return {"why": why} if (why := getattr(objective, "apart", "")) else {}
    tested = [{name: v for name, v in each["metrics"]["test"].items() if v is not None} for each in records]
    again = [
        {*intervals.trusted(intervals.measured(objective, part.found, part.ratios), part.found, metrics)}
        for part, metrics in zip(known, tested, strict=True)
    ]
    together = kept.joined(known)
    measure = intervals.measured(objective, together.found, together.ratios)
    found = measure(torch.ones(1, len(together.owner), dtype=torch.float64))
    metrics = {name: float(found[name]) for name in found if all(name in each for each in again)}
    units, plan = int(together.owner.max()) + 1, Resampling(seed=seed)
    sure = intervals.resampled(measure, metrics, together.owner, units, plan)
    metrics = {**_scored(known, tested, source), **metrics}
    counts = {"examples": len(together.owner), "units": units, "of": together.noun}
    return {"metrics": metrics, "intervals": {name: [*pair] for name, pair in sure.items()}, **counts}


def _scored(parts: Sequence[kept.Kept], tested: Sequence[Mapping[str, float]], source: Source) -> dict[str, float]:
    """What the dataset's own examples make of all answers at once, where they know more than each of them (average
    precision of boxes), of the metrics that they give again in every fold."""
    rows = [part.rows for part in parts if part.rows is not None]
    if not isinstance(source, DividedSource) or len(rows) < len(parts):
        return {}
    whole, examples = source.undivided()
    if type(examples).score is Examples.score:
        return {}
    places = [torch.searchsorted(whole.rows, each).clamp(max=len(whole.rows) - 1) for each in rows]
    if not all(torch.equal(whole.rows[at], each) for at, each in zip(places, rows, strict=True)):
        return {}
    again = [
        {name for name, value in _floats(examples, part, at).items() if _is_near(value, metrics.get(name))}
        for part, at, metrics in zip(parts, places, tested, strict=True)
    ]
    values = _floats(examples, kept.joined(parts), torch.cat(places))
    return {name: value for name, value in values.items() if all(name in each for each in again)}


def _floats(examples: Examples, part: kept.Kept, at: Tensor) -> dict[str, float]:
    """at: which of the examples those that were kept are, long [N]."""
    scores = examples.score({**part.found.lists, "index": at})
    return {name: float(value) for name, value in scores.items() if not isinstance(value, Table)}


def _is_near(value: float, measured: float | None) -> bool:
    return measured is not None and math.isclose(value, measured, rel_tol=intervals.SAME, abs_tol=1e-6)
