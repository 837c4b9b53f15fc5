"""A comparison's forecast: what more labels, or more steps of the pretraining, would bring, read off fitted curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.errors import ConfigError, counted, shortened
from ptft.metrics.uncertainty.learning_curve import LEAST_AMOUNTS, Curves, Range, curves, spread
from ptft.stages.compare.design import Design, digest
from ptft.stages.compare.results import Measure, Row
from ptft.stages.compare.table import amount_text, number, share, unit_of

TIMES = (2, 5, 10)
"""How many times the most that was tried a forecast looks ahead."""
NOTHING = 0.8
"""A share, or a gain of shares, that is known no better than within so much is not known."""

ALIKE = ("model", "dataset", "objective")
LEARNED_BY = ("optimizer", "schedule", "finetune", "precision", "seed")
"""With those, nodes and keys of a pretraining that are the same where it was stopped at different steps …"""
LENGTH = (
    "steps",
    "epochs",
    "minutes",
    "budget",
    "every",
    "patience",
    "workers",
    "safetensors",
    "layout",
    "keep_memory",
)
"""… and those of `train` that are not, or decide nothing of what is learned."""


class Forecast(NamedTuple):
    """A line of it. what: labels or pretraining; amount: of labels, or of steps; value, gain: as the metric is.

    gain: of labels over the baseline with as many; of pretraining over the most steps that were tried.
    """

    what: str
    arm: str
    amount: float
    value: Range
    gain: Range | None

    def to_dict(self) -> dict[str, Any]:
        ranges = {"value": self.value, "gain": self.gain}
        return {**self._asdict(), **{name: each and each._asdict() for name, each in ranges.items()}}


class Forecasts(NamedTuple):
    """Its lines; labels that the baseline would need for what each arm has with the most; why there is no more.

    apart: why there is none of more pretraining, where somebody may expect it.
    """

    lines: list[Forecast]
    needed: dict[str, Range]
    missing: str
    apart: str = ""

    def to_dict(self) -> dict[str, Any]:
        needed = {arm: each._asdict() for arm, each in self.needed.items()}
        return {
            "lines": [line.to_dict() for line in self.lines],
            "needed": needed,
            "missing": self.missing,
            "apart": self.apart,
        }


def check(cfg: Config, design: Design) -> None:
    """Raises ConfigError where too few amounts were asked for."""
    if cfg.compare.forecast and len(design.amounts) < LEAST_AMOUNTS:
        few = f"{counted(len(design.amounts), 'amounts')} of labels, and a curve takes at least {LEAST_AMOUNTS}"
        raise ConfigError(f"compare.forecast: compare.{design.key} has {few}")


def pretraining(start: Checkpoint) -> dict[str, Any] | None:
    """What a checkpoint was pretrained on and how, apart from for how long: `of`, a digest; its `steps` and `seconds`.

    None where it does not say so.
    """
    config, progress = start.config, start.progress
    train = (config or {}).get("train")
    if not config or not isinstance(train, Mapping) or not progress.get("step"):
        return None
    parent, data = start.meta.get("parent"), start.meta.get("fingerprint")
    same = {
        **{key: config.get(key) for key in (*ALIKE, *LEARNED_BY)},
        "train": {key: value for key, value in train.items() if key not in LENGTH},
        "ckpt": isinstance(parent, Mapping) and (parent.get("sha256") or parent.get("path")),
        "data": data if isinstance(data, str) else None,
    }
    parts = {key: digest(value) for key, value in same.items()}
    return {"of": digest(same), "parts": parts, "steps": progress["step"], "seconds": progress.get("seconds")}


def forecast(design: Design, rows: Sequence[Row], by: Measure, arms: Mapping[str, Mapping[str, Any]]) -> Forecasts:
    """Of rows that were compared. arms: what each started from (`pretraining`)."""
    if not share(by) and by.mode == "max":
        return Forecasts([], {}, f"{by.metric} has no end that it could come near")
    fitted = {arm: found for index, arm in enumerate(design.arms) if (found := _labels(rows, by, arm, index))}
    lines = [line for arm in fitted for line in _ahead(design, by, fitted, arm)]
    needed = {}
    if base := fitted.get(design.baseline):
        for arm, own in fitted.items():
            if arm != design.baseline:
                needed[arm] = spread(base.amount(_error(own, design.amounts[-1], by)), own.weight * base.weight)
    short = [arm for arm in design.arms if arm not in fitted]
    missing = f"too few amounts were measured of {' and '.join(short)}" if short else ""
    longer = _longer(design, rows, by, arms)
    return Forecasts(lines + longer, needed, missing, "" if longer else _apart(design, arms))


def _errors(row: Row, by: Measure) -> list[float]:
    """What is left to gain, of each seed."""
    return [1 - value if by.mode == "max" else value for value in row.values.values()]


def _labels(rows: Sequence[Row], by: Measure, arm: str, seed: int) -> Curves | None:
    measured = [row for row in rows if row.arm == arm and row.values]
    if len(measured) < LEAST_AMOUNTS:
        return None
    return curves([row.amount for row in measured], [_errors(row, by) for row in measured], seed)


def _ahead(design: Design, by: Measure, fitted: Mapping[str, Curves], arm: str) -> list[Forecast]:
    """The lines of an arm, with more and more labels."""
    own, base, lines = fitted[arm], fitted.get(design.baseline), []
    for times in TIMES:
        amount = times * design.amounts[-1]
        error = _error(own, amount, by)
        gain = None
        if base is not None and arm != design.baseline:
            gain = spread(_value(error, by) - _value(_error(base, amount, by), by), own.weight * base.weight)
        lines.append(Forecast("labels", arm, amount, own.range(_value(error, by)), gain))
    return lines


def _error(found: Curves, amount: float, by: Measure) -> Tensor:
    """What each curve comes to, [R]; of a share no curve leads beyond all of it, however steep it is."""
    error = found.at(amount)
    return error.clamp(0, 1) if share(by) else error


def _value(error: Tensor, by: Measure) -> Tensor:
    return 1 - error if by.mode == "max" else error


def _longer(design: Design, rows: Sequence[Row], by: Measure, arms: Mapping[str, Mapping[str, Any]]) -> list[Forecast]:
    """Lines for arms that start from one pretraining after different numbers of steps, with the most labels."""
    groups: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        trained = arms.get(row.arm, {}).get("pretraining")
        if trained and arms[row.arm].get("pretrained") and row.amount == design.amounts[-1] and row.values:
            own = [text for text in design.arms[row.arm] if not text.startswith("ckpt=")]
            groups.setdefault(digest([trained["of"], own]), []).append((trained["steps"], row))
    lines = []
    for group in groups.values():
        ordered = sorted(group, key=lambda entry: entry[0])
        if len({steps for steps, _ in ordered}) < LEAST_AMOUNTS:
            continue
        found = curves([steps for steps, _ in ordered], [_errors(row, by) for _, row in ordered])
        last, row = ordered[-1]
        for times in TIMES:
            error = _error(found, times * last, by)
            gain = found.range(_value(error, by) - _value(_error(found, last, by), by))
            lines.append(Forecast("pretraining", row.arm, times * last, found.range(_value(error, by)), gain))
    return lines


def _apart(design: Design, arms: Mapping[str, Mapping[str, Any]]) -> str:
    """In what pretrainings differ, beside their steps, of one model that learned one objective from one dataset."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for arm in design.arms:
        trained = arms.get(arm, {}).get("pretraining")
        if trained and arms[arm].get("pretrained"):
            groups.setdefault(tuple(trained["parts"][key] for key in ALIKE), []).append(arm)
    for names in groups.values():
        found = [arms[arm]["pretraining"] for arm in names]
        others = [key for key in found[0]["parts"] if len({each["parts"][key] for each in found}) > 1]
        if others and len({each["steps"] for each in found}) >= LEAST_AMOUNTS:
            return f"the pretrainings of {shortened(names)} differ in {' and '.join(others)}, not in their steps alone"
    return ""


