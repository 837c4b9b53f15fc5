"""BYOL: its loss, and a target that only follows."""

import numpy as np
import torch

from ptft.objectives.self_supervised.byol import distance
from ptft.objectives.self_supervised.momentum_encoder import cosine_momentum
from ptft.train.loop import train_step
from ptft.train.watch import FiniteCheck
from tests.helpers.self_supervised import built


def test_the_loss_is_the_squared_distance_of_directions():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    directions = [values.numpy() / np.linalg.norm(values.numpy(), axis=1, keepdims=True) for values in (one, other)]
    np.testing.assert_allclose(distance(one, other), ((directions[0] - directions[1]) ** 2).sum(), rtol=1e-5)


def test_the_target_gets_no_gradient_is_not_optimised_and_follows_the_students():
    run = built("byol", "train.steps=10")
    t, objective = run.training, run.objective
    batch = next(t.loader.epoch())
    objective.train()(batch).total.backward()
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    learning = [*objective.backbone.parameters(), *objective.projector.parameters(), *objective.predictor.parameters()]
    assert all(parameter.grad is not None for parameter in learning)
    optimised = {name for group in t.optimizer.param_groups for name in group["names"]}
    assert optimised
    assert not [name for name in optimised if name.startswith("teacher")]
    objective.zero_grad()
    before = {name: value.clone() for name, value in objective.teacher.named_parameters()}
    train_step(t, batch, FiniteCheck(t))
    keep = cosine_momentum(0.99, 1, 10)
    students = dict(torch.nn.ModuleDict(objective.students()).named_parameters())
    for name, value in objective.teacher.named_parameters():
        torch.testing.assert_close(value, keep * before[name] + (1 - keep) * students[name])


def test_the_target_starts_at_the_weights_that_a_run_starts_from(ptft, tmp_path):
    small = ("dataset=digits", "dataset.size=16", "dataset.limit=64", "model=convnet", "model.channels=[4,8]")
    assert ptft("stage=pretrain", *small, "train.steps=3", f"hydra.run.dir={tmp_path / 'first'}").code == 0
    run = built("byol", "model.channels=[4,8]", f"ckpt={tmp_path / 'first'}", "train.steps=2")
    theirs = run.objective.teacher["backbone"].state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in run.objective.backbone.state_dict().items())
