"""The fast network of CIFAR-10: whitening, identity, rates of its biases, and that its recipe learns."""

import pytest
import torch
from torch.nn import functional as F

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Spec
from ptft.data.image import cifar
from ptft.errors import ConfigError
from ptft.finetune.phases import Phases
from ptft.models.image.airbench import Airbench
from ptft.objectives.supervised.classify import Classify
from ptft.optim.param_groups import parameter_groups
from tests.conftest import rows, summary


def spec(size=32, channels=3):
    return Spec("image", {"size": [size, size], "channels": channels, "fit": "none"}, classes=("a", "b"), mean=(0.5,))


def correlated(count, channels=3, size=12):
    """Smooth images, whose neighbouring pixels are alike."""
    noise = torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 3, stride=1, padding=1) + 0.3 * noise.mean(1, keepdim=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_white_behind_the_first_convolution(channels):
    backbone, images = Airbench(spec(12, channels), widths=(8, 8, 8)), correlated(700, channels)
    before = backbone.whiten.bias.clone()
    with torch.no_grad():
        backbone.calibrate(images)
        out = F.conv2d(images, backbone.whiten.weight).transpose(0, 1).flatten(1)
    half = len(out) // 2
    assert half == 4 * channels
    torch.testing.assert_close(out[half:], -out[:half])
    # The ridge leaves directions of little variance a little below 1.
    torch.testing.assert_close(out[:half] @ out[:half].T / out.shape[1], torch.eye(half), atol=0.06, rtol=0)
    assert torch.equal(backbone.whiten.bias, before)


def test_convolutions_begin_as_the_identity():
    backbone = Airbench(spec(), widths=(30, 40, 20))
    x = torch.randn(2, 24, 6, 6)
    torch.testing.assert_close(backbone.groups[0].conv1(x)[:, :24], x)
    y = torch.randn(2, 40, 6, 6)
    torch.testing.assert_close(backbone.groups[2].conv1(y), y[:, :20])


@pytest.mark.parametrize(("size", "cells"), [(9, 1), (28, 9), (32, 9), (64, 49)])
def test_features_are_cells_and_their_maximum(size, cells):
    backbone = Airbench(spec(size), widths=(8, 8, 16)).eval()
    features = backbone(torch.randn(2, 3, size, size))
    assert features.tokens.shape == (2, cells, 16)
    torch.testing.assert_close(backbone.pool(features), features.tokens.max(1).values / 9)


def test_it_has_two_million_parameters():
    assert sum(p.numel() for p in Airbench(spec()).parameters()) == 1_970_232


def test_too_small_images_and_odd_widths_are_refused():
    with pytest.raises(ConfigError, match=r"dataset\.size"):
        Airbench(spec(8))
    with pytest.raises(ConfigError, match=r"model\.widths"):
        Airbench(spec(), widths=(8, 8))


def test_biases_learn_at_their_own_rate_and_scales_not_at_all():
    objective = Classify(Airbench(spec(), bias_lr_scale=64.0), spec())
    groups = parameter_groups(objective, Phases(objective).scales, lr=0.5, weight_decay=0.1)
    rates = {name: (g["lr"], g["weight_decay"]) for g in groups for name in g["names"]}
    assert rates["backbone.whiten.bias"] == rates["backbone.groups.1.norm2.bias"] == (32.0, 0.0)
    assert rates["backbone.groups.0.conv1.weight"] == rates["head.weight"] == (0.5, 0.1)
    assert rates["head.bias"] == (0.5, 0.0)
    assert "backbone.whiten.weight" not in rates
    assert "backbone.groups.0.norm1.weight" not in rates


def stripes(root, split, count):
    """Two of CIFAR-10's classes as stripes, upright and lying, of any phase, under noise."""
    generator = torch.Generator().manual_seed(len(split))
    phase = torch.rand(count, 1, 1, generator=generator) * 6.3
    upright = torch.sin(phase + 0.8 * torch.arange(32.0)).expand(-1, 32, -1)
    labels = torch.arange(count) % 2
    image = torch.where(labels.view(-1, 1, 1) == 0, upright, upright.transpose(1, 2)).unsqueeze(1).expand(-1, 3, -1, -1)
    noisy = 128 + 40 * image + 40 * torch.randn(image.shape, generator=generator)
    cifar.write("cifar10", root / cifar.TEN.folder, split, noisy.clamp(0, 255).to(torch.uint8), labels)


FAST = ["experiment=cifar10_fast", "dataset.classes=[airplane,automobile]", "dataset.download=false", "device=cpu"]


def test_the_recipe_learns_and_whitens_only_a_fresh_start(ptft, tmp_path):
    for split, count in (("train", 250), ("test", 60)):
        stripes(tmp_path / "data", split, count)
    small = ["model.widths=[16,32,32]", "train.batch_size=50", "precision=fp32", f"dataset.root={tmp_path / 'data'}"]
    done = ptft("stage=pretrain", *FAST, *small, "train.epochs=4", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "calibrated with 250 training examples" in done.out
    assert summary(tmp_path / "run")["metrics"]["test"]["accuracy"] >= 0.95
    assert rows(tmp_path / "run")[0]["loss"] < 0.75, "it starts near log 2 for two classes, as the logits are small"

    def whitening(folder):
        return checkpoint_file.read(tmp_path / folder / "checkpoints" / "last.pt")[0]["weights"][
            "backbone.whiten.weight"
        ]

    stripes(tmp_path / "data", "train", 200)  # other images, whose whitening would be another
    again = ptft("stage=finetune", *FAST, *small, "ckpt=run", "train.steps=1", "hydra.run.dir=again")
    assert again.code == 0, again.text
    assert "calibrated" not in again.out
    assert torch.equal(whitening("again"), whitening("run"))
