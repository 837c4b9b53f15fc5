"""The loop, on a small objective of its own: gradients, checks before a step, averages, what is said and saved."""

import copy
import dataclasses
import math
import random
from functools import partial

import numpy as np
import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.loader import Loader
from ptft.errors import NotFiniteError
from ptft.loggers.logger import Logger
from ptft.optim.averaging import Ema
from ptft.optim.schedules import Cosine
from ptft.train.loop import evaluate
from ptft.train.state import Budget, Every
from tests.conftest import ROOT, SMALL, refused, rows
from tests.helpers.autoencoder import LR, MOMENTUM, Denoise, Vectors, train, training, vectors, weights

TINY = (*SMALL, "dataset.held_out=200")


def close(a, b, **tolerance):
    torch.testing.assert_close(a, b, **tolerance)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def by_hand(t, steps, clip=None):
    """Plain descent on the mean loss, from the weights of `t`: the weights after it, (total, count) of every step."""
    objective, sums = copy.deepcopy(t.objective), []
    optimizer = torch.optim.SGD(objective.parameters(), LR, MOMENTUM)
    batches = [batch for epoch in range(steps) for batch in t.loader.epoch(epoch)]
    for batch in batches[:steps]:
        step = objective(batch)
        optimizer.zero_grad()
        (step.total / step.count).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
        sums.append((float(step.total.detach()), int(step.count)))
    return objective.state_dict(), sums


def mean(sums):
    totals, counts = zip(*sums, strict=True)
    return sum(totals) / sum(counts)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_it_is_plain_descent_on_the_mean_loss(clip):
    t = training(clip=clip)
    expected, _ = by_hand(t, 10, clip)
    unclipped, _ = by_hand(t, 10)
    train(t)
    close(weights(t), expected, rtol=1e-6, atol=1e-7)
    assert clip is None or not torch.allclose(unclipped["decoder.weight"], expected["decoder.weight"], rtol=1e-3)


def test_an_objective_without_labels_learns(tmp_path):
    train(training(budget=Budget(epochs=40), every=Every(10, 20, 50)), tmp_path)
    losses = [row["loss"] for row in rows(tmp_path) if row["split"] == "val"]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("parts", [4, 3, 16])
def test_cutting_a_batch_into_parts_changes_nothing(tmp_path, parts):
    """Parts differ in their counts, and the last batch of an epoch has only two examples."""
    results = []
    for accumulate in (1, parts):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        t = training(accumulate=accumulate, clip=0.3)
        train(t, folder)
        results.append((weights(t), [row["loss"] for row in rows(folder)], t.objective.advanced, t.progress.samples))
    close(results[1], results[0], rtol=1e-10, atol=1e-12)


def test_the_objective_advances_once_a_step():
    t = training(accumulate=4)
    train(t)
    assert t.objective.advanced == [(step, 10) for step in range(1, 11)]


def test_rows_are_complete_and_true(tmp_path):
    t = training(schedule=Cosine())
    train(t, tmp_path)
    found = rows(tmp_path)
    logs, evaluations = ([row for row in found if row["split"] == split] for split in ("train", "val"))
    common = {"step", "epoch", "split", "loss", "mae", "seconds"}
    assert all(row.keys() == common | {"lr"} for row in logs)
    assert all(row.keys() == common for row in evaluations)
    assert [(row["step"], row["epoch"]) for row in logs] == [(3, 0), (6, 1), (9, 2), (10, 2)]
    assert [(row["step"], row["epoch"]) for row in evaluations] == [(4, 1), (8, 2), (10, 2)]
    rates = [LR * (1 + math.cos(math.pi * (row["step"] - 1) / 10)) / 2 for row in logs]
    close([row["lr"] for row in logs], rates)
    times = [row["seconds"] for row in found]
    assert times == sorted(times)
    assert 0 < t.progress.seconds < 10
    assert (t.progress.samples, t.progress.epoch, t.progress.batch) == (2 * 50 + 32, 2, 2)
    with torch.no_grad():
        measured = [t.objective(batch) for batch in t.val.epoch()]
    close(evaluations[-1]["loss"], mean([(float(step.total), int(step.count)) for step in measured]))


def test_training_losses_are_means_since_the_last_row(tmp_path):
    t = training()
    _, sums = by_hand(t, 10)
    told = []

    class Listening(Logger):
        def evaluated(self, train, row, best):
            told.append(train["loss"])

    train(t, tmp_path, Listening())
    logged = [row["loss"] for row in rows(tmp_path) if row["split"] == "train"]
    close(logged, [mean(sums[a:b]) for a, b in [(0, 3), (3, 6), (6, 9), (9, 10)]], rtol=1e-5, atol=0)
    close(told, [mean(sums[a:b]) for a, b in [(0, 4), (4, 8), (8, 10)]], rtol=1e-5, atol=0)


def test_evaluating_draws_no_random_number():
    ended = []
    for evaluations in (1, 100):
        random.seed(0)
        np.random.seed(0)
        t = training(partial(Denoise, noise=0.5), every=Every(3, evaluations, 100))
        train(t)
        assert t.objective.training
        ended.append((weights(t), torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()))
    assert same(ended[0][0], ended[1][0])
    assert torch.equal(ended[0][1], ended[1][1])
    assert ended[0][2:] == ended[1][2:]


