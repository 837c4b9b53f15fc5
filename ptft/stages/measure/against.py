"""Two checkpoints on the same examples: how far apart their metrics are, by resampling both at once.

Axes: N examples, U units, R resamples.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ptft.core import Examples
from ptft.errors import DataError, shortened
from ptft.loggers.console import Console
from ptft.metrics.properties import less_is_better
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.stages.measure import intervals, shown
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Measured, Subject


def same_question(model: Subject, other: Subject, path: str) -> None:
    """Raises DataError where the two checkpoints answer with other classes, or not the same kind of thing."""
    one, two = model.checkpoint.spec, other.checkpoint.spec
    assert one
    assert two
    asked = f"against={path}: does not answer the same question"
    if one.target != two.target:
        raise DataError(f"{asked}: its target is {two.target}, that of ckpt is {one.target}")
    if strange := sorted({*one.classes} ^ {*two.classes}):
        raise DataError(f"{asked}: only one of the two has the classes {shortened(strange)}")


def compared(
    model: Subject,
    examples: tuple[Examples, Examples],
    measured: tuple[Measured, Measured],
    other: Subject,
    units: tuple[Units, Units],
    plan: Resampling,
) -> dict[str, Any]:
    """What `summary.json` says of it as `against`; of each pair the first one is that of ckpt.

    Raises DataError where other examples were measured.
    """
    there, owners = [], []
    for each, unit in zip(measured, units, strict=True):
        unique, owner = torch.unique(unit.owner[each.found.index], return_inverse=True)
        there.append(unique)
        owners.append(owner)
    if not torch.equal(*there):
        counts = " and ".join(f"{len(each):,}" for each in there)
        raise DataError(f"against={other.checkpoint.path}: other examples were measured than of ckpt, {counts}")
    parts = zip((model, other), examples, measured, strict=True)
    measures = [intervals.measured_by(s.objective, split, m.found) for s, split, m in parts]
    known = [
        intervals.trusted(measure, each.found, each.metrics) if each.found.each else {}
        for measure, each in zip(measures, measured, strict=True)
    ]
    drawn = [intervals.drawn(measure, owner, len(there[0])) for measure, owner in zip(measures, owners, strict=True)]
    names = [name for name in known[0] if name in known[1]]

    def difference(counts: torch.Tensor) -> dict[str, torch.Tensor]:
        one, two = (measure(counts) for measure in drawn)
        return {name: one[name] - two[name] for name in names}

    values = bootstrap.resampled(difference, len(there[0]), plan) if names else {}
    rows = {}
    for name in names:
        apart = known[0][name] - known[1][name]
        pair = intervals.of_difference(name, apart, values[name], len(there[0]), plan.level)
        rows[name] = {"difference": apart, "interval": pair and [*pair], "verdict": verdict(name, apart, pair)}
    return {
        **other.checkpoint.parent,
        "metrics": measured[1].metrics,
        "differences": rows,
        "units": len(there[0]),
        "of": units[0].noun,
        **_agreement(*measured, tested=len(there[0]) == len(owners[0])),
    }


def verdict(name: str, apart: float, pair: bootstrap.Interval | None) -> str:
    """Of what a metric is `apart` by, as far as the interval of the difference tells."""
    if pair is None or pair[0] <= 0 <= pair[1]:
        return "the same" if apart == 0 and pair is None else "can't tell"
    return "better" if (pair[0] > 0) != less_is_better(name) else "worse"


def _agreement(one: Measured, two: Measured, *, tested: bool) -> dict[str, Any]:
    """How many examples both, one and none of the two have right, and the exact p-value of McNemar's test (1947).

    tested: whether examples are drawn by themselves, as that test supposes; of groups of them there is none.
    """
    right = [each.found.each.get("correct") for each in (one, two)]
    first, second = right
    if (
        first is None
        or second is None
        or first.dtype != torch.bool
        or not torch.equal(one.found.index, two.found.index)
    ):
        return {}
    only = int((first & ~second).sum()), int((~first & second).sum())
    both, none = int((first & second).sum()), int((~first & ~second).sum())
    counts = {"both": both, "only_ckpt": only[0], "only_against": only[1], "none": none}
    return {"right": {**counts, "p": _binomial(*only)} if tested else counts}


def _binomial(one: int, two: int) -> float:
    """Two-sided: how probable a split of so many as uneven is, where either side is as likely."""
    total, least = one + two, min(one, two)
    ways = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(least + 1)]
    return min(1.0, 2 * sum(math.exp(each - total * math.log(2)) for each in ways))


def say(out: Console, split: str, here: dict[str, float], against: dict[str, Any], plan: Resampling) -> None:
    """A row for each metric."""
    rows = []
    for name, row in against["differences"].items():
        pair = row["interval"]
        cells = [shown.value(name, here[name]), shown.value(name, against["metrics"][name])]
        ends = shown.apart(name, *pair) if pair else "—"
        rows.append([name, *cells, shown.apart(name, row["difference"]), ends, row["verdict"]])
    drawn = f"{against['units']:,} {against['of']}"
    title = f"ckpt against {against['path']}, {split}; intervals of {plan.resamples:,} paired resamples of {drawn}"
    out.table(title, ["", "ckpt", "against", "difference", f"{100 * plan.level:g} %", "ckpt is"], rows, result=True)
    if missing := [name for name in here if name not in against["differences"]]:
        out.note(f"not compared: {shortened(missing, 8)}")
    if against["units"] < bootstrap.FEW and any(row["interval"] for row in against["differences"].values()):
        out.note(f"{drawn} are few: these intervals are Student's t, with the standard errors of resamples")
    if right := against.get("right"):
        chance = right.get("p")
        test = f"test p = {chance:.3g}" if chance is not None else "test is left out, as it ignores groups"
        out.note(
            f"right: {right['both']:,} both, {right['only_ckpt']:,} ckpt alone, {right['only_against']:,} against "
            f"alone, {right['none']:,} none; McNemar's {test}"
        )
