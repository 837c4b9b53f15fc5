"""How often a run evaluates: what `auto` comes to, epochs, and minutes of training by the clock."""

import itertools

import pytest

from ptft.train.every import COST, PASSES, TIMES, Every, steps_apart
from ptft.train.state import CLOCK, Budget
from ptft.validators import minutes_of
from tests.conftest import rows
from tests.helpers.autoencoder import train, training


def auto(per_epoch, total, apart=1, minutes=None):
    return Every.of("auto", "auto", "auto", per_epoch, total=total, apart=apart, minutes=minutes)


@pytest.mark.parametrize(
    ("per_epoch", "total", "steps"),
    [
        (17, 102, 11),  # a short run: ten times, evenly spread
        (17, 25, 2),
        (4, 40, 4),  # once an epoch
        (15, 150, 15),
        (15, 450, 45),
        (15, 15_000, 210),  # short epochs: whole ones, 200 steps at the least
        (1000, 100_000, 1000),  # long epochs: each
        (1000, 3000, 300),  # few long epochs: ten times all the same
        (10_000, 10_000, 1000),
        (1, 3, 1),
        (1000, None, 1000),
    ],
)
def test_auto_is_ten_times_a_run_and_once_a_long_epoch(per_epoch, total, steps):
    assert auto(per_epoch, total).evaluate == steps


@pytest.mark.parametrize(
    ("per_epoch", "total", "apart", "steps"),
    [
        (17, 85, 19, 22),  # four times, evenly spread
        (17, 85, 84, 85),  # once, at the end
        (17, 85, 400, 85),
        (1, 300, 60, 60),
        (1000, 100_000, 1500, 1516),  # epochs are long, but measuring takes longer than a tenth of one
        (100, 10_000, 150, 200),
        (1000, None, 1500, 1500),
    ],
)
def test_auto_is_rarer_where_it_would_take_over_a_tenth_of_the_time(per_epoch, total, apart, steps):
    assert auto(per_epoch, total, apart).evaluate == steps


def test_the_cost_of_an_evaluation_in_steps():
    """2,000 examples that are measured once, beside steps of 64 examples that take three times as long each."""
    steps = steps_apart(2000, 20_000, per_epoch=313)
    assert steps * 20_000 / 313 * PASSES >= COST * 2000 > (steps - 1) * 20_000 / 313 * PASSES
    assert steps_apart(0, 100, 5) == 1


@pytest.mark.parametrize("per_epoch", [1, 7, 64, 200, 1001])
@pytest.mark.parametrize("total", [1, 9, 100, 1001, 50_000])
@pytest.mark.parametrize("apart", [1, 13, 500])
def test_auto_is_at_least_ten_times_or_as_often_as_its_cost_allows(per_epoch, total, apart):
    steps = auto(per_epoch, total, apart).evaluate
    assert steps >= min(apart, total)
    times = -(-total // steps)
    assert times >= min(TIMES, total, max(1, total // apart)) or steps < 2 * apart


def test_epochs_and_minutes_are_values():
    assert Every.of(5, "epoch", "auto", 7) == Every(5, 7, 203)
    assert Every.of(5, "2.5min", 6, 7) == Every(5, None, 6, minutes=2.5)
    assert auto(100, None, apart=30, minutes=50) == Every(None, 200, 200, minutes=5, apart=30)


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [("5min", 5), ("0.5min", 0.5), ("5 min", 5), (".5min", 0.5), ("1e-3min", 0.001)]
    + [(bad, None) for bad in ("0min", "min", "5", 5, "5mins", "-5min", "5 minutes", "x5min", None)],
)
def test_minutes_are_typed_with_their_unit(typed, minutes):
    assert minutes_of(typed) == minutes


class Ticking:
    """A clock of which every look takes a minute: three looks a step and one before an epoch."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 60
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("ptft.train.watch.time", clock := Ticking())
    return clock


def evaluated(folder):
    return [row["step"] for row in rows(folder) if row["split"] == "val"]


def test_minutes_of_training_say_when_the_next_evaluation_is_due(tmp_path, clock):
    t = training(every=Every(3, None, 100, minutes=10), budget=Budget(steps=20))
    train(t, tmp_path)
    per_step = t.progress.seconds / 60 / 20
    between = round(10 / per_step + 0.4999)
    assert 1 < between < 10
    assert len(evaluated(tmp_path)) > 2
    gaps = [b - a for a, b in itertools.pairwise([0, *evaluated(tmp_path)])]
    assert all(abs(gap - between) <= 1 for gap in gaps[:-1])


def test_a_clock_goes_on_where_a_run_is_continued(tmp_path, clock):
    """What was trained since the last evaluation counts, and one that a stop prevented is made up for."""
    t = training(every=Every(3, None, 100, minutes=10), budget=Budget(steps=4))
    for _ in range(2):
        t.progress.seconds += 60
    t.evaluated_at = 45.0
    state = t.state_dict()
    assert state[CLOCK] == 45.0
    again = training(every=Every(3, None, 100, minutes=10))
    again.load_state_dict(t.weights(), state)
    assert again.evaluated_at == 45.0
    again.progress.step, again.progress.seconds = 1, 45.0 + 600
    assert again.evaluation_due()
    again.progress.seconds -= 1
    assert not again.evaluation_due()
    assert CLOCK not in training().state_dict()


def test_a_clock_keeps_the_distance_that_evaluations_of_auto_have():
    every = Every(None, 1000, 1000, minutes=5, apart=30)
    assert not every.evaluation_due(step=40, steps=29, seconds=301)
    assert every.evaluation_due(step=40, steps=30, seconds=300)
    assert not every.evaluation_due(step=40, steps=30, seconds=299)
    assert every.evaluation_due(step=1000, steps=1, seconds=0)
