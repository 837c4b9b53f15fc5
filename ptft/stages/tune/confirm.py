"""Confirming: the best of many looks better than it is, so it and the defaults are trained with other seeds as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptft.metrics.uncertainty.statistics import Estimate, estimate, p_value
from ptft.stages.compare.results import LEAST_SEEDS, LEVEL, Measure
from ptft.stages.compare.table import number, share, spread
from ptft.stages.tune.search import FAILED
from ptft.stages.tune.trials import measured

DEFAULTS, FOUND = "defaults", "found"


@dataclass(frozen=True)
class Again:
    """A run of one of both. value: what it is judged by on the validation split; test: the same on the test split."""

    who: str
    seed: int
    value: float | None
    test: float | None
    steps: int
    seconds: float
    status: str
    message: str
    folder: str


@dataclass(frozen=True)
class Verdict:
    """What came of both. difference: of the found settings to the defaults, paired by seed; word: better, worse, noise,
    or unknown where there are too few pairs."""

    word: str
    found: Estimate | None = None
    defaults: Estimate | None = None
    difference: Estimate | None = None
    chance: float | None = None
    test: Estimate | None = None
    """The difference on the test split, which nothing is chosen by."""

    def to_dict(self) -> dict[str, Any]:
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def record(who: str, seed: int, folder: Path, status: Mapping[str, Any], monitor: Mapping[str, str]) -> Again:
    """What came of a run."""
    seconds, message = float(status.get("seconds") or 0), str(status.get("message", ""))
    if status["exit_code"]:
        return Again(who, seed, None, None, 0, seconds, FAILED, message, str(folder))
    found = measured(folder, monitor)
    name = monitor["metric"].removeprefix("val/")
    test = found["metrics"].get("test", {}).get(name)
    value = found["value"] if found["value"] is not None and math.isfinite(found["value"]) else None
    return Again(who, seed, value, test, found["step"], seconds, status["status"], "", str(folder))


def judged(runs: Sequence[Again], by: Measure) -> Verdict:
    """By seeds with which both were trained; a difference needs at least `LEAST_SEEDS` of them."""
    found, usual = ({run.seed: run.value for run in runs if run.who == who} for who in (FOUND, DEFAULTS))
    pairs = [(a, b) for seed, a in found.items() if a is not None and (b := usual.get(seed)) is not None]
    if not pairs:
        return Verdict("unknown")
    differences = [a - b for a, b in pairs]
    chance = p_value(differences) if len(differences) >= LEAST_SEEDS else None
    better = by.sign * sum(differences) > 0
    word = "unknown" if chance is None else "noise" if chance >= LEVEL else "better" if better else "worse"
    ours, theirs = (estimate([pair[side] for pair in pairs]) for side in (0, 1))
    return Verdict(word, ours, theirs, estimate(differences), chance, _tested(runs))


def _tested(runs: Sequence[Again]) -> Estimate | None:
    """The difference on the test split, where both have one."""
    found, usual = ({run.seed: run.test for run in runs if run.who == who} for who in (FOUND, DEFAULTS))
    differences = [a - b for seed, a in found.items() if a is not None and (b := usual.get(seed)) is not None]
    return estimate(differences) if differences else None


SAID = {
    "better": "The found settings beat the defaults beyond chance",
    "worse": "The found settings are worse than the defaults beyond chance, with other seeds than the search had",
    "noise": "The found settings do not beat the defaults beyond chance",
    "unknown": f"Whether the found settings beat the defaults can't be said with under {LEAST_SEEDS} seeds of both",
}


def sentence(verdict: Verdict, by: Measure) -> str:
    """The answer, with its figures."""
    if not (verdict.found and verdict.defaults and verdict.difference):
        return f"{SAID['unknown']}."
    unit = " points" if share(by) else ""
    beside = f"{_with(verdict.found, by)} beside {_with(verdict.defaults, by)}"
    gap = f"{spread(verdict.difference, by, signed=True)}{unit}"
    seeds = verdict.difference.size
    how = f"{seeds} seed{'s' * (seeds != 1)}, paired, 95 % intervals"
    return f"{SAID[verdict.word]}: {by.split} {by.metric} {beside}, {gap} ({how})."


def on_test(verdict: Verdict, by: Measure) -> str:
    """The same of the test split, or nothing."""
    if verdict.test is None:
        return ""
    unit = " points" if share(by) else ""
    return f"on the test split, by which nothing was chosen: {spread(verdict.test, by, signed=True)}{unit}"


def _with(mean: Estimate, by: Measure) -> str:
    return spread(mean, by) + (" %" if share(by) else "")


def regression(shown: float, verdict: Verdict, by: Measure) -> str:
    """How much better the best looked in the search than it is, of which this is some: it was chosen for it."""
    if verdict.found is None:
        return ""
    unit = " %" if share(by) else ""
    lucky = by.sign * (shown - verdict.found.mean) > 0
    why = "; the best of many has been lucky as well, so the later figure counts" if lucky else ""
    return f"in the search the best had {number(shown, by)}{unit}, with other seeds {_with(verdict.found, by)}{why}"
