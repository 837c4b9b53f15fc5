"""Figures as SVG that takes its colours from the page, so that it is right in light, in dark and on paper.

Lines are [x, y] in order of x. What is drawn here needs no script; with it, a pointer reads values off and zooms in.
Drawn here and not by matplotlib, which takes longer to be imported than the whole page to be made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ptft.loggers.braille import outer_values
from ptft.loggers.curves import ticks

Point = tuple[float, float]
WIDTH, HEIGHT = 640, 300
BROAD = 1100
"""Width of parallel coordinates."""
LEFT, TOP, RIGHT, BOTTOM = 76, 14, 14, 46
BUCKETS = 400
"""Of a long line; each keeps its first, least, greatest and last point, so that no spike is lost."""
FIXED = {"train": 0, "val": 1}
"""Colours of lines that are on many figures."""
COLOURS = 8
"""Lines that differ by colour; after those the colours begin anew, and dashes tell them apart."""


def chart(title: str, lines: Mapping[str, Sequence[Point]], unit: str = "step") -> dict[str, Any]:
    """A line chart: paths for the template, and the points for the script."""
    drawn = {name: thinned(finite(line)) for name, line in lines.items()}
    drawn = {name: line for name, line in drawn.items() if line}
    points = [point for line in drawn.values() for point in line]
    if not points:
        return {}
    xs, ys = _axis([x for x, _ in points]), _axis(list(outer_values([y for _, y in points])))
    return {
        "title": title,
        "unit": unit,
        "width": WIDTH,
        "height": HEIGHT,
        "box": {"left": LEFT, "top": TOP, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
        "x": [(_x(value, xs), f"{value:,.6g}") for value in xs if xs[0] <= value <= xs[-1]],
        "y": [(_y(value, ys), f"{value:.6g}") for value in ys],
        "lines": [
            {
                "name": name,
                "colour": FIXED.get(name, k % COLOURS),
                "dashed": k >= COLOURS,
                "path": _path(line, xs, ys),
                "last": line[-1][1],
            }
            for k, (name, line) in enumerate(drawn.items())
        ],
        "data": {
            "lines": {name: [[_short(x), _short(y)] for x, y in line] for name, line in drawn.items()},
            "x": [xs[0], xs[-1]],
            "y": [ys[0], ys[-1]],
        },
    }


def finite(line: Sequence[Sequence[Any]]) -> list[Point]:
    """Without values that are none or not finite."""
    return [
        (float(x), float(y))
        for x, y in line
        if isinstance(x, int | float) and isinstance(y, int | float) and math.isfinite(y)
    ]


def thinned(line: list[Point]) -> list[Point]:
    """At most four points a bucket."""
    if len(line) <= 4 * BUCKETS:
        return line
    size = len(line) / BUCKETS
    kept: list[Point] = []
    for k in range(BUCKETS):
        bucket = line[round(k * size) : round((k + 1) * size)]
        ends = {bucket[0], bucket[-1], min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])}
        kept.extend(sorted(ends))
    return kept


def strip(title: str, groups: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What a key did: for each of its values the runs' results as dots, and their mean as a line."""
    values = [value for group in groups.values() for value in group]
    ys, count = _axis(values), len(groups)
    columns = []
    for k, (name, group) in enumerate(groups.items()):
        x = LEFT + (WIDTH - LEFT - RIGHT) * (k + 0.5) / count
        mean = sum(group) / len(group)
        dots = [(round(x, 1), _y(value, ys), f"{value:.6g}") for value in group]
        columns.append({"name": name, "x": round(x, 1), "dots": dots, "mean": _y(mean, ys), "is": f"{mean:.4g}"})
    return {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "box": {"left": LEFT, "top": TOP, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
        "y": [(_y(value, ys), f"{value:.6g}") for value in ys],
        "columns": columns,
    }


def parallel(axes: Sequence[str], runs: Sequence[Mapping[str, Any]], better: str) -> dict[str, Any]:
    """Parallel coordinates: an axis a key and the last for the result, a line a run, the better the darker.

    runs: `name`, and `at`: a value for each axis. Texts stand in the order in which they come.
    """
    scales = [_scale([run["at"][k] for run in runs]) for k in range(len(axes))]
    xs = [LEFT + (BROAD - 2 * LEFT) * k / max(len(axes) - 1, 1) for k in range(len(axes))]
    marks = [
        {"name": name, "x": round(xs[k], 1), "ticks": [(_down(place), text) for text, place in scales[k]["ticks"]]}
        for k, name in enumerate(axes)
    ]
    drawn = []
    for run in runs:
        places = [scales[k]["place"](run["at"][k]) for k in range(len(axes))]
        merit = places[-1] if better == "max" else 1 - places[-1]
        path = "M" + "L".join(f"{x:.1f},{_down(place)}" for x, place in zip(xs, places, strict=True))
        drawn.append({"name": run["name"], "path": path, "strength": round(0.15 + 0.85 * merit**2, 2), "merit": merit})
    drawn.sort(key=lambda each: each["merit"])
    box = {"left": LEFT, "top": TOP, "right": BROAD - LEFT, "bottom": HEIGHT - BOTTOM}
    return {"width": BROAD, "height": HEIGHT, "box": box, "axes": marks, "lines": drawn}


def _scale(values: Sequence[Any]) -> dict[str, Any]:
    """From values to 0 (below) to 1 (above); numbers by their size, or its logarithm where they span a hundredfold."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        log = low > 0 and high / low >= 100
        number = math.log if log else float
        span = number(high) - number(low) or 1.0
        few = sorted(set(values))
        shown = few if len(few) <= 6 else [few[0], few[-1]]
        return {
            "place": lambda value: (number(value) - number(low)) / span if high > low else 0.5,
            "ticks": [(f"{value:.4g}", (number(value) - number(low)) / span if high > low else 0.5) for value in shown],
        }
    texts = list(dict.fromkeys(map(str, values)))
    places = {text: (k + 0.5) / len(texts) for k, text in enumerate(texts)}
    return {"place": lambda value: places[str(value)], "ticks": [(text[:18], places[text]) for text in texts[:12]]}


def _down(place: float) -> float:
    return round(TOP + 18 + (HEIGHT - TOP - BOTTOM - 18) * (1 - place), 1)


def _axis(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    return ticks(low, high)


def _x(value: float, axis: Sequence[float]) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - axis[0]) / (axis[-1] - axis[0]), 1)


def _y(value: float, axis: Sequence[float]) -> float:
    share = (value - axis[0]) / (axis[-1] - axis[0])
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0), 1)


def _path(line: Sequence[Point], xs: Sequence[float], ys: Sequence[float]) -> str:
    corners = [f"{_x(x, xs)},{_y(y, ys)}" for x, y in line]
    return "M" + "L".join(dict.fromkeys(corners)) + ("h0.1" if len(corners) == 1 else "")


def _short(value: float) -> float:
    return float(f"{value:.6g}")
