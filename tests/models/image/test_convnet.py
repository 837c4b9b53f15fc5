"""The small convolutional network: its size, and the images it takes."""

import pytest
import torch

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.convnet import Convnet
from ptft.objectives.self_supervised.dino import DINO


def build(side):
    return Convnet(Spec("image", {"size": [side, side], "channels": 1, "fit": "none"}))


def test_it_has_some_400_thousand_parameters_and_all_are_in_a_layer():
    backbone = build(28)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == 9 * (32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (32 + 64 + 128 + 256)
    assert count == sum(p.numel() for layer in backbone.layers() for module in layer for p in module.parameters())
    assert len(backbone.layers()) == 4


@pytest.mark.parametrize(("side", "cells"), [(8, 1), (28, 9), (33, 16), (64, 64)])
def test_images_of_many_sizes_become_cells(side, cells):
    backbone = build(side).eval()
    features = backbone(torch.randn(2, 1, side, side))
    assert features.tokens.shape == (2, cells, 256)
    torch.testing.assert_close(backbone.pool(features), features.tokens.mean(1))


def test_what_can_not_work_is_refused_by_its_key():
    with pytest.raises(ConfigError, match=r"dataset\.size=\[7, 7\].*model=convnet: at least 8"):
        build(7)
    with pytest.raises(ConfigError, match=r"model\.channels=\[8, 0\]"):
        Convnet(Spec("image", {"size": [28, 28], "channels": 1}), channels=[8, 0])


def test_it_takes_smaller_images_than_it_was_built_for_so_dinos_small_crops_are_small():
    backbone = build(28)
    assert [backbone.takes(size) for size in ((28, 28), (14, 14), (8, 40), (7, 14))] == [True, True, True, False]
    objective = DINO(backbone, Spec("image", {"size": [28, 28], "channels": 1, "fit": "none"}), prototypes=8)
    assert objective.local_views.size == (14, 14)