def test_evaluating_changes_no_run_of_the_command(ptft, tmp_path):
    """Random views, mixtures and dropout are on, so that each of them would be noticed."""
    noisy = ["dataset.views.rotate=10", "dataset.views.erase=0.5", "objective.dropout=0.2", "objective.mixup=0.3"]
    ended = []
    for every in (3, 20):
        done = ptft("stage=pretrain", *TINY, *noisy, f"train.every.evaluate={every}", f"hydra.run.dir=run{every}")
        assert done.code == 0, done.text
        ended.append(checkpoint_file.read(tmp_path / f"run{every}" / "checkpoints" / "last.pt")[0])
    assert same(ended[0]["weights"], ended[1]["weights"])
    assert torch.equal(ended[0]["training"]["rng"]["torch"], ended[1]["training"]["rng"]["torch"])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_that_is_not_finite_ends_the_run_before_the_step(accumulate):
    """Row 14. One value of one example is infinite; the weights are those of the steps before its batch."""
    values = vectors(50, seed=2)
    whole = Loader(Vectors(values), 16, shuffle=True)
    poisoned = values.clone()
    poisoned[int(list(whole.epoch())[2]["index"][3]), 0] = torch.inf  # read in step 3
    t = training(loader=Loader(Vectors(poisoned), 16, shuffle=True), accumulate=accumulate)
    with pytest.raises(NotFiniteError, match=r"at step 3, at a learning rate of 0\.1; lower optimizer\.lr"):
        train(t)
    good = training(loader=whole, accumulate=accumulate, budget=Budget(steps=2))
    train(good)
    assert same(weights(t), weights(good))
    assert t.progress.step == 2


class Offset(Denoise):
    """A loss with a summand that has no gradient; in step 6 it is infinite."""

    def forward(self, batch):
        step = super().forward(batch)
        offset = math.inf if self.training and len(self.advanced) == 5 else 0
        return dataclasses.replace(step, total=step.total + offset)


def test_a_loss_that_is_not_finite_is_noticed_although_its_gradient_is():
    t = training(Offset)
    with pytest.raises(NotFiniteError, match="at step 6"):
        train(t)
    good = training(budget=Budget(steps=5))
    train(good)
    assert same(weights(t), weights(good))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_ends_the_run_before_the_step(clip, bad):
    """Row 15. The loss stays finite."""
    t = training(clip=clip)
    parameter = t.objective.decoder.weight
    parameter.register_hook(lambda gradient: gradient.fill_(bad) if t.progress.step == 5 else gradient)
    with pytest.raises(NotFiniteError, match="at step 6"):
        train(t)
    good = training(clip=clip, budget=Budget(steps=5))
    train(good)
    assert same(weights(t), weights(good))


def test_row_15_through_the_command(ptft, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    own = [
        "objective._target_=tests.helpers.autoencoder.Overflow",
        "trusted=[tests.helpers.autoencoder]",
        "train.every.save=5",
    ]
    result = ptft("stage=pretrain", *TINY, *own, "train.clip=null", "hydra.run.dir=run")
    refused(result, 6, "gradient is not finite at step 8", "optimizer.lr")
    content, _ = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")
    assert content["progress"]["step"] == 5
    assert all(value.isfinite().all() for value in content["weights"].values())


def test_scaling_the_loss_changes_nothing_and_skips_what_overflows():
    """With float16's loss scaling a gradient that overflows costs one step, and a smaller scale follows."""
    plain, scaled = (training(clip=0.3, scaler=scaler) for scaler in (None, torch.amp.GradScaler("cpu")))
    train(plain)
    train(scaled)
    close(weights(scaled), weights(plain))
    t = training(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10), every=Every(1, 4, 1))
    parameter = t.objective.decoder.weight
    parameter.register_hook(lambda gradient: gradient.fill_(torch.inf) if t.progress.step == 5 else gradient)
    seen = []

    class Watching(Logger):
        def step(self, step):
            seen.append((weights(t), t.scaler.get_scale()))

    train(t, None, Watching())
    assert same(seen[5][0], seen[4][0])
    assert not same(seen[6][0], seen[5][0])
    assert [scale for _, scale in seen[3:7]] == [2.0**10, 2.0**10, 2.0**9, 2.0**9]


def test_averaged_weights_are_evaluated_and_saved(tmp_path):
    t = training()
    t.ema = Ema(t.objective, 0.9)
    expected, live = copy.deepcopy(t.objective), copy.deepcopy(t.objective)
    average = Ema(expected, 0.9)

    class Watching(Logger):
        def step(self, step):
            live.load_state_dict(t.objective.state_dict())
            average.update(live)

    train(t, tmp_path, Watching())
    expected.load_state_dict(average.weights)
    assert same(t.weights(), expected.state_dict())
    assert same(weights(t), live.state_dict()), "training goes on from its own weights"
    metrics = [evaluate(objective, t.val, t.autocast)[0]["loss"] for objective in (expected, live)]
    assert rows(tmp_path)[-1]["loss"] == metrics[0] != metrics[1]


def test_averaged_weights_are_the_result_of_a_run(ptft, tmp_path):
    done = ptft("stage=pretrain", *TINY, "train.ema=0.9", "hydra.run.dir=run")
    assert done.code == 0, done.text
    last, _ = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")
    best, _ = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["progress"]["step"] == 20, "of an average that still improves"
    assert same(best["weights"], last["weights"])
    assert same(last["weights"], last["training"]["ema"]["weights"])
    assert not same(last["weights"], last["training"]["raw_weights"])
