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

from ptft.builders.restore import rebuilt
from ptft.core import Objective
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


def pooled(records: Sequence[Mapping[str, Any]], trusted: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Of the answers of all folds at once: `metrics`, those that what was kept of each example gives again in every
    fold; `intervals` by resampling; `examples` and `units`, how many; and `of`, what units are called.

    Empty where a fold kept nothing.
    """
    parts = [kept.read(Path(each["folder"])) for each in records]
    known = [part for part in parts if part is not None and part.found.each]
    if len(known) < len(records):
        return {}
    objective = rebuilt(str(Path(records[0]["folder"]) / "checkpoints" / "best.pt"), "ckpt", trusted)[0].eval()
    names = [_again(objective, part, each["metrics"]["test"]) for part, each in zip(known, records, strict=True)]
    both = kept.joined(known)
    measure = intervals.measured(objective, both.found, both.ratios)
    found = measure(torch.ones(1, len(both.owner), dtype=torch.float64))
    metrics = {name: float(found[name]) for name in found if all(name in each for each in names)}
    units, plan = int(both.owner.max()) + 1, Resampling(seed=seed)
    sure = intervals.resampled(measure, metrics, both.owner, units, plan)
    counts = {"examples": len(both.owner), "units": units, "of": both.noun}
    return {"metrics": metrics, "intervals": {name: [*pair] for name, pair in sure.items()}, **counts}


def _again(objective: Objective, part: kept.Kept, metrics: Mapping[str, float]) -> set[str]:
    """The metrics of a fold that what it kept gives again."""
    measure = intervals.measured(objective, part.found, part.ratios)
    return {*intervals.trusted(measure, part.found, {name: v for name, v in metrics.items() if v is not None})}
