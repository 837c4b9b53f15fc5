"""Results: from finished runs to rows: rates chosen, values paired by seed, differences judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.metrics.statistics import Estimate, estimate, holm, label_efficiency, p_value
from ptft.runs.folder import read_json
from ptft.stages.compare.design import Cell, Design

LEAST_SEEDS = 3
"""With fewer pairs no difference is called one: two that agree by chance have no spread."""
LEVEL = 0.05


@dataclass(frozen=True)
class Measure:
    """What is compared: a metric, whether more of it is better, and the split it is measured on."""

    metric: str
    mode: str
    split: str

    @property
    def sign(self) -> int:
        return 1 if self.mode == "max" else -1


@dataclass
class Row:
    """One arm at one amount. Values and differences are those of the metric, as it is.

    difference: to the baseline, paired by seed; chance: of such a difference where there is none, corrected for the
    number of rows; verdict: better, worse, noise, or unknown; worth: times the labels that the baseline would need.
    """

    arm: str
    amount: float
    rate: float | None
    values: dict[int, float]
    failed: list[int]
    mean: Estimate | None = None
    difference: Estimate | None = None
    chance: float | None = None
    verdict: str = "unknown"
    worth: tuple[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        plain = dict(vars(self))
        for key in ("mean", "difference"):
            plain[key] = entry._asdict() if (entry := plain[key]) else None
        return {**plain, "values": {str(seed): value for seed, value in self.values.items()}}


def record(cell: Cell, folder: Path, status: Mapping[str, Any], *, reused: bool) -> dict[str, Any]:
    """What is kept of a run: its value on the held-out split, on the validation split, its cost; or why it failed."""
    entry = {
        **cell.description(),
        "status": status["status"],
        "message": status.get("message", ""),
        "folder": str(folder),
    }
    if status["status"] != "finished":
        return {**entry, "value": None, "val": None}
    summary = read_json(folder / "summary.json")
    best, metrics = summary["best"], summary["metrics"]
    split, name = "test" if "test" in metrics else "val", best["metric"].removeprefix("val/")
    value = metrics[split].get(name)
    if value is None or not math.isfinite(value):
        entry |= {"status": "failed", "message": f"{split} {name} is {value}"}
        value = None
    measure = {"metric": name, "mode": best["mode"], "split": split}
    cost = {key: summary[key] for key in ("steps", "samples", "seconds", "parameters", "trainable_parameters")}
    val = metrics.get("val", {}).get(name)
    val = val if val is not None and math.isfinite(val) else None
    return {**entry, "value": value, "val": val, **measure, **cost, "reused": reused}


def measure(records: Iterable[Mapping[str, Any]]) -> Measure | None:
    """What the finished runs were measured by; None without any."""
    for each in records:
        if each["value"] is not None:
            return Measure(each["metric"], each["mode"], each["split"])
    return None


def compared(design: Design, records: list[dict[str, Any]], by: Measure) -> list[Row]:
    """A row for each amount and arm, judged."""
    rows = [_row(design, records, by, arm, amount) for amount in design.amounts for arm in design.arms]
    base = {row.amount: row for row in rows if row.arm == design.baseline}
    for row in rows:
        if row.arm != design.baseline:
            _pair(row, base[row.amount])
    judged = [row for row in rows if row.chance is not None]
    for row, corrected_chance in zip(judged, holm([row.chance or 0.0 for row in judged]), strict=True):
        row.chance = corrected_chance
        row.verdict = _verdict(row, by.sign)
    _value(rows, [row for row in base.values() if row.mean], design, by)
    return rows


def _row(design: Design, records: list[dict[str, Any]], by: Measure, arm: str, amount: float) -> Row:
    runs = [each for each in records if each["arm"] == arm and each["amount"] == amount]
    rate = max(design.rates, key=lambda rate: _merit([each for each in runs if each["lr"] == rate], by))
    chosen = [each for each in runs if each["lr"] == rate]
    values = {each["seed"]: each["value"] for each in chosen if each["value"] is not None}
    failed = [each["seed"] for each in chosen if each["value"] is None]
    return Row(arm, amount, rate, values, failed, estimate(list(values.values())) if values else None)


def _merit(runs: list[dict[str, Any]], by: Measure) -> tuple[int, float]:
    """How good a rate is: the mean over the seeds on the validation split, after how many of its runs finished."""
    values = [each["val"] for each in runs if each["value"] is not None and each["val"] is not None]
    return len(values), by.sign * statistics.fmean(values) if values else -math.inf


def _pair(row: Row, base: Row) -> None:
    differences = [row.values[seed] - base.values[seed] for seed in row.values if seed in base.values]
    if differences:
        row.difference = estimate(differences)
    if len(differences) >= LEAST_SEEDS:
        row.chance = p_value(differences)


def _verdict(row: Row, sign: int) -> str:
    assert row.difference
    assert row.chance is not None
    if row.chance >= LEVEL:
        return "noise"
    return "better" if sign * row.difference.mean > 0 else "worse"


def _value(rows: list[Row], base: list[Row], design: Design, by: Measure) -> None:
    """Read every arm's mean off the baseline's curve."""
    amounts = [row.amount for row in base]
    curve = [by.sign * row.mean.mean for row in base if row.mean]
    for row in rows:
        if row.arm != design.baseline and row.mean:
            row.worth = label_efficiency(amounts, curve, row.amount, by.sign * row.mean.mean)
