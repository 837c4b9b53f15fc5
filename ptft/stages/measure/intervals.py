"""Intervals of what an evaluation measured, by resampling its examples.

Axes: N examples measured, U units, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptft.builders import membership
from ptft.core import Examples, Objective, Source
from ptft.data.source import DividedSource
from ptft.errors import shortened
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Interval, Measure, Resampling
from ptft.train.found import Found

SAME = 1e-3
"""By what share a metric of weights of 1 may differ from the one that was measured, in other sums."""


class Units(NamedTuple):
    """What is drawn. owner: of each example of a split which one it is in, long. total: how many. noun: their name."""

    owner: Tensor
    total: int
    noun: str


class Intervals(NamedTuple):
    """of: each metric's, where there is one. without: those that have none. units, noun: how many of what are drawn."""

    of: dict[str, Interval]
    without: list[str]
    units: int
    noun: str

    @property
    def plain(self) -> dict[str, list[float]]:
        return {name: [*pair] for name, pair in self.of.items()}

    @property
    def notes(self) -> list[str]:
        """What to say of metrics that have none, and of few units."""
        few = f"{self.units} {self.noun} are few: intervals of them are too narrow" * (self.units < bootstrap.FEW)
        none = f"no interval of {shortened(self.without, 8)}: examples have no shares in it, or all have the same"
        return [*([none] if self.without else []), *([few] if few and self.of else [])]


def summary(split: str, intervals: Intervals, plan: Resampling) -> dict[str, Any]:
    """What `summary.json` says of them: `intervals`, each metric's ends, and `resampling`, how they were found."""
    how = {"level": plan.level, "resamples": plan.resamples, "units": intervals.units, "of": intervals.noun}
    return {"intervals": {split: intervals.plain}, "resampling": how}


def of_run(
    objective: Objective,
    source: Source,
    split: str,
    examples: Examples,
    found: Found,
    metrics: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    """As `summary`, of the end of a training; nothing where no metric has one."""
    plan = Resampling(seed=seed)
    sure = of(objective, examples, found, units(source, split, examples), metrics, plan)
    return summary(split, sure, plan) if sure.of else {}


def units(source: Source, split: str, examples: Examples) -> Units:
    """The groups of `dataset.group` where they are asked for, else whole examples: of questions all their windows."""
    noun = source.noun if isinstance(source, DividedSource) else "examples"
    names = membership.groups(source, split, examples)
    if names is not None:
        assert isinstance(source, DividedSource)
        assert source.grouping is not None
        return of_groups(names, source.grouping.key)
    own = getattr(examples, "units", None)
    if own is None:
        return Units(torch.arange(len(examples)), len(examples), noun)
    _, owner = torch.unique(own, return_inverse=True)
    return Units(owner, int(owner.max()) + 1, noun)


def of_groups(names: Sequence[str], key: object) -> Units:
    """Of the group of each example; key: what says it."""
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return Units(torch.tensor([number[name] for name in names]), len(number), f"groups of {key}")


def measured_by(objective: Objective, examples: Examples, found: Found) -> Measure:
    """Makes metrics of examples that count as often as weights (float64 [R, N]) say."""
    return measured(objective, found, scored(examples, found))


def scored(examples: Examples, found: Found) -> dict[str, Tensor]:
    """What each example adds above and below the line of metrics that the examples know, float64 [N, 2] by name."""
    known: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(examples, "ratios", None)
    return known(found.lists) if known else {}


def measured(objective: Objective, found: Found, ratios: Mapping[str, Tensor]) -> Measure:
    """As `measured_by`; ratios: as of `scored`."""
    weighed: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]] | None = getattr(objective, "weighed", None)
    values = {f"{name} {line}": each[:, line] for name, each in ratios.items() for line in (0, 1)}
    lines = {name: (f"{name} 0", f"{name} 1") for name in ratios}

    def measure(weight: Tensor) -> Mapping[str, Tensor]:
        if not found.each:
            return {}
        if weighed is not None:
            own = weighed(found.all, weight)
        else:
            own = bootstrap.of_sums(objective.metrics, found.each, weight)
        return {**own, **(bootstrap.ratios(values, weight, lines) if lines else {})}

    return measure


def drawn(measure: Measure, owner: Tensor, count: int) -> Measure:
    """The same by weights of units, float64 [R, U]; owner: of each example which one it is in, long [N]."""
    if len(owner) == count and bool((owner == torch.arange(count)).all()):
        return measure
    return lambda counts: measure(counts[:, owner])


def of(
    objective: Objective, examples: Examples, found: Found, units: Units, metrics: Mapping[str, float], plan: Resampling
) -> Intervals:
    """Of what was found; metrics: what was measured."""
    there, owner = torch.unique(units.owner[found.index], return_inverse=True)
    made = dict[str, Interval]()
    if found.each:
        measure = measured_by(objective, examples, found)
        made = resampled(measure, trusted(measure, found, metrics), owner, len(there), plan)
    return Intervals(made, [name for name in metrics if name not in made], len(there), units.noun)


def resampled(
    measure: Measure, known: Mapping[str, float], owner: Tensor, count: int, plan: Resampling
) -> dict[str, Interval]:
    """Of each metric that is `known`. owner: which of `count` units each example is in, long [N]."""
    values = bootstrap.resampled(drawn(measure, owner, count), count, plan)
    pairs = {name: _interval(name, value, values[name], count, plan.level) for name, value in known.items()}
    return {name: pair for name, pair in pairs.items() if pair is not None}


def _interval(name: str, value: float, values: Tensor, units: int, level: float) -> Interval | None:
    if is_share(name):
        return bootstrap.of_share(value, values, units, level)
    return bootstrap.interval(values, level)


def trusted(measure: Measure, found: Found, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that what was kept of each example gives again: others can't be resampled by it."""
    again = measure(torch.ones(1, len(found.index), dtype=torch.float64))
    return {
        name: value
        for name, value in metrics.items()
        if name in again and math.isclose(float(again[name]), value, rel_tol=SAME, abs_tol=1e-6)
    }


def of_difference(name: str, apart: float, values: Tensor, units: int, level: float) -> Interval | None:
    """Of what a metric is `apart` by between two measurements of the same units, shares no further than 1."""
    pair = bootstrap.of_difference(apart, values, units, level)
    return (max(min(apart, -1.0), pair[0]), min(max(apart, 1.0), pair[1])) if pair and is_share(name) else pair
