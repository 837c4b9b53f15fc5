"""Histograms as SVG: of each split the share of its examples in every bin, so that splits of any size are alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptft.errors import counted

WIDTH, HEIGHT = 420, 190
LEFT, TOP, RIGHT, BOTTOM = 68, 12, 10, 26
COLOURS = {"train": 0, "val": 1, "test": 2}


def histogram(title: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What `inspect.json` has of a measure: the first split as bars, others as lines; {} where it has no two values."""
    edges, counts = found.get("edges") or [], found.get("counts") or {}
    totals = {split: sum(numbers) for split, numbers in counts.items()}
    shares = {split: [n / totals[split] for n in numbers] for split, numbers in counts.items() if totals[split]}
    if len(edges) < 2 or not shares or found["least"] == found["most"]:
        return {}
    top = max(max(values) for values in shares.values())
    first, *others = shares
    said = f"least {found['least']:.4g}, median {found['median']:.4g}, most {found['most']:.4g}"
    return {
        "title": title,
        "said": said,
        "width": WIDTH,
        "height": HEIGHT,
        "bottom": HEIGHT - BOTTOM,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "ticks": [(_y(share * top, top), f"{100 * share * top:.3g} %") for share in (0.5, 1.0)],
        "ends": [(_x(edge, edges), f"{edge:.4g}") for edge in (edges[0], edges[-1])],
        "bars": list(_bars(edges, shares[first], counts[first], top)),
        "lines": [
            {"name": name, "colour": COLOURS.get(name, 3), "path": _steps(edges, shares[name], top)} for name in others
        ],
        "first": {"name": first, "colour": COLOURS.get(first, 3)},
        "rows": [
            [f"{edges[k]:.4g} to {edges[k + 1]:.4g}", *(f"{counts[split][k]:,}" for split in counts)]
            for k in range(len(edges) - 1)
            if any(counts[split][k] for split in counts)
        ],
        "names": list(counts),
    }


def _bars(
    edges: Sequence[float], shares: Sequence[float], counts: Sequence[int], top: float
) -> Iterator[dict[str, Any]]:
    for k, share in enumerate(shares):
        if share:
            x, y = _x(edges[k], edges), _y(share, top)
            size = {"width": round(_x(edges[k + 1], edges) - x - 0.5, 1), "height": round(HEIGHT - BOTTOM - y, 1)}
            text = f"{edges[k]:.4g} to {edges[k + 1]:.4g}: {counted(counts[k], 'examples')}, {share:.1%}"
            yield {"x": x, "y": y, **size, "text": text}


def _steps(edges: Sequence[float], shares: Sequence[float], top: float) -> str:
    path = f"M{_x(edges[0], edges)},{HEIGHT - BOTTOM}"
    for k, share in enumerate(shares):
        path += f"V{_y(share, top)}H{_x(edges[k + 1], edges)}"
    return f"{path}V{HEIGHT - BOTTOM}"


def _x(value: float, edges: Sequence[float]) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - edges[0]) / ((edges[-1] - edges[0]) or 1), 1)


def _y(share: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share / top, 1)
