"""Schedules against closed forms written out on their own, and properties that every one of them must have."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ptft.errors import ConfigError
from ptft.optim.schedules import Constant, Cosine, Linear, OneCycle, Schedule, StepDecay, WarmupStableDecay

CONF = sorted((Path(__file__).parents[2] / "conf" / "schedule").glob("*.yaml"))
FALLING = [Cosine, OneCycle, Linear, WarmupStableDecay]
ONE_PEAK = {"constant", "cosine", "linear", "onecycle", "step", "wsd"}
"""Options that rise to their peak once; a schedule that restarts is another kind."""


def from_yaml(path: Path) -> Schedule:
    node: Any = OmegaConf.to_container(OmegaConf.load(path))
    plain = {key: value for key, value in node.items() if not key.startswith("_")}
    module, name = node["_target_"].rsplit(".", 1)
    schedule = getattr(importlib.import_module(module), name)(**plain)
    assert isinstance(schedule, Schedule)
    return schedule


def curve(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step, steps) for step in range(steps)]


def test_every_schedule_has_its_yaml() -> None:
    assert {path.stem for path in CONF} >= ONE_PEAK


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97, 1000])
@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_each_yaml_starts_above_zero_and_stays_within_one(path: Path, steps: int) -> None:
    factors = curve(from_yaml(path), steps)
    assert factors[0] > 0
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(math.isfinite(factor) for factor in factors)


@pytest.mark.parametrize("path", [path for path in CONF if path.stem in ONE_PEAK], ids=lambda path: path.stem)
def test_each_yaml_rises_to_the_peak_and_never_rises_again(path: Path) -> None:
    factors = curve(from_yaml(path), 1000)
    peak = factors.index(max(factors))
    assert factors[peak] == 1
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_beyond_the_end_each_yaml_stays_at_its_last_value(path: Path) -> None:
    schedule = from_yaml(path)
    assert schedule(150, 100) == schedule(100, 100)


@pytest.mark.parametrize("kind", FALLING)
def test_the_last_step_is_near_the_minimum(kind: type[Cosine]) -> None:
    assert kind()(999, 1000) < 0.003
    assert 0.25 <= kind(min_factor=0.25)(999, 1000) < 0.253
    assert kind(min_factor=0.25)(1000, 1000) == 0.25


@pytest.mark.parametrize("kind", [Constant, Cosine, Linear, StepDecay, WarmupStableDecay])
def test_warmup_rises_in_equal_parts_and_counts_steps_or_a_fraction(kind: type[Constant]) -> None:
    by_steps, by_fraction = kind(warmup=9), kind(warmup=0.09)
    assert curve(by_steps, 100)[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert curve(by_fraction, 100) == pytest.approx(curve(by_steps, 100))


def test_a_warmup_longer_than_the_run_only_rises() -> None:
    assert curve(Cosine(warmup=500), 3) == pytest.approx([1 / 501, 2 / 501, 3 / 501])


def test_constant() -> None:
    assert curve(Constant(), 5) == [1.0] * 5


def test_cosine_equals_half_the_squared_cosine() -> None:
    # (1 + cos(pi p)) / 2 = cos(pi p / 2) ** 2
    expected = [0.1 + 0.9 * math.cos(math.pi * (step - 20) / 80 / 2) ** 2 for step in range(20, 100)]
    assert curve(Cosine(warmup=20, min_factor=0.1), 100)[20:] == pytest.approx(expected)


def test_linear_is_the_straight_line_between_its_ends() -> None:
    assert curve(Linear(warmup=0, min_factor=0.5), 10) == pytest.approx([1 - 0.05 * step for step in range(10)])


def test_onecycle_goes_up_a_straight_line_and_down_a_cosine() -> None:
    factors = curve(OneCycle(warmup=0.3, start_factor=0.1), 10)
    fall = [math.cos(math.pi * (step - 3) / 7 / 2) ** 2 for step in range(3, 10)]
    assert factors == pytest.approx([0.1, 0.4, 0.7, *fall])


def test_step_falls_exactly_at_its_milestones() -> None:
    # In floating point 0.07 * 100 is above 7 and 0.57 * 100 below 57: neither may come late or early.
    factors = curve(StepDecay(milestones=[0.07, 0.57], gamma=0.5), 100)
    assert factors == [1.0] * 7 + [0.5] * 50 + [0.25] * 43


def test_wsd_keeps_the_peak_until_the_last_part() -> None:
    factors = curve(WarmupStableDecay(warmup=10, decay=0.25), 100)
    assert factors[10:76] == [1.0] * 66
    assert factors[76:] == pytest.approx([1 - (step / 25) ** 0.5 for step in range(1, 25)])


def test_the_factor_depends_on_step_and_steps_alone() -> None:
    schedule = OneCycle()
    forwards = [schedule(step, 50) for step in range(50)]
    backwards = [schedule(step, 50) for step in reversed(range(50))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (Cosine, "warmup", -1),
        (Cosine, "warmup", 1.5),
        (Cosine, "warmup", -0.1),
        (Cosine, "warmup", True),
        (Cosine, "warmup", math.nan),
        (Cosine, "min_factor", 1.1),
        (Linear, "min_factor", -0.1),
        (OneCycle, "start_factor", 0),
        (StepDecay, "milestones", [0.5, 30]),
        (StepDecay, "gamma", 0),
        (WarmupStableDecay, "decay", 0),
        (WarmupStableDecay, "decay", math.nan),
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(kind: Any, key: str, value: object) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**{key: value})
    assert f"schedule.{key}={value}" in str(error.value)
    assert "\n" not in str(error.value)


def test_phases_of_wsd_longer_than_the_run_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warmup=0\.5 and schedule\.decay=0\.6"):
        WarmupStableDecay(warmup=0.5, decay=0.6)
