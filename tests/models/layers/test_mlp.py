"""Projectors and predictors: their layers, and that what BatchNorm undoes is not learned."""

import torch
from torch import nn

from ptft.models.layers.mlp import mlp


def kinds(head):
    return [type(part).__name__ for part in head]


def test_the_layers_are_those_of_the_papers():
    assert kinds(mlp([8, 16, 4])) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    three = mlp([8, 16, 16, 4], norm=False, activation=nn.GELU)
    assert kinds(three) == ["Linear", "GELU", "Linear", "GELU", "Linear"]
    assert kinds(mlp([8, 16, 4], last_norm=True)) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]


def test_only_layers_without_a_norm_behind_them_have_a_bias():
    head = mlp([8, 16, 4])
    assert [head[0].bias is None, head[3].bias is None] == [True, False]
    assert mlp([8, 4])(torch.zeros(1, 8)).shape == (1, 4)
