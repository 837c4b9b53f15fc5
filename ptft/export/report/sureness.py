"""What the page of a run shows of how sure it is: intervals, calibration, slices, corruptions, others it stands by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.export.report import charts
from ptft.export.report.numbers import metric
from ptft.metrics.properties import is_share
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative


def content(folder: Path, summary: Mapping[str, Any], shown: str) -> dict[str, Any]:
    """Values of the template `measured.html`, each empty where there is nothing; shown: the split."""
    return {
        "sure": _intervals(summary),
        "resampling": _resampling(summary),
        "calibration": _calibration(read_json(folder / f"calibration_{shown}.json")),
        "slices": _slices((summary.get("slices") or {}).get(shown)),
        "corruptions": _corruptions((summary.get("corruptions") or {}).get(shown), summary, shown),
        "rival": _rival(summary.get("against"), summary, shown),
        "panel": [_served(row) for row in summary.get("panel") or ()],
    }


def between(name: str, pair: Any) -> str:
    """ "93.87 % to 98.05 %"; a dash for none."""
    return f"{metric(pair[0], name)} to {metric(pair[1], name)}" if pair else "–"


def apart(name: str, *differences: float) -> str:
    """ "-5.57 to -1.95 points" of a share; a dash for none."""
    scale, unit = (100, " points") if is_share(name) else (1, "")
    return " to ".join(f"{scale * each:+.4g}" for each in differences) + unit if differences else "–"


def _intervals(summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    known = summary.get("intervals") or {}
    return {split: {name: between(name, pair) for name, pair in each.items()} for split, each in known.items()}


def _resampling(summary: Mapping[str, Any]) -> str:
    how = summary.get("resampling")
    if not how:
        return ""
    return f"{100 * how['level']:g} % intervals, from {how['resamples']:,} resamples of {how['units']:,} {how['of']}"


def _calibration(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reliability curve, before a temperature was fitted too, and the numbers."""
    if not found.get("bins"):
        return None
    before = found.get("before") or {}
    lines = {"as it should be": [(0.0, 0.0), (1.0, 1.0)], "as it is": _curve(found), "before": _curve(before)}
    names = {"ece": "expected calibration error", "brier": "Brier score", "nll": "negative log-likelihood"}
    intervals = found.get("intervals") or {}
    rows = [
        [text, metric(found[name]), between("", intervals.get(name)), metric(before[name]) if before else ""]
        for name, text in names.items()
    ]
    by_label = [[name, metric(value)] for name, value in (found.get("by_label") or {}).items()]
    return {
        "chart": charts.chart("share that is right", lines, "stated share"),
        "rows": rows,
        "before": bool(before),
        "temperature": found.get("temperature"),
        "by_label": by_label,
    }


def _curve(found: Mapping[str, Any]) -> list[tuple[float, float]]:
    return sorted((each["said"], each["right"]) for each in found.get("bins") or [])


def _slices(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    name = found["metric"]
    rows = [
        [row["slice"], row["n"], metric(row["metrics"].get(name), name), between(name, row["intervals"].get(name))]
        for row in found["rows"]
    ]
    return {"by": found["by"], "metric": name, "worst": found["worst"], "rows": rows}


def _corruptions(found: Mapping[str, Any] | None, summary: Mapping[str, Any], shown: str) -> dict[str, Any] | None:
    if not found:
        return None
    name, clean = found["metric"], ((summary.get("metrics") or {}).get(shown) or {})
    rows = [["none", "", metric(clean.get(name), name), between(name, _pair(summary, shown, name))]]
    rows += [
        [
            row["corruption"],
            row["severity"],
            metric(row["metrics"].get(name), name),
            between(name, row["intervals"].get(name)),
        ]
        for row in found["rows"]
    ]
    return {"metric": name, "rows": rows}


def _rival(found: Mapping[str, Any] | None, summary: Mapping[str, Any], shown: str) -> dict[str, Any] | None:
    if not found:
        return None
    here, there = ((summary.get("metrics") or {}).get(shown) or {}), found["metrics"]
    rows = [
        [
            name,
            metric(here.get(name), name),
            metric(there.get(name), name),
            apart(name, row["difference"]),
            apart(name, *(row["interval"] or ())),
            row["verdict"],
        ]
        for name, row in found["differences"].items()
    ]
    return {"name": relative(Path(str(found["path"]))), "rows": rows, "right": found.get("right")}


def _served(row: Mapping[str, Any]) -> list[str]:
    """An earlier task before and after."""
    name = row["metric"]
    measured = [metric(row[when], name) for when in ("before", "after")]
    changed = [apart(name, row["difference"]), apart(name, *(row["interval"] or ()))]
    return [row["task"], relative(Path(str(row["path"]))), *measured, *changed, row["verdict"]]


def _pair(summary: Mapping[str, Any], shown: str, name: str) -> Any:
    return ((summary.get("intervals") or {}).get(shown) or {}).get(name)