def table(design: Design, found: Forecasts, by: Measure) -> tuple[list[str], list[list[str]]]:
    """Header and cells for people."""
    header = ["with", "arm", f"{by.split} {by.metric}{' %' if share(by) else ''}", "gain"]
    return header, [[_with(design, line), line.arm, _span(line.value, by), _gain(line, by)] for line in found.lines]


def _with(design: Design, line: Forecast) -> str:
    if line.what == "pretraining":
        return f"{line.amount:,.0f} steps of pretraining"
    return f"{amount_text(design.key, line.amount)} {unit_of(design.key)}"


def _span(value: Range, by: Measure) -> str:
    return f"{number(value.middle, by)} ({number(value.low, by)} to {number(value.high, by)})"


def _gain(line: Forecast, by: Measure) -> str:
    if line.gain is None:
        return ""
    middle, low, high = (number(each, by, signed=True) for each in line.gain)
    return f"{middle} ({low} to {high})"


def _tells(found: Range, by: Measure) -> bool:
    """Whether a share, or a gain, is known better than within all that it could be."""
    return not share(by) or found.high - found.low < NOTHING


def sentences(design: Design, found: Forecasts, by: Measure) -> list[str]:
    """What it says, and how it is to be read, a sentence each."""
    said = [f"no forecast: {found.missing}"] if found.missing else []
    said += [f"no forecast of more pretraining: {found.apart}"] if found.apart else []
    most = amount_text(design.key, design.amounts[-1])
    for arm, needed in found.needed.items():
        said.append(
            f"forecast: for what {arm} has with {most} {unit_of(design.key)}, {design.baseline} needs "
            f"{_needed(design, needed)}"
        )
    said += [_pays(design, line, by) for line in found.lines if line.gain and line.amount == _farthest(found, line)]
    if blind := list(dict.fromkeys(_with(design, line) for line in found.lines if not _tells(line.value, by))):
        said.append(
            f"forecast: nothing is known of {by.split} {by.metric} with {shortened(blind)} where its interval is "
            f"nearly all that it could be; more than {counted(len(design.amounts), 'amounts')} or "
            f"{counted(len(design.seeds), 'seeds')} would tell more"
        )
    if found.lines:
        said.append(
            "forecasts are power laws with a floor, fitted to all amounts; in brackets 95 %, which hold as far as such "
            "a curve does"
        )
    return said


