"""The numbers of a run that are computed and not measured."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.models.hub.torchvision import TorchvisionBackbone
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.self_supervised.simclr import SimCLR
from ptft.objectives.supervised.classify import Classify
from ptft.train.flops import flops_per_example

SPEC = Spec("image", {"size": [28, 28], "channels": 1, "fit": "none"}, classes=tuple("0123456789"), mean=(0.5,))


def run_of(backbone):
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    train = MemoryExamples(images, torch.zeros(2, dtype=torch.long))
    return Classify(backbone, SPEC), train, torch.device("cpu")


def test_the_surveys_network_by_hand():
    convolutions = 2 * (32 * 26 * 26 * 9 + 64 * 24 * 24 * 9 * 32)
    assert flops_per_example(*run_of(CNN(SPEC))) == 3 * (convolutions + 2 * (9216 * 128 + 128 * 10))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_it_agrees_with_torchs_counter(name):
    run = run_of(TorchvisionBackbone(SPEC, name))
    objective, train, _ = run
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        objective.eval()(train.take(torch.zeros(1, dtype=torch.long)))
    assert flops_per_example(*run) == 3 * counter.get_total_flops()


def test_attention_counts():
    width, depth, tokens = 16, 2, 49
    block = 2 * tokens * (12 * width * width) + 4 * tokens * tokens * width
    outside = 2 * tokens * 16 * width + 2 * width * 10
    net = VisionTransformer(SPEC, patch=4, width=width, depth=depth, heads=2)
    assert flops_per_example(*run_of(net)) == 3 * (depth * block + outside)


def test_a_bank_that_only_measures_is_not_counted():
    """SimCLR looks at two views of an example: twice its backbone and projector, whatever the evaluation computes."""
    backbone = CNN(SPEC)
    _, train, device = run_of(backbone)
    objective = SimCLR(backbone, SPEC, reference=train)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        objective.projections(torch.zeros(1, 1, 28, 28))
    assert objective.eval()(train.take(torch.tensor([0]))).sums.keys() & {"neighbours"}
    assert flops_per_example(objective, train, device) == pytest.approx(3 * counter.get_total_flops(), rel=0.01)
