"""The survey's network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.cnn import CNN


def grey(side: int) -> Spec:
    return Spec("image", {"size": [side, side], "channels": 1, "fit": "none"}, mean=(0.1,), std=(0.3,))


def test_parameters_are_those_of_the_survey() -> None:
    model = CNN(grey(28))
    assert model.linear.in_features == 9216
    with_head = nn.ModuleList([model, nn.Linear(model.width, 10)])
    assert sum(parameter.numel() for parameter in with_head.parameters()) == 1_199_882


def test_relu_after_the_pooling_changes_nothing() -> None:
    model = CNN(grey(28))
    x = torch.randn(4, 1, 28, 28)

    def as_written(x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(model.conv2(F.relu(model.conv1(x)))), 2)
        return F.relu(model.linear(x.flatten(1)))

    assert torch.equal(model.pool(model(x)), as_written(x))


def test_the_smallest_image_works_and_a_smaller_one_is_refused() -> None:
    assert CNN(grey(6))(torch.randn(2, 1, 6, 6)).tokens.shape == (2, 1, 128)
    with pytest.raises(ConfigError, match=r"dataset\.size=\[5, 5\].*6"):
        CNN(grey(5))


def test_bad_widths_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.channels"):
        CNN(grey(28), channels=[32, 64, 128])
