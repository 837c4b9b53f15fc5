"""How sure metrics are: what they would be of other examples of the same kind, by resampling those there are.

The bootstrap of Efron 1979, with percentile intervals (Efron & Tibshirani 1993, chapter 13). What is drawn, with
replacement, are units: examples, or whole groups of them (speakers, articles), never parts of an example. A resample is
how often each unit was drawn, and a metric of a resample is one of weighted examples.

Axes: N examples, U units, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.metrics.uncertainty.statistics import t_quantile

AT_ONCE = 2**21
"""Weights that are held at a time: 16 MiB."""
LEAST = 0.5
"""The share of resamples in which a metric must be a number."""
FEW = 30
"""Of fewer units percentiles of resamples lie too near to each other: of 2 that agree none lies beyond 0."""

Interval = tuple[float, float]
Measure = Callable[[Tensor], Mapping[str, Tensor]]
"""How often each unit counts, float64 [R, U] -> the metrics of each resample, [R] by name."""


class Resampling(NamedTuple):
    """level: the share of intervals that hold the truth. resamples: how many. seed: what they follow from."""

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


def draws(units: int, plan: Resampling) -> Iterator[Tensor]:
    """How often each unit is in each resample, float64 [r, U], some resamples at a time."""
    generator = torch.Generator().manual_seed(plan.seed)
    at_once = max(1, AT_ONCE // units)
    for begin in range(0, plan.resamples, at_once):
        rows = min(at_once, plan.resamples - begin)
        drawn = torch.randint(units, (rows, units), generator=generator)
        counts = torch.zeros(rows, units, dtype=torch.float64)
        yield counts.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand_as(drawn))


def resampled(measure: Measure, units: int, plan: Resampling) -> dict[str, Tensor]:
    """The metrics of every resample, float64 [R] by name."""
    parts: dict[str, list[Tensor]] = {}
    for counts in draws(units, plan):
        for name, values in measure(counts).items():
            parts.setdefault(name, []).append(values.double())
    return {name: torch.cat(values) for name, values in parts.items()}


def interval(values: Tensor, level: float) -> Interval | None:
    """Where `level` of the values [R] lie; None where they are all the same, or too few of them are numbers."""
    known = values[values.isfinite()]
    if len(known) < max(2, LEAST * len(values)) or bool((known == known[0]).all()):
        return None
    tail = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(known, tail).tolist()
    return low, high


def of_difference(apart: float, values: Tensor, units: int, level: float) -> Interval | None:
    """As `interval`, of what is `apart` between two measurements of the same units, for a verdict that is wrong no more
    often than `level` says: of few units it is Student's t with the standard error that resamples have (Efron &
    Tibshirani 1993, chapter 12), which are of as many units as if these were all there are (Hesterberg 2015)."""
    pair = interval(values, level)
    if pair is None or units >= FEW:
        return pair
    error = float(values[values.isfinite()].std()) * math.sqrt(units / (units - 1))
    half = t_quantile(units - 1, level) * error
    return apart - half, apart + half


def of_share(value: float, values: Tensor, units: int, level: float) -> Interval | None:
    """As `interval`, of a share. Where it is 0 or 1 in every resample there is nothing to resample, and it is where a
    share of so many units may truly lie that is never once another (Clopper & Pearson 1934)."""
    if value not in (0.0, 1.0) or not bool((values == value).all()):
        return interval(values, level)
    bound = math.pow((1 - level) / 2, 1 / units)
    return (0.0, 1 - bound) if value == 0 else (bound, 1.0)


def ratios(found: Mapping[str, Tensor], weight: Tensor, names: Mapping[str, tuple[str, str]]) -> dict[str, Tensor]:
    """Quotients of weighted sums, [R] each: `names` says of which values (`found`, [N]) above and below the line.

    weight: float64 [R, N], how often each example counts.
    """
    used = list(dict.fromkeys(name for pair in names.values() for name in pair))
    sums = dict(zip(used, (weight @ torch.stack([found[name].double() for name in used], 1)).T, strict=True))
    return {name: sums[above] / sums[below] for name, (above, below) in names.items()}


def of_sums(
    metrics: Callable[[dict[str, Tensor]], dict[str, float]], each: Mapping[str, Tensor], weight: Tensor
) -> dict[str, Tensor]:
    """`loss`, and what `metrics` makes of weighted sums, [R] each. each: what every example adds to them, [N, ...]."""
    if not {"total", "count"} <= each.keys():
        return {}
    flat = torch.cat(
        [values.double().flatten(1) if values.ndim > 1 else values.double()[:, None] for values in each.values()], 1
    )
    sizes = [values[:1].numel() for values in each.values()]
    rows = []
    for sums in weight @ flat:
        parts = zip(each.items(), sums.split(sizes), strict=True)
        named = {name: part.view(values.shape[1:]) for (name, values), part in parts}
        rows.append({"loss": float(named["total"] / named["count"]), **metrics(named)})
    return {name: torch.tensor([row.get(name, math.nan) for row in rows]).double() for name in rows[0]}
