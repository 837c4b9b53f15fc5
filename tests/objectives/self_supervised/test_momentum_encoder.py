"""The momentum teacher: it moves as the formula says, learns nothing, and is saved."""

import math

import pytest
import torch
from torch import nn

from ptft.objectives.self_supervised.momentum_encoder import Teacher, cosine_momentum


def students():
    torch.manual_seed(0)
    return {"backbone": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "projector": nn.Linear(4, 2)}


def shift(modules, by):
    with torch.no_grad():
        for module in modules.values():
            for parameter in module.parameters():
                parameter += by


def test_the_momentum_rises_from_its_base_to_one_as_a_cosine():
    assert cosine_momentum(0.9, 0, 100) == pytest.approx(0.9)
    assert cosine_momentum(0.9, 50, 100) == pytest.approx(0.95)
    assert cosine_momentum(0.9, 25, 100) == pytest.approx(1 - 0.1 * (1 + math.sqrt(0.5)) / 2)
    assert cosine_momentum(0.9, 100, 100) == cosine_momentum(0.9, 130, 100) == 1


def test_it_follows_as_the_formula_says():
    learning = students()
    teacher = Teacher(learning, 0.9)
    start = [parameter.clone() for parameter in teacher.parameters()]
    keep = []
    for step in (1, 2):
        shift(learning, 1.0)
        teacher.follow(learning, step, 4)
        keep.append(1 - (1 - 0.9) * (math.cos(math.pi * step / 4) + 1) / 2)
    moved = (1 - keep[0]) * keep[1] + 2 * (1 - keep[1])
    for before, after in zip(start, teacher.parameters(), strict=True):
        torch.testing.assert_close(after, before + moved)


def test_it_gets_no_gradient_and_is_in_the_state():
    learning = students()
    teacher = Teacher(learning, 0.9)
    out = teacher["projector"](teacher["backbone"](torch.randn(5, 3)))
    assert not out.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert {"backbone.0.weight", "backbone.1.running_mean", "projector.bias"} <= teacher.state_dict().keys()


def test_it_begins_where_the_students_are_and_shares_nothing_with_them():
    learning = students()
    teacher = Teacher(learning, 0.9)
    shift(learning, 1.0)
    learning["backbone"](torch.randn(8, 3))
    assert not torch.equal(teacher["projector"].bias, learning["projector"].bias)
    teacher.begin(learning)
    for name, module in learning.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, teacher[name].state_dict()[key])
    shift(learning, 1.0)
    assert not torch.equal(teacher["projector"].bias, learning["projector"].bias)
