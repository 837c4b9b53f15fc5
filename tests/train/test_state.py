"""When a run evaluates, saves and ends, and which of its evaluations is the best."""

import json
import math

import pytest

from ptft.builders import components
from ptft.checkpoint import file as checkpoint_file
from ptft.loggers.logger import Logger
from ptft.optim.schedules import Cosine
from ptft.train.loop import is_better
from ptft.train.state import Budget, Every, Progress
from ptft.train.watch import Timer
from tests.conftest import ROOT, SMALL, refused, rows, summary
from tests.helpers.autoencoder import LR, Denoise, train, training

SECOND = 1 / 60
"""In minutes."""
TINY = (*SMALL, "dataset.held_out=200")


class Scored(Denoise):
    """Its metric `score` is given: one value for each step at which it is evaluated."""

    scores = (math.nan, 0.2, math.inf, 0.5, 0.4, 0.1, math.nan, -math.inf, 0.3, 0.5)

    def metrics(self, sums):
        done = len(self.advanced)
        return {"score": self.scores[done - 1]}


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(epochs=2), 8),
        (Budget(steps=7), 7),
        (Budget(epochs=2, steps=7), 7),
        (Budget(epochs=2, steps=9), 8),
        (Budget(epochs=2, minutes=60), 8),
        (Budget(steps=3, minutes=60), 3),
    ],
)
def test_the_first_limit_reached_ends_the_run(budget, steps):
    t = training(budget=budget)
    assert train(t)[-1][0] == steps
    assert (t.progress.step, t.progress.epoch, t.progress.batch) == (steps, steps // 4, steps % 4)


@pytest.mark.parametrize("steps", [None, 20_000])
def test_minutes_end_a_run_and_the_schedule_rises_and_falls_with_them(tmp_path, steps):
    budget, schedule = Budget(steps=steps, minutes=0.3 * SECOND), Cosine(warmup=0.2)
    t = training(budget=budget, schedule=schedule, every=Every(1, 10**6, 10**6))
    train(t, tmp_path)
    assert 0.3 <= t.progress.seconds < 3
    rates = [row["lr"] for row in rows(tmp_path) if row["split"] == "train"]
    middle = rates[len(rates) // 2]
    assert rates[0] < 0.01 * LR < middle < max(rates)
    assert rates[-1] < 0.1 * LR


def test_minutes_that_do_not_end_a_run_leave_its_schedule_alone(tmp_path):
    """However small a part of them the first steps take."""
    for name, minutes in (("steps", None), ("both", 10_000)):
        (tmp_path / name).mkdir()
        t = training(budget=Budget(steps=6, minutes=minutes), schedule=Cosine(warmup=0.5), every=Every(1, 100, 100))
        train(t, tmp_path / name)
    steps, both = (
        [row["lr"] for row in rows(tmp_path / name) if row["split"] == "train"] for name in ("steps", "both")
    )
    assert steps == both


@pytest.mark.parametrize(
    ("typed", "own", "budget"),
    [
        ({}, {"epochs": 2, "min_steps": 8}, Budget(epochs=2)),
        ({}, {"epochs": 2, "min_steps": 9}, Budget(epochs=3)),
        ({"epochs": 1}, {"epochs": 2, "min_steps": 9}, Budget(epochs=1)),
        ({"minutes": 0.5}, {"epochs": 2, "min_steps": 9}, Budget(minutes=0.5)),
    ],
)
def test_the_stages_own_budget_counts_only_where_none_is_typed(typed, own, budget):
    options = {"epochs": None, "steps": None, "minutes": None, **typed, "budget": own}
    assert components.budget(options, per_epoch=4) == budget


@pytest.mark.parametrize(("per_epoch", "apart"), [(1, 200), (15, 210), (199, 398), (200, 200), (1000, 1000)])
def test_auto_evaluates_and_saves_after_whole_epochs_at_least_200_steps_apart(per_epoch, apart):
    assert Every.of("auto", "auto", "auto", per_epoch) == Every(None, apart, apart)
    assert Every.of(5, 6, "auto", per_epoch) == Every(5, 6, apart)


def test_auto_logs_about_once_a_second():
    timer = Timer(Progress())
    start = timer.logged
    said = []
    for tenth in range(1, 31):
        timer.last = start + tenth / 10 + 1e-6
        if timer.due(None, tenth):
            said.append(tenth)
    assert said == [10, 20, 30]


@pytest.mark.parametrize(
    ("every", "evaluated", "saved"),
    [
        (Every(3, 4, 5), [4, 8, 10], [4, 5, 8, 10]),
        (Every(3, 5, 100), [5, 10], [5, 10]),
        (Every(3, 100, 100), [10], [10]),
    ],
)
def test_it_evaluates_and_saves_when_due_and_at_the_end(tmp_path, every, evaluated, saved):
    """A better one is saved at once; the last step is evaluated and saved in any case."""
    found = train(training(every=every), tmp_path)
    assert [row["step"] for row in rows(tmp_path) if row["split"] == "val"] == evaluated
    assert [step for step, _ in found] == saved
    assert [step for step, better in found if better] == evaluated


def test_without_a_validation_split_nothing_is_the_best(tmp_path):
    found = train(training(val=None), tmp_path)
    assert found == [(5, False), (10, False)]
    assert {row["split"] for row in rows(tmp_path)} == {"train"}


@pytest.mark.parametrize(("patience", "ends"), [(1, 2), (2, 3), (None, 20)])
def test_patience_counts_evaluations_without_a_better_one(patience, ends):
    """The loss climbs, so the first evaluation is the best."""
    t = training(maximize=True, patience=patience, budget=Budget(steps=20), every=Every(5, 1, 100))
    for group in t.optimizer.param_groups:
        group["base_lr"] = 1e-4
    saved = train(t)
    assert (t.progress.step, t.progress.best_step) == (ends, 1)
    assert saved == [(1, True), (ends, False)]


def test_patience_starts_anew_with_every_better_one():
    monitor = {"metric": "val/score", "mode": "max"}
    t = training(Scored, monitor=monitor, patience=3, every=Every(5, 1, 100))
    train(t)
    assert (t.progress.step, t.progress.best_step) == (7, 4)


@pytest.mark.parametrize(("mode", "best", "step", "better"), [("max", 0.5, 4, [2, 4, 10]), ("min", 0.1, 6, [2, 6])])
def test_the_monitor_decides_and_what_is_not_finite_is_never_the_best(mode, best, step, better):
    """Row 16. Of equal values (at 4 and 10) the one with less loss is the best; patience does not wait for it."""
    t = training(Scored, monitor={"metric": "val/score", "mode": mode}, every=Every(100, 1, 100))
    saved = train(t)
    assert (t.progress.best, t.progress.best_step, t.progress.worse) == (best, better[-1], 10 - step)
    assert [number for number, is_best in saved if is_best] == better


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_first_value_that_is_not_finite_is_not_the_best_either(mode, value):
    assert not is_better(value, None, mode)
    assert not is_better(value, 0.5, mode)


def test_row_16_a_metric_that_is_not_a_number(ptft, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    own = ["objective._target_=tests.helpers.autoencoder.NoAccuracy", "trusted=[tests.helpers.autoencoder]"]
    result = ptft("stage=pretrain", *TINY, *own, "hydra.run.dir=run")
    refused(result, 0, "val accuracy is not finite at step 10: never the best", "so best.pt is last.pt")
    run = tmp_path / "run"
    assert summary(run)["best"] == {"metric": "val/accuracy", "mode": "max", "value": None, "step": 20}
    assert [row["accuracy"] for row in rows(run) if row["split"] == "val"] == [None, None]
    best, last = (checkpoint_file.read(run / "checkpoints" / name)[1] for name in ("best.pt", "last.pt"))
    assert best == last


def test_a_typed_monitor_decides(ptft, tmp_path):
    for mode in ("max", "min"):
        monitor = f"train.monitor={{metric: val/loss, mode: {mode}}}"
        assert ptft("stage=pretrain", *TINY, monitor, f"hydra.run.dir={mode}").code == 0
    losses = [row["loss"] for row in rows(tmp_path / "max") if row["split"] == "val"]
    assert losses[0] > losses[1]
    assert [summary(tmp_path / mode)["best"]["step"] for mode in ("max", "min")] == [10, 20]


@pytest.mark.parametrize("metric", ["val/acuracy", "acuracy"])
def test_a_monitor_that_does_not_exist_is_refused_before_training(ptft, tmp_path, metric):
    result = ptft("stage=pretrain", *TINY, f"train.monitor={{metric: {metric}, mode: max}}", "hydra.run.dir=run")
    refused(result, 2, "acuracy: there is no such metric", "did you mean val/accuracy?", "val/loss", "val/macro_f1")
    assert not (tmp_path / "run").exists()


def test_a_stop_ends_the_run_after_its_step_and_the_evaluation_is_made_up_for(tmp_path):
    t = training()

    class Stopping(Logger):
        def step(self, step):
            t.stop = "SIGTERM" if step == 4 else None

    assert train(t, tmp_path, Stopping()) == [(4, False)]
    assert [row for row in rows(tmp_path) if row["split"] == "val"] == []
    t.stop = None
    train(t, tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    train(training(), whole)
    evaluations = [
        [(row["step"], row["loss"]) for row in rows(folder) if row["split"] == "val"] for folder in (tmp_path, whole)
    ]
    assert json.dumps(evaluations[0]) == json.dumps(evaluations[1])
