"""The survey's network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN


def grey(side: int) -> Spec:
    return Spec("image", {"size": [side, side], "channels": 1, "fit": "none"}, mean=(0.1,), std=(0.3,))


def test_parameters_are_those_of_the_survey() -> None:
    model = CNN(grey(28))
    assert model.dense.in_features == 9216
    with_head = nn.ModuleList([model, nn.Linear(model.width, 10)])
    assert sum(parameter.numel() for parameter in with_head.parameters()) == 1_199_882


def as_tutorials_write_it() -> nn.Module:
    parts = {"conv1": nn.Conv2d(1, 32, 3), "conv2": nn.Conv2d(32, 64, 3), "linear": nn.Linear(9216, 128)}
    return nn.ModuleDict(parts).double()


def forward(parts: nn.Module, x: Tensor) -> Tensor:
    x = F.max_pool2d(F.relu(parts["conv2"](F.relu(parts["conv1"](x)))), 2)
    return F.relu(parts["linear"](x.flatten(1)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_computes_what_the_network_of_the_tutorials_does_with_its_weights(layout) -> None:
    other, model = as_tutorials_write_it(), CNN(grey(28)).double()
    weights, resized = model.adapt(dict(other.state_dict()))
    assert resized == []
    model.load_state_dict(weights)
    x = torch.randn(4, 1, 28, 28, dtype=torch.double)
    ours = model.to(memory_format=layout)
    assert torch.allclose(ours.pool(ours(x.to(memory_format=layout))), forward(other, x), atol=1e-12)
    assert not torch.allclose(ours.dense.weight, other["linear"].weight)


def test_its_own_weights_are_left_as_they_are() -> None:
    model = CNN(grey(28))
    weights = dict(model.state_dict())
    assert model.adapt(weights) == (weights, [])


def test_the_smallest_image_works_and_a_smaller_one_is_refused() -> None:
    assert CNN(grey(6))(torch.randn(2, 1, 6, 6)).tokens.shape == (2, 1, 128)
    with pytest.raises(ConfigError, match=r"dataset\.size=\[5, 5\].*6"):
        CNN(grey(5))


def test_bad_widths_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.channels"):
        CNN(grey(28), channels=[32, 64, 128])
