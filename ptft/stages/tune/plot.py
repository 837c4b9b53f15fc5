"""The picture of a search: what the trials came to in their order, and by each key, readable without colour."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ptft.runtime.system import writing
from ptft.stages.compare.results import Measure
from ptft.stages.compare.table import share
from ptft.stages.tune.going import Going
from ptft.stages.tune.search import WHOLE, Trial
from ptft.stages.tune.space import Dimension, shown_as

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEYS = 8
"""Keys that have a figure, the first."""
COLUMNS = 3
STOPPED, ENDED, BEST, DEFAULTS = "#9a9a9a", "#0b5394", "#c4621d", "#000000"


def draw(going: Going, best: Trial) -> Figure:
    """One figure for the order of the trials, one for each key."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = list(going.dimensions)[:KEYS]
    columns = min(COLUMNS, 1 + len(keys))
    rows = math.ceil((1 + len(keys)) / columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    _in_order(axes[0], going, best)
    for place, each in zip(axes[1 : 1 + len(keys)], keys, strict=True):
        _by_key(place, going, best, each)
    for place in axes[1 + len(keys) :]:
        place.set_visible(False)
    for place in axes[: 1 + len(keys)]:
        _frame(place, going)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _in_order(axes: Axes, going: Going, best: Trial) -> None:
    _points(axes, going, best, {trial.number: float(trial.number) for trial in going.state.trials})
    axes.set_xlabel("trial")


def _by_key(axes: Axes, going: Going, best: Trial, each: Dimension) -> None:
    settings = {trial.number: going.settings_of(trial) for trial in going.state.trials}
    places: dict[int, float] = {}
    for number, found in settings.items():
        if found is not None:
            value = found[each.key]
            at = next((i for i, choice in enumerate(each.choices) if shown_as(choice) == shown_as(value)), None)
            places[number] = float(value if at is None else at)
    _points(axes, going, best, places)
    axes.set_xlabel(f"{each.key}{' (log)' if each.log else ''}")
    if each.log:
        axes.set_xscale("log")
    elif not each.choices:
        axes.margins(x=0.08)
    if each.choices:
        axes.set_xticks(range(len(each.choices)), [shown_as(choice) for choice in each.choices])
        axes.set_xlim(-0.5, len(each.choices) - 0.5)


def _points(axes: Axes, going: Going, best: Trial, places: dict[int, float]) -> None:
    """Each trial where it came to; those that stopped early are lighter, and hollow."""
    scale = 100 if share(going.by) else 1
    shown = [trial for trial in going.state.trials if trial.rungs and trial.number in places]
    groups = {
        "stopped early, at its last value": ([t for t in shown if t.status != WHOLE], "o", STOPPED, "none"),
        "trained to its end": ([t for t in shown if t.status == WHOLE and t.number], "o", ENDED, ENDED),
        "the defaults": ([t for t in shown if t.number == 0], "s", DEFAULTS, DEFAULTS),
        "the best": ([t for t in shown if t.number == best.number], "*", BEST, BEST),
    }
    for label, (some, marker, colour, face) in groups.items():
        x, y = [places[trial.number] for trial in some], [scale * trial.rungs[-1].value for trial in some]
        size = 13 if marker == "*" else 6
        axes.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=size, label=label, linestyle="none")


def _frame(axes: Axes, going: Going) -> None:
    by: Measure = going.by
    axes.set_ylabel(f"{by.split} {by.metric.replace('_', ' ')}{' (%)' if share(by) else ''}", fontsize=9)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, folder: Path) -> None:
    """tune.png and tune.svg. Raises StorageError."""
    from matplotlib import rc_context

    with writing(folder / "tune.png"):
        figure.savefig(folder / "tune.png", dpi=160)
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ptft"}):
            figure.savefig(folder / "tune.svg", metadata={"Date": None})
