"""Activation checkpointing: the same training, to the last bit, from less memory."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Features, Spec
from ptft.models.hub.torchvision import TorchvisionBackbone
from ptft.models.image.base import ImageBackbone
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.supervised.classify import Classify
from ptft.train.activation_checkpointing import checkpoint_activations
from tests.conftest import SMALL, refused, summary

SPEC = Spec("image", {"size": [16, 16], "channels": 1, "fit": "none"}, classes=("a", "b", "c"), mean=(0.5,), std=(0.5,))


class Stack(ImageBackbone):
    """Blocks with everything that a second pass could spoil: batch norms of both kinds, dropout, its own numbers."""

    def __init__(self, spec):
        super().__init__(spec)
        self.width = 8
        sizes = [(1, 8), (8, 8), (8, 8)]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after, momentum=None if before == 1 else 0.3),
                nn.GELU(),
                nn.Dropout(0.3),
            )
            for before, after in sizes
        )

    def forward(self, x, mask=None):
        for block in self.blocks:
            x = block(x)
        return Features(x.flatten(2).transpose(1, 2))

    def layers(self):
        return [[block] for block in self.blocks]


def vit(spec):
    return VisionTransformer(spec, width=16, depth=3, heads=2, dropout=0.2, drop_path=0.2)


def resnet(spec):
    return TorchvisionBackbone(spec, "resnet18")


MAKERS = {"stack": Stack, "vit": vit, "resnet": resnet}


def objective(make, recomputed):
    torch.manual_seed(0)
    built = Classify(make(SPEC), SPEC, dropout=0.1)
    if recomputed:
        assert checkpoint_activations(built.backbone) >= 3
    return built


def batch():
    images = torch.randint(256, (12, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return {"input": images, "label": torch.arange(12) % 3}


def step(built):
    """Gradients after two backward passes (the second sees what the first did to the buffers), and bytes kept."""
    kept = []

    def pack(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    torch.manual_seed(2)
    for _ in range(2):
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            total = built(batch()).total
        total.backward()
    return {name: parameter.grad for name, parameter in built.named_parameters()}, sum(kept), torch.rand(1)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_statistics_and_random_numbers_are_those_without_it(name):
    plain, recomputed = (objective(MAKERS[name], recomputed) for recomputed in (False, True))
    (expected, much, after), (found, less, after_too) = step(plain), step(recomputed)
    assert expected.keys() == found.keys()
    assert not [name for name in expected if not torch.equal(expected[name], found[name])]
    assert plain.state_dict().keys() == recomputed.state_dict().keys()
    assert not [
        key for key, value in plain.state_dict().items() if not torch.equal(value, recomputed.state_dict()[key])
    ]
    assert torch.equal(after, after_too)
    assert less < 0.6 * much


def test_batch_norms_are_as_they_were_after_it():
    built = objective(Stack, True)
    step(built)
    norms = [module for module in built.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(norm.momentum, int(norm.num_batches_tracked)) for norm in norms] == [(None, 2), (0.3, 2), (0.3, 2)]


def test_a_copy_computes_with_its_own_weights():
    built = objective(Stack, True).eval()
    other = copy.deepcopy(built)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert bool(other.logits(built.backbone.prepare(batch()["input"])).eq(0).all())
    assert not bool(built.logits(built.backbone.prepare(batch()["input"])).eq(0).any())


def test_what_has_no_parts_is_left_alone():
    assert checkpoint_activations(CNN(SPEC)) == 0


def test_a_run_ends_with_the_same_weights_and_says_that_it_does_it(ptft, tmp_path):
    model = ["model=vit_tiny", "model.width=16", "model.depth=2", "model.heads=2", "model.dropout=0.1"]
    small = [text for text in SMALL if not text.startswith("model")]
    weights = []
    for number, flag in enumerate(("false", "true")):
        done = ptft(
            "stage=pretrain", *small, *model, "train.steps=3", f"train.checkpoint_activations={flag}",
            f"hydra.run.dir=run{number}", "precision=fp32", "device=cpu",
        )  # fmt: skip
        assert done.code == 0, done.text
        assert ("2 blocks" in done.out) == (flag == "true")
        weights.append(checkpoint_file.read(tmp_path / f"run{number}" / "checkpoints" / "last.pt")[0]["weights"])
    assert not [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])]
    assert summary(tmp_path / "run1")["steps"] == 3


def test_it_can_not_be_compiled_or_captured(ptft):
    on = "train.checkpoint_activations=true"
    for other in ("train.compile=true", "train.cuda_graph=true"):
        refused(ptft("stage=pretrain", on, other), 2, other.split("=")[0], "train.checkpoint_activations")
