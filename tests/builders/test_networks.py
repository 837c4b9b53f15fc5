"""Networks of the user's own: any module that maps images to features trains, hands over, and is measured again."""

import json
from pathlib import Path

import pytest

from tests.conftest import refused, summary

NETS = """
import torch
from torch import nn


class Vector(nn.Module):
    def __init__(self, channels, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU())
        self.last = nn.Conv2d(width, width, 3, 2)

    def forward(self, x):
        return self.last(self.body(x)).mean((2, 3))


class Tokens(Vector):
    def forward(self, x):
        return self.last(self.body(x)).flatten(2).transpose(1, 2)


class Map(Vector):
    def forward(self, x):
        return self.last(self.body(x))


class Lazy(nn.Module):
    def __init__(self, img_size, in_chans):
        super().__init__()
        self.project, self.pixels = nn.LazyLinear(6), img_size * img_size * in_chans

    def forward(self, x):
        assert x[0].numel() == self.pixels
        return self.project(x.flatten(1))


class Needs(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.depth = depth

    def forward(self, x):
        return x.sum()


class Half(nn.Module):
    def forward(self, x):
        raise ValueError("only on Tuesdays")
"""
RUN = ("stage=pretrain", "train.steps=6", "precision=fp32")
GLYPHS = ("dataset.images=200", "dataset.held_out=60")


@pytest.fixture
def nets():
    """The name of a module in the working folder, and how it is trusted."""
    Path("my_nets.py").write_text(NETS)
    return "my_nets"


@pytest.mark.parametrize("net", ["Vector", "Tokens", "Map", "Lazy"])
def test_any_module_of_images_is_a_model(net, nets, ptft):
    trusted = f"trusted=[{nets}]"
    done = ptft(*RUN, *GLYPHS, f"model._target_={nets}.{net}", trusted, "hydra.run.dir=first")
    assert done.code == 0, done.text
    assert f"  model      {net}, " in done.out
    assert summary(Path("first"))["model"] == net
    typed = ("dataset=digits", "train.steps=4", "finetune.layer_decay=0.7", "train.every.evaluate=2")
    done = ptft("stage=finetune", "ckpt=first", *typed, trusted, "hydra.run.dir=second")
    assert done.code == 0, done.text
    assert "of the backbone" in done.out
    done = ptft("stage=evaluate", "ckpt=second", trusted, "hydra.run.dir=third")
    assert done.code == 0, done.text
    assert summary(Path("third"))["metrics"]["test"] == summary(Path("second"))["metrics"]["test"]


def test_it_gets_its_own_keys_and_none_of_another_model(nets, ptft):
    done = ptft(
        *RUN, *GLYPHS, f"model._target_={nets}.Vector", "model.width=5", f"trusted=[{nets}]", "hydra.run.dir=run"
    )
    assert done.code == 0, done.text
    stored = Path("run/.hydra/config.yaml").read_text()
    assert "channels" not in stored.split("model:")[1].split("dataset:")[0]
    assert json.loads(Path("run/summary.json").read_text())["parameters"] == (9 * 5 + 5) + 10 + (9 * 25 + 5) + 60


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("Needs",), ("Needs", "depth", "model.KEY")),
        (("Needs", "model.depth=2"), ("Needs maps images [2, 1, 28, 28] to []", "[B, D]")),
        (("Half",), ("Half fails on images [2, 1, 28, 28]", "only on Tuesdays")),
        (("Vector", "model.wdith=3"), ("model.wdith", "did you mean width")),
        (("Vector", "dataset=tones", "dataset.count=12", "dataset.held_out=8"), ("reads images", "yields audio")),
        (("Absent",), ("there is no such class", "Absent")),
    ],
    ids=["needs", "no features", "fails", "key", "text", "absent"],
)
def test_what_can_not_be_a_model_is_said(typed, said, nets, ptft):
    data = () if "dataset=tones" in typed else GLYPHS
    refused(ptft(*RUN, *data, f"model._target_={nets}.{typed[0]}", *typed[1:], f"trusted=[{nets}]"), 2, *said)


def test_it_has_to_be_trusted(nets, ptft):
    refused(ptft(*RUN, *GLYPHS, f"model._target_={nets}.Vector"), 2, "refused", "trusted=[package]")


def test_a_backbone_that_is_not_complete_is_told_what_it_lacks(nets, ptft):
    Path(f"{nets}.py").write_text(
        "from ptft.core import Backbone\n\n\nclass Half(Backbone):\n    def prepare(self, raw):\n        return raw\n"
    )
    refused(
        ptft(*RUN, *GLYPHS, f"model._target_={nets}.Half", f"trusted=[{nets}]"), 2, "Backbone", "lacks forward, layers"
    )
