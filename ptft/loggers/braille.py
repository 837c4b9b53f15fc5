"""Curves of a training below its bar, drawn with braille: two panels, the loss and the metric that decides.

A character is a grid of 2 × 4 dots. Points are (step, value) in order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from ptft.loggers.logger import Logger
from ptft.runtime.terminal import decimal

LEAST_WIDTH, LEAST_HEIGHT = 60, 24
"""Columns and lines of a terminal that has room for them."""
ROWS = 6
"""Lines of a panel's curves."""
WIDEST = 76
"""Columns of a panel."""
POINTS = 2000
"""Most points of a curve that are kept: of more every second one is."""
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Of each dot of a character, by row and column."""
STYLES = {"train": Style(dim=True), "val": Style(color="cyan", bold=True)}

Points = list[tuple[float, float]]


class LiveCurves(Logger):
    """What is told row by row, as lines on a terminal; nothing where there is no room or too little to draw.

    Redrawn when there is something new or the terminal has another size, not each time it is shown.
    """

    def __init__(self, monitor: str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """rows: of a run that continues, what was logged before."""
        self.points: dict[tuple[str, str], Points] = {
            (name, split): [] for name in dict.fromkeys(("loss", monitor)) for split in STYLES
        }
        self.drawn: list[Segment] = []
        self.width = 0
        for row in rows:
            self.log(row)

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        if row is not None:
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        for (name, split), points in self.points.items():
            value = row.get(name)
            if row.get("split") == split and isinstance(value, int | float) and math.isfinite(value):
                points.append((row["step"], value))
                if len(points) > POINTS:
                    del points[1:-1:2]
                self.width = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        if width < LEAST_WIDTH or console.size.height < LEAST_HEIGHT or options.ascii_only:
            return
        if width != self.width:
            self.drawn, self.width = self._draw(width), width
        yield from self.drawn

    def _draw(self, width: int) -> list[Segment]:
        names = dict.fromkeys(name for name, _ in self.points)
        shown = {name: {s: self.points[name, s] for s in STYLES if self.points[name, s]} for name in names}
        shown = {name: lines for name, lines in shown.items() if any(len(line) > 2 for line in lines.values())}
        if not shown:
            return []
        each = min(WIDEST, (width - 1) // len(shown) - 2)
        panels = [panel(name, lines, each) for name, lines in shown.items()]
        segments: list[Segment] = []
        for beside in zip(*panels, strict=True):
            for line in beside:
                segments += Segment.adjust_line_length(line, each + 2)
            segments.append(Segment.line())
        return segments


def panel(name: str, lines: Mapping[str, Points], width: int) -> list[list[Segment]]:
    """Its lines: what it shows with the last values, the curves with their range at the left, the steps."""
    low, high = outer_values([value for points in lines.values() for _, value in points])
    first, last = (edge(step for points in lines.values() for step, _ in points) for edge in (min, max))
    labels = [decimal(high), *[""] * (ROWS - 2), decimal(low)]
    left = max(map(len, labels)) + 1
    columns = max(8, width - left)
    head = [Segment(f"{name:>{left - 1}} " if len(name) < left else f"{name} ", Style(bold=True))]
    said = [Segment(f" {split} {decimal(points[-1][1])}", STYLES[split]) for split, points in lines.items()]
    head += said if sum(part.cell_length for part in head + said) <= width else said[-1:]
    grids = {
        split: raster([((s - first) / ((last - first) or 1), (v - low) / (high - low)) for s, v in points], columns)
        for split, points in lines.items()
    }
    rows = [[Segment(f"{label:>{left - 1}} ", Style(dim=True)), *_row(grids, i)] for i, label in enumerate(labels)]
    end = f"step {last:,.0f}"
    steps = f"{' ' * left}{first:<,.0f}{end:>{max(1, columns - len(f'{first:,.0f}'))}}"
    return [head, *rows, [Segment(steps, Style(dim=True))]]


def _row(grids: Mapping[str, Sequence[Sequence[int]]], row: int) -> list[Segment]:
    """A line of characters; where curves meet it has the colour of the last one."""
    cells = []
    for at in range(len(next(iter(grids.values()))[row])):
        here = [split for split, grid in grids.items() if grid[row][at]]
        dots = 0
        for split in here:
            dots |= grids[split][row][at]
        cells.append(Segment(chr(0x2800 + dots) if dots else " ", STYLES[here[-1]] if here else None))
    return list(Segment.simplify(cells))


def raster(points: Sequence[tuple[float, float]], columns: int) -> list[list[int]]:
    """A curve through points of the unit square as dots: [ROWS][columns], each the bits of a character.

    Of several points above one dot their mean is drawn. Values beyond the square lie at its edge.
    """
    wide, high = 2 * columns, 4 * ROWS
    sums: dict[int, tuple[float, int]] = {}
    for x, y in points:
        total, count = sums.get(at := min(wide - 1, max(0, round(x * (wide - 1)))), (0.0, 0))
        sums[at] = total + y, count + 1
    means = [(x, min(1.0, max(0.0, total / count)) * (high - 1)) for x, (total, count) in sorted(sums.items())]
    grid = [[0] * columns for _ in range(ROWS)]
    before: int | None = None
    for x, y in _between(means):
        level = high - 1 - round(y)
        span = [level] if before is None or abs(before - level) < 2 else _toward(before, level)
        for dot in span:
            grid[dot // 4][x // 2] |= BITS[dot % 4][x % 2]
        before = level
    return grid


def _between(means: Sequence[tuple[int, float]]) -> Iterable[tuple[int, float]]:
    """A point at every column from the first to the last, on the straight lines between those that are known."""
    for (x, y), (following, end) in itertools.pairwise(means):
        for step in range(x, following):
            yield step, y + (end - y) * (step - x) / (following - x)
    yield from means[-1:]


def _toward(before: int, level: int) -> range:
    """The dots after `before` up to `level`, whichever lies higher."""
    return range(before + 1, level + 1) if level > before else range(level, before)


def outer_values(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest, apart; of long lines without a hundredth of outliers at the top."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1] if len(ordered) < 200 else ordered[int(0.99 * len(ordered))]
    return (low, high) if high > low else (low - abs(low or 1) / 2, low + abs(low or 1) / 2)
