"""What is said of a measurement on the terminal: metrics with their intervals, tables of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.core import Table
from ptft.loggers.console import Console, number
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty.bootstrap import Interval, Resampling
from ptft.runtime.terminal import decimal
from ptft.stages.measure.intervals import Intervals

MOST_CLASSES = 20
"""Above so many classes the confusion matrix is shown as its largest confusions."""


def value(name: str, number: float) -> str:
    """ "97.22 %", "0.1034" """
    return f"{100 * number:.2f} %" if is_share(name) else decimal(number)


def apart(name: str, *differences: float) -> str:
    """Differences: "+1.20 to +2.31 points" of a share, "-0.0103"."""
    if is_share(name):
        return " to ".join(f"{100 * each:+.2f}" for each in differences) + " points"
    return " to ".join(decimal(each, signed=True) for each in differences)


def between(name: str, pair: Interval | None) -> str:
    """ "95.54 to 98.61 %", a dash for none."""
    if pair is None:
        return "—"
    if is_share(name):
        return f"{100 * pair[0]:.2f} to {100 * pair[1]:.2f} %"
    return f"{decimal(pair[0])} to {decimal(pair[1])}"


def results(
    split: str, metrics: Mapping[str, float], intervals: Intervals | None, plan: Resampling | None
) -> dict[str, str]:
    """A line for each metric with its interval; without intervals all in one."""
    if intervals is None or plan is None:
        return {split: ", ".join(number(name, each) for name, each in metrics.items())}
    how = f"{intervals.units:,} {intervals.noun}"
    if intervals.of:
        how += f", {100 * plan.level:g} % intervals of {plan.resamples:,} resamples"
    lines = {
        name: value(name, each) + (f" ({between(name, intervals.of[name])})" if name in intervals.of else "")
        for name, each in metrics.items()
    }
    return {split: how, **lines}


def surely(summary: Mapping[str, Any]) -> dict[str, str]:
    """A line for the interval of what decided a training, on the split that was measured last."""
    name = str(summary["best"]["metric"]).split("/")[-1]
    for split, known in (summary.get("intervals") or {}).items():
        if name in known:
            pair = (known[name][0], known[name][1])
            how = summary["resampling"]
            return {f"{100 * how['level']:g} %": f"{split} {name} {between(name, pair)}, by resampling {how['of']}"}
    return {}


def say_calibration(out: Console, found: Mapping[str, Any]) -> None:
    """A row for each number; with what it was before, where a temperature was fitted."""
    before = found.get("before")
    rows = []
    for name in ("ece", "brier", "nll"):
        pair = (found.get("intervals") or {}).get(name)
        rows.append(
            [
                name if name != "ece" else "ece of equal bins",
                decimal(found[name]),
                between(name, pair),
                *([decimal(before[name])] if before else []),
            ]
        )
    title = "calibration of probabilities"
    if before:
        title += f", with a temperature of {found['temperature']:.3g} that was fitted on val"
    out.table(title, ["", "value", "interval", *(["before"] if before else [])], rows)


def table(out: Console, title: str, table: Table) -> None:
    """A confusion matrix, its largest confusions where it is large, or measures of each class."""
    if table.rows != table.columns:
        _show_measures(out, title, table)
        return
    title = f"{title} (rows: true, columns: predicted)"
    if len(table.rows) <= MOST_CLASSES:
        rows = [
            [name, *(str(round(value)) for value in values)]
            for name, values in zip(table.rows, table.values, strict=True)
        ]
        out.table(title, ["", *table.columns], rows)
        return
    cells = [
        (value, true, predicted)
        for true, values in zip(table.rows, table.values, strict=True)
        for predicted, value in zip(table.columns, values, strict=True)
        if true != predicted and value
    ]
    worst = sorted(cells, reverse=True)[:10]
    out.table(
        "most frequent confusions",
        ["true", "predicted", "count"],
        [[true, predicted, str(round(value))] for value, true, predicted in worst],
    )


def _show_measures(out: Console, title: str, table: Table) -> None:
    """What was measured of each class; of many those with the least of the second measure, the first being a number."""
    rows = list(zip(table.rows, table.values, strict=True))
    if len(rows) > MOST_CLASSES:
        rows = sorted(rows, key=lambda row: row[1][1] if row[1][1] == row[1][1] else 2.0)[:MOST_CLASSES]
        title = f"{title}, the {MOST_CLASSES} of {len(table.rows):,} with the least {table.columns[1]}"
    shown = [[name, f"{values[0]:,.0f}", *("—" if v != v else f"{v:.4f}" for v in values[1:])] for name, values in rows]
    out.table(title, ["", *table.columns], shown)
