"""A step as a CUDA graph. Recording needs a GPU; what surrounds it does not."""

from functools import partial

import pytest
import torch
from torch import nn

from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.finetune.phases import Phases
from ptft.models.image.cnn import CNN
from ptft.objectives.supervised.classify import Classify
from ptft.optim.muon import Muon
from ptft.optim.param_groups import parameter_groups, set_lr
from ptft.optim.schedules import Linear
from ptft.runtime.precision import place, ruled
from ptft.train.cuda_graph import StepGraph, capturable, live_in_tensors
from ptft.train.loop import gradients
from ptft.train.state import Budget, Every, Training
from tests.conftest import SMALL, refused
from tests.helpers.autoencoder import train, weights

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU = torch.device("cpu")


def test_it_needs_a_gpu(ptft):
    refused(ptft("stage=pretrain", *SMALL, "device=cpu", "train.cuda_graph=true"), 2, "train.cuda_graph", "device=cuda")


def test_loss_scaling_can_not_be_recorded(ptft):
    refused(ptft("stage=pretrain", "precision=fp16", "train.cuda_graph=true"), 2, "train.cuda_graph", "bf16")


def test_an_objective_that_does_not_say_so_is_not_recorded(ptft):
    refused(
        ptft("stage=pretrain", *SMALL, "objective=byol", "train.cuda_graph=true"), 2, "cuda_graph", "objective=byol"
    )


def groups(net):
    found = [{"params": [p], "names": [name]} for name, p in net.named_parameters()]
    return [{**group, "lr": 0.1, "base_lr": 0.1, "lr_scale": 1.0} for group in found]


def test_which_optimizers_can_be_recorded():
    net = nn.Linear(3, 3)
    assert capturable(torch.optim.AdamW(groups(net), 0.1))
    assert not capturable(torch.optim.SGD(groups(net), 0.1))
    assert not capturable(Muon(groups(net)))


def descend(net, optimizer, steps):
    for step in steps:
        set_lr(optimizer, 1 - step / 10)
        net(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("saved_in_tensors", [False, True])
@pytest.mark.parametrize("goes_on_in_tensors", [False, True])
def test_rates_in_tensors_change_nothing_and_are_saved_as_numbers(saved_in_tensors, goes_on_in_tensors):
    nets, optimizers = [], []
    for in_tensors in (False, saved_in_tensors, goes_on_in_tensors):
        torch.manual_seed(0)
        nets.append(nn.Linear(3, 3))
        optimizers.append(torch.optim.AdamW(groups(nets[-1]), 0.1, fused=True))
        if in_tensors:
            live_in_tensors(optimizers[-1], CPU)
    descend(nets[0], optimizers[0], range(6))
    descend(nets[1], optimizers[1], range(3))
    state = optimizers[1].state_dict()
    assert {(type(group["lr"]), group["capturable"]) for group in state["param_groups"]} == {(float, False)}
    nets[2].load_state_dict(nets[1].state_dict())
    optimizers[2].load_state_dict(state)
    descend(nets[2], optimizers[2], range(3, 6))
    assert torch.equal(nets[0].weight, nets[2].weight)
    assert torch.equal(nets[0].bias, nets[2].bias)
    assert isinstance(optimizers[2].param_groups[0]["lr"], torch.Tensor) == goes_on_in_tensors


def recordable(recorded, optimizer, **options):
    """Ten epochs of two full batches and a shorter one, on a GPU."""
    torch.manual_seed(0)
    device = torch.device("cuda")
    spec = Spec("image", {"size": [8, 8], "channels": 1, "fit": "none"}, classes=("a", "b"), mean=(0.5,), std=(0.2,))
    images = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    examples = MemoryExamples(images, torch.arange(40) % 2).to(device)
    task = Classify(CNN(spec), spec, dropout=0.2, views={"shift": 1, "flip": True}).to(device)
    objective = place(task, ruled("fp32", "auto", device))
    t = Training(
        objective=objective,
        optimizer=optimizer(parameter_groups(objective, Phases(objective).scales, lr=0.01, weight_decay=0.1)),
        schedule=Linear(),
        loader=Loader(examples, 16, device=device, shuffle=True),
        val=None,
        budget=Budget(epochs=10),
        every=Every(log=4, evaluate=100, save=100),
        monitor=objective.monitor,
        **options,
    )
    if recorded:
        t.graph = StepGraph(partial(gradients, t), t.optimizer, t.parameters, 16, device)
    return t


def adamw(params):
    return torch.optim.AdamW(params, fused=True)


def sgd(params):
    return torch.optim.SGD(params, momentum=0.9, fused=True)


@GPU
@pytest.mark.parametrize("optimizer", [adamw, sgd, Muon])
@pytest.mark.parametrize("options", [{}, {"clip": 0.1, "accumulate": 2}], ids=["plain", "parts"])
def test_recorded_steps_are_the_steps(optimizer, options):
    plain, recorded = (recordable(flag, optimizer, **options) for flag in (False, True))
    for t in (plain, recorded):
        torch.manual_seed(1)
        train(t)
    assert recorded.graph.graph is not None
    torch.testing.assert_close(weights(recorded), weights(plain), rtol=1e-3, atol=1e-4)
    assert recorded.progress.step == plain.progress.step == 30
