"""Rotation: which turn is which, and images that can't be turned."""

import pytest
import torch
from torch import nn

from ptft.core import Backbone, Features, Spec
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.rotation import Rotation


class Corners(Backbone):
    """The brightness of the four corners."""

    width = 4

    def prepare(self, raw):
        return raw / 255

    def forward(self, x, mask=None):
        return Features(torch.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, 0, -1, -1], x[:, 0, 0, -1]], 1).unsqueeze(1))

    def layers(self):
        return [[nn.Identity()]]


def test_each_turn_is_a_quarter_counter_clockwise():
    """A head that reads where the bright corner went knows every turn."""
    objective = Rotation(Corners(), Spec("image", {"size": [6, 6], "channels": 1}))
    with torch.no_grad():
        objective.head.weight.copy_(50 * torch.eye(4))
    images = torch.zeros(5, 1, 6, 6, dtype=torch.uint8)
    images[:, :, 0, 0] = 255
    step = objective.train()({"input": images})
    found = objective.metrics({"count": step.count, **step.sums})
    assert found == {"rotation_accuracy": 1.0}
    assert float(step.total.detach()) / int(step.count) == pytest.approx(0, abs=1e-6)
    assert int(step.count) == 5


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ConfigError, match=r"objective=rotation.*dataset\.size=\[6, 8\]"):
        Rotation(Corners(), Spec("image", {"size": [6, 8], "channels": 1}))