def _farthest(found: Forecasts, line: Forecast) -> float:
    return max(other.amount for other in found.lines if (other.what, other.arm) == (line.what, line.arm))


def _needed(design: Design, needed: Range) -> str:
    middle, low, high = (_counted(each * _scale(design)) for each in needed)
    unit = "" if design.key == "per_class" else " %"
    if math.isinf(needed.high) and needed.low < design.amounts[0]:
        return f"a number that can't be told from these ({low}{unit} to {high})"
    if math.isinf(needed.middle):
        return "more than its curve ever reaches" + ("" if math.isinf(needed.low) else f" (at least {low}{unit})")
    return f"{middle}{unit} ({low} to {high})"


def _counted(amount: float) -> str:
    if math.isinf(amount):
        return "∞"
    return f"{amount:,.0f}" if 1000 <= amount < 1e6 else f"{amount:.3g}"


def _scale(design: Design) -> float:
    return 1 if design.key == "per_class" else 100


def _pays(design: Design, line: Forecast, by: Measure) -> str:
    """Whether the farthest line of an arm is a gain beyond doubt."""
    assert line.gain
    low, high = sorted((by.sign * line.gain.low, by.sign * line.gain.high))
    beside = f"beside {design.baseline}" if line.what == "labels" else "beside what it has now"
    nothing = "may bring nothing" if _tells(line.gain, by) else "may bring anything, so that nothing is known,"
    verdict = "still pays" if low > 0 else "is worse" if high < 0 else nothing
    return f"forecast: with {_with(design, line)} {line.arm} {verdict} {beside}: {_gain(line, by)}"
