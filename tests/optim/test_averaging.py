"""The mean of the last evaluations' weights: what is averaged, when it is the result, and that a resume keeps it."""

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.optim.averaging import EvaluationAverage
from ptft.train.state import Every
from tests.conftest import ROOT, SMALL, refused, rows
from tests.helpers.autoencoder import Budget, Denoise, train, training, weights

EVERY = Every(log=3, evaluate=4, save=5)


def averaging(points, **options):
    """A training of ten steps, evaluated at 4, 8 and 10, and the weights it had then."""
    t = training(every=EVERY, **options)
    t.average = EvaluationAverage(t.objective, points)
    seen, update = [], t.average.update

    def watched(module, step, total, every):
        seen.append(weights(t))
        update(module, step, total, every)

    t.average.update = watched
    return t, seen


def mean(states):
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


@pytest.mark.parametrize("points", [2, 3, 5])
def test_it_is_the_mean_of_the_last_evaluated_weights(points):
    t, seen = averaging(points)
    train(t)
    assert t.progress.step == 10
    assert t.average.count == min(points, len(seen)) == min(points, 3)
    torch.testing.assert_close(t.average.weights, mean(seen[-points:]))


def test_training_is_the_same_with_and_without_it():
    (t, _), plain = averaging(3), training(every=EVERY)
    train(t)
    train(plain)
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(t).items())


class Fond(Denoise):
    """Its metric `score` is 1 for the weights that the last step left, and `of_others` for any others."""

    of_others = 0.0

    def advance(self, step, steps):
        self.left = self.decoder.weight.clone()

    def metrics(self, sums):
        return {"score": 1.0 if torch.equal(self.left, self.decoder.weight) else self.of_others}


@pytest.mark.parametrize(("of_others", "taken"), [(2.0, True), (1.0, False), (0.0, False)])
def test_it_is_the_result_only_if_it_is_the_best_on_validation(tmp_path, monkeypatch, of_others, taken):
    monkeypatch.setattr(Fond, "of_others", of_others)
    t, seen = averaging(2, make=Fond, monitor={"metric": "val/score", "mode": "max"})
    saved = train(t, tmp_path)
    last = [row for row in rows(tmp_path) if row["split"] == "val"][-1]
    assert (last["step"], last["averaged"], last["score"]) == (10, 2, of_others)
    assert (t.progress.averaged, t.progress.best) == ((2, 2.0) if taken else (0, 1.0))
    assert t.progress.best_step == 10, "of equal scores the one with less loss"
    assert saved[-1] == (10, True)
    torch.testing.assert_close(t.weights(), mean(seen[-2:]) if taken else seen[-1])


def test_without_a_validation_split_the_mean_is_the_result():
    t, seen = averaging(3, val=None)
    train(t)
    assert t.progress.averaged == 3
    torch.testing.assert_close(t.weights(), mean(seen))
    assert all(torch.equal(value, seen[-1][name]) for name, value in weights(t).items()), "training may go on"


def test_a_longer_budget_starts_the_mean_anew():
    t, _ = averaging(2, val=None)
    train(t)
    state, result = t.state_dict(), t.weights()
    longer, later = averaging(2, val=None, budget=Budget(steps=18))
    longer.load_state_dict(result, state)
    train(longer)
    torch.testing.assert_close(longer.average.weights, mean(later[-2:]))
    straight, _ = averaging(2, val=None, budget=Budget(steps=18))
    train(straight)
    torch.testing.assert_close(weights(longer), weights(straight))


def test_an_evaluation_that_is_among_the_last_of_a_longer_budget_is_one_of_them():
    """After eight steps both evaluations were the last; of twelve the second one is, and the first is not."""
    t, _ = averaging(2, val=None, budget=Budget(steps=8))
    train(t)
    assert t.average.count == 2
    longer, later = averaging(2, val=None, budget=Budget(steps=12))
    at_eight = weights(t)
    longer.load_state_dict(t.weights(), t.state_dict())
    train(longer)
    assert longer.average.count == 2
    torch.testing.assert_close(longer.average.weights, mean([at_eight, later[-1]]))


NET = (
    "stage=pretrain",
    "model._target_=tests.helpers.self_killing.Net",
    "objective._target_=tests.helpers.self_killing.SelfKilling",
    "trusted=[tests.helpers.self_killing]",
    "model.channels=[4,6]",
    "model.width=12",
    "dataset.images=96",
    "dataset.held_out=40",
    "dataset.size=12",
    "train.batch_size=16",
    "train.epochs=3",
    "train.every.evaluate=3",
    "train.every.save=5",
    "train.average_last=4",
    "device=cpu",
)


@pytest.mark.parametrize("moment", ["SIGTERM step 11", "SIGTERM step 16"])
def test_a_resumed_run_ends_in_the_same_mean_to_the_bit(ptft, tmp_path, monkeypatch, moment):
    monkeypatch.syspath_prepend(ROOT)
    whole = ptft(*NET, "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    monkeypatch.setenv("KILL_AT", moment)
    assert ptft(*NET, "hydra.run.dir=cut").code == 143
    done = ptft("resume=cut", "trusted=[tests.helpers.self_killing]")
    assert done.code == 0, done.text
    for name in ("last.pt", "best.pt"):
        one, other = (checkpoint_file.read(tmp_path / run / "checkpoints" / name)[0] for run in ("whole", "cut"))
        assert all(torch.equal(value, other["weights"][key]) for key, value in one["weights"].items()), name
    one, other = (
        checkpoint_file.read(tmp_path / run / "checkpoints" / "last.pt")[0]["training"] for run in ("whole", "cut")
    )
    assert one["average"]["count"] == other["average"]["count"] == 4
    assert all(torch.equal(v, other["average"]["weights"][k]) for k, v in one["average"]["weights"].items())
    assert any("running_mean" in name for name in one["average"]["weights"]), "batch statistics are averaged too"


@pytest.mark.parametrize("other", ["train.ema=0.9", "train.patience=3", "train.minutes=1"])
def test_what_does_not_go_with_it_is_refused_by_name(ptft, tmp_path, other):
    result = ptft("stage=pretrain", "train.average_last=3", other, *SMALL)
    refused(
        result, 2, "train.average_last=3", other, "set one of them" if "minutes" not in other else "epochs or steps"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["1", "0", "2.5", "many"])
def test_other_values_are_refused(ptft, value):
    refused(ptft("stage=pretrain", f"train.average_last={value}"), 2, f"train.average_last={value}", "at least 2")
