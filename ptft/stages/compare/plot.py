"""The plot of a comparison: a curve per arm over the amount of labels, with intervals, readable without colour."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.runtime.system import writing
from ptft.stages.compare.design import Design
from ptft.stages.compare.results import Measure, Row
from ptft.stages.compare.table import amount_text, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = (
    ("#000000", "o", (0, (4, 2))),
    ("#a8a8a8", "s", (0, (1, 1.5))),
    ("#0b5394", "^", "solid"),
    ("#c4621d", "D", (0, (6, 1.5, 1.5, 1.5))),
    ("#6a3d9a", "v", (0, (8, 3))),
    ("#2f8f5b", "P", (0, (3, 1.5, 1, 1.5, 1, 1.5))),
)
"""Colour, marker and line of each arm, the baseline's first; told apart by shape alone, and by lightness."""
APART = 0.035
"""Of the axis's width: how far arms stand beside each other, so that no interval hides another."""


def draw(design: Design, rows: list[Row], by: Measure, title: str) -> Figure:
    """Label-efficiency curves: the metric over the amount of labels, both with their units."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, arm in enumerate(design.arms):
        _curve(axes, design, [row for row in rows if row.arm == arm and row.mean], by, index)
    _frame(axes, design, by, title)
    return figure


def _curve(axes: Axes, design: Design, rows: list[Row], by: Measure, index: int) -> None:
    colour, marker, line = STYLES[index % len(STYLES)]
    scale, count = 100 if share(by) else 1, len(design.arms)
    width = math.log(design.amounts[-1] / design.amounts[0]) or 1.0
    beside = math.exp(width * APART * (index - (count - 1) / 2) / max(1, count - 1))
    means = [row.mean for row in rows if row.mean]
    x, y = [row.amount * beside for row in rows], [scale * estimates.mean for estimates in means]
    halves = [scale * (estimates.half or 0.0) for estimates in means]
    axes.errorbar(x, y, halves, fmt="none", ecolor=colour, elinewidth=1.1, capsize=3)
    shape: dict[str, Any] = {"marker": marker, "markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 0.8}
    axes.plot(x, y, label=list(design.arms)[index], color=colour, linestyle=line, linewidth=1.8, **shape)


def _frame(axes: Axes, design: Design, by: Measure, title: str) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(design.amounts, [amount_text(design.key, amount) for amount in design.amounts])
    axes.xaxis.set_minor_locator(NullLocator())
    part = (
        "labelled examples per class" if design.key == "per_class" else "part of the training examples that is labelled"
    )
    if share(by):  # an interval may reach beyond what a share can be
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -1), min(high, 101))
    axes.set_xlabel(f"{part} (logarithmic)")
    axes.set_ylabel(f"{by.split} {by.metric.replace('_', ' ')}{' (%)' if share(by) else ''}")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, handlelength=4.5, loc="best")


def save(figure: Figure, folder: Path) -> None:
    """compare.png and compare.svg. Raises StorageError."""
    from matplotlib import rc_context

    with writing(folder / "compare.png"):
        figure.savefig(folder / "compare.png", dpi=160)
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ptft"}):
            figure.savefig(folder / "compare.svg", metadata={"Date": None})
