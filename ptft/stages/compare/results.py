"""Results: from finished runs to rows: rates chosen, values paired by seed, differences judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.loggers.jsonl import stored_rows
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty.statistics import Estimate, estimate, holm, label_efficiency, p_value
from ptft.runs.folder import read_json
from ptft.stages.compare.design import Cell, Design

LEAST_SEEDS = 3
"""With fewer pairs no difference is called one: two that agree by chance have no spread."""
LEVEL = 0.05
LATE = 0.01
"""A run that became better by more than this in its last fifth was still improving: in shares, else relative."""


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
    number of rows; verdict: better, worse, noise, unjudged (in doubt, or beside what is) or unknown;
    worth: times the labels that the baseline would need.
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
    doubt: str = ""
    """Why it says little of what the arm can do: it was still improving, or untuned. It is not judged then."""

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
    late = _late(folder, name, Measure(**measure).sign)
    return {**entry, "value": value, "val": val, "late": late, **measure, **cost, "reused": reused}


def _late(folder: Path, metric: str, sign: int) -> float | None:
    """How much better a run became in its last fifth, on the validation split; None where it was not measured twice.

    By the weights that were trained: their mean, tried at the end, is another thing than what came of the last steps.
    """
    stored = [row for row in stored_rows(folder / "metrics.jsonl") if not row.get("averaged")]
    rows = [row for row in stored if row.get("split") == "val" and row.get(metric) is not None]
    before = [row for row in rows if row["step"] <= 0.8 * rows[-1]["step"]]
    if not before or not rows[-1]["step"]:
        return None
    return float(sign * (rows[-1][metric] - before[-1][metric]))


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
            if row.doubt or base[row.amount].doubt:
                row.verdict, row.chance = "unjudged", None
    tested = [row for row in rows if row.chance is not None]
    for row, corrected_chance in zip(tested, holm([row.chance or 0.0 for row in tested]), strict=True):
        row.chance = corrected_chance
        row.verdict = _verdict(row, by.sign)
    _value(rows, [row for row in base.values() if row.mean], design, by)
    return rows


def _row(design: Design, records: list[dict[str, Any]], by: Measure, arm: str, amount: float) -> Row:
    runs = _runs_of(records, arm, amount)
    rate = _rate(design, runs, by, arm)
    chosen = [each for each in runs if each["lr"] == rate]
    values = {each["seed"]: each["value"] for each in chosen if each["value"] is not None}
    failed = [each["seed"] for each in chosen if each["value"] is None]
    row = Row(arm, amount, rate, values, failed, estimate(list(values.values())) if values else None)
    fitted = all(each.get("steps") == 0 for each in chosen)
    if design.untuned and not fitted:
        row.doubt = "untuned"
    elif row.mean and _improving([each["late"] for each in chosen if each.get("late") is not None], row.mean, by):
        row.doubt = "improving"
    return row


def _improving(late: list[float], mean: Estimate, by: Measure) -> bool:
    return bool(late) and statistics.fmean(late) > (LATE if is_share(by.metric) else LATE * abs(mean.mean))


def _rate(design: Design, runs: list[dict[str, Any]], by: Measure, arm: str) -> float | None:
    """The best of the rates that an arm tried, with every seed or with the first one."""
    tried = [each for each in runs if not design.tunes or each["seed"] == design.seeds[0]]
    return max(design.rates_of(arm), key=lambda rate: _merit([each for each in tried if each["lr"] == rate], by))


def rates(design: Design, records: list[dict[str, Any]]) -> dict[tuple[str, float], float | None]:
    """The rate that each arm goes on with at each amount, by its runs with the first seed."""
    by = measure(records)
    return {
        (arm, amount): _rate(design, _runs_of(records, arm, amount), by, arm) if by else design.rates_of(arm)[0]
        for arm in design.arms
        for amount in design.amounts
    }


def _runs_of(records: list[dict[str, Any]], arm: str, amount: float) -> list[dict[str, Any]]:
    return [each for each in records if each["arm"] == arm and each["amount"] == amount]


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
