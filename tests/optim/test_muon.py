"""Muon and AdamW behind one optimizer: the same as the two side by side, and one state for both."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ptft.optim.muon import Muon


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    parts = {
        "embed": nn.Embedding(5, 6),
        "conv": nn.Conv1d(6, 6, 3, padding=1),
        "hidden": nn.Linear(6, 8),
        "norm": nn.LayerNorm(8),
        "head": nn.Linear(8, 3),
    }
    return nn.ModuleDict(parts)


def backward(net: nn.ModuleDict) -> None:
    x = net["embed"](torch.arange(5).repeat(4, 1))
    x = net["conv"](x.transpose(1, 2)).transpose(1, 2)
    logits = net["head"](net["norm"](net["hidden"](x).relu()))
    net.zero_grad()
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), (torch.arange(20) % 5).clamp(max=2))
    torch.autograd.backward(loss)


def groups_of(net: nn.Module) -> list[dict[str, Any]]:
    """Weights and the rest, as two groups with different decay; the first holds parameters of both kinds."""
    groups = []
    for decays in (True, False):
        named = [(name, p) for name, p in net.named_parameters() if (p.ndim > 1) == decays]
        names, params = [name for name, _ in named], [parameter for _, parameter in named]
        groups.append({"params": params, "names": names, "lr": 0.01, "weight_decay": 0.1 if decays else 0.0})
    return groups


def run(net: nn.ModuleDict, optimizers: list[torch.optim.Optimizer], steps: int) -> None:
    for _ in range(steps):
        backward(net)
        for optimizer in optimizers:
            optimizer.step()


def assert_equal(left: nn.Module, right: nn.Module) -> None:
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name


def test_equals_the_two_optimizers_side_by_side() -> None:
    one, two = model(), model()
    hidden = two.get_parameter("hidden.weight")
    others = [p for p in two.parameters() if p is not hidden]
    muon = torch.optim.Muon([hidden], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.01,
        betas=(0.9, 0.95),
        fused=True,
    )
    run(one, [Muon(groups_of(one))], steps=5)
    run(two, [muon, adamw], steps=5)
    assert_equal(one, two)


def kept_momentum(net: nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    return {name for name, p in net.named_parameters() if "momentum_buffer" in optimizer.state[p]}


def test_heads_embeddings_and_convolutions_are_left_to_adamw() -> None:
    net = model()
    optimizer = Muon(groups_of(net))
    run(net, [optimizer], steps=1)
    assert kept_momentum(net, optimizer) == {"hidden.weight"}


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("backbone.blocks.0.mlp.0.weight", True),
        ("backbone.layers.1.attention.in_proj_weight", True),
        ("projector.0.weight", True),
        ("backbone.heading.weight", True),
        ("head.weight", False),
        ("lm_head.weight", False),
        ("backbone.positions", False),
        ("backbone.pos_embed", False),
        ("backbone.word_embeddings.weight", False),
        ("backbone.embed_tokens.weight", False),
    ],
)
def test_the_name_tells_a_hidden_matrix(name: str, hidden: bool) -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([{"params": [weight], "names": [name]}])
    weight.grad = torch.eye(3)
    optimizer.step()
    assert ("momentum_buffer" in optimizer.state[weight]) == hidden


def test_every_parameter_keeps_its_name_rate_and_decay() -> None:
    net = model()
    optimizer = Muon(groups_of(net))
    found = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            found[name] = (parameter, group["lr"], group["weight_decay"])
    assert {name: values[0] for name, values in found.items()} == dict(net.named_parameters())
    assert all(rate == 0.01 and decay == (0.1 if p.ndim > 1 else 0.0) for p, rate, decay in found.values())


@pytest.mark.parametrize("resumed", [False, True])
def test_a_changed_rate_reaches_both_parts(resumed: bool) -> None:
    net = model()
    before = copy.deepcopy(net)
    optimizer = Muon(groups_of(net))
    if resumed:
        optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    run(net, [optimizer], steps=2)
    assert_equal(net, before)


def test_zero_grad_reaches_every_parameter() -> None:
    net = model()
    backward(net)
    Muon(groups_of(net)).zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_state_is_plain_data_and_continues_bit_for_bit(tmp_path: Path) -> None:
    net = model()
    optimizer = Muon(groups_of(net))
    run(net, [optimizer], steps=3)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = model()
    again = Muon(groups_of(resumed))
    run(resumed, [again], steps=1)  # has state of its own, which must give way
    resumed.load_state_dict(saved["net"])
    again.load_state_dict(saved["optimizer"])
    run(net, [optimizer], steps=3)
    run(resumed, [again], steps=3)
    assert_equal(net, resumed)


def test_a_fresh_state_continues_differently() -> None:
    net = model()
    run(net, [Muon(groups_of(net))], steps=3)
    resumed = copy.deepcopy(net)
    straight = model()
    run(straight, [Muon(groups_of(straight))], steps=6)
    run(resumed, [Muon(groups_of(resumed))], steps=3)
    assert not torch.equal(straight.get_parameter("hidden.weight"), resumed.get_parameter("hidden.weight"))


@pytest.mark.parametrize("name", ["hidden.weight", "head.weight"])
def test_one_kind_alone_is_enough(name: str) -> None:
    net = model()
    parameter = dict(net.named_parameters())[name]
    before = parameter.detach().clone()
    run(net, [Muon([{"params": [parameter], "names": [name]}])], steps=1)
    assert not torch.equal(parameter, before)


def orthogonalised(g: torch.Tensor, steps: int) -> torch.Tensor:
    """The Newton-Schulz iteration of Jordan et al. 2024, in bfloat16 as there, on a matrix that is not tall."""
    x = g.bfloat16()
    x = x / x.norm()
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.float()


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    parts = {"conv": nn.Conv2d(3, 6, 3), "gelu": nn.GELU(), "flat": nn.Flatten(), "head": nn.Linear(6 * 16, 2)}
    return nn.Sequential(OrderedDict(parts))


def descend(net: nn.Sequential, optimizer: torch.optim.Optimizer, steps: int) -> list[torch.Tensor]:
    """The first filter's gradients, step by step."""
    x, found = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1)), []
    for _ in range(steps):
        net.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(x), torch.arange(8) % 2))
        grad = net[0].weight.grad
        assert grad is not None
        found.append(grad.clone())
        optimizer.step()
    return found


def recipe(net: nn.Module, **options: Any) -> Muon:
    return Muon(
        groups_of(net), **{"filters": True, "adjust_lr_fn": "original", "ns_steps": 3, "momentum": 0.6, **options}
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_filters_move_as_matrices(normalize: bool) -> None:
    net = convolutional()
    weight = net[0].weight.detach().clone()
    optimizer = recipe(net, normalize=normalize)
    grads = descend(net, optimizer, 3)
    momentum = torch.zeros_like(weight)
    for grad in grads:
        momentum = 0.6 * momentum + grad
        if normalize:
            weight = weight * len(weight) ** 0.5 / weight.norm()
        update = orthogonalised((grad + 0.6 * momentum).flatten(1), 3).view_as(weight)
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * update
    # In bfloat16 the order of operations shows in the small singular values; a step moves by 0.01 in six directions.
    assert float((net[0].weight.detach() - weight).norm()) < 0.1 * 3 * 0.01 * 6**0.5


def test_the_layout_of_filters_changes_nothing() -> None:
    nets = [convolutional(), convolutional().to(memory_format=torch.channels_last)]  # type: ignore[call-overload]
    states = []
    for net in nets:
        optimizer = recipe(net)
        net[0].weight.grad = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(2)).contiguous(
            memory_format=torch.channels_last if net is nets[1] else torch.contiguous_format
        )
        optimizer.step()
        states.append(optimizer.state[net[0].weight]["momentum_buffer"])
    assert not nets[1][0].weight.is_contiguous()
    assert torch.equal(nets[0][0].weight, nets[1][0].weight)
    assert torch.equal(*states)


def test_filters_are_left_alone_unless_asked_for() -> None:
    net = convolutional()
    optimizer = Muon(groups_of(net))
    descend(net, optimizer, 1)
    assert kept_momentum(net, optimizer) == set()


@pytest.mark.parametrize("rest", ["adamw", "sgd"])
def test_the_rest_has_an_optimizer_and_a_rate_of_its_own(rest: str) -> None:
    net, other = convolutional(), convolutional()
    optimizer = Muon(
        [{**group, "lr_scale": 0.5} for group in groups_of(net)], lr=0.02, filters=True, rest=rest, rest_lr=0.05,
        rest_momentum=0.85, nesterov=True,
    )  # fmt: skip
    assert {(g["lr"], g["lr_scale"]) for g in optimizer.param_groups} == {(0.01, 0.5), (0.025, 1.25)}
    head = [{"params": [other[3].weight], "weight_decay": 0.1}, {"params": [other[3].bias], "weight_decay": 0.0}]
    expected = (
        torch.optim.SGD(head, 0.025, 0.85, nesterov=True, fused=True)
        if rest == "sgd"
        else torch.optim.AdamW(head, 0.025, (0.9, 0.95), fused=True)
    )
    descend(net, optimizer, 1)
    descend(other, expected, 1)
    assert torch.equal(net[3].weight, other[3].weight)
    assert torch.equal(net[3].bias, other[3].bias)


def test_the_recipe_continues_bit_for_bit(tmp_path: Path) -> None:
    net = convolutional()
    optimizer = recipe(net, normalize=True, rest="sgd")
    descend(net, optimizer, 2)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = convolutional()
    again = recipe(resumed, normalize=True, rest="sgd")
    resumed.load_state_dict(saved["net"])
    again.load_state_dict(saved["optimizer"])
    descend(net, optimizer, 2)
    descend(resumed, again, 2)
    assert_equal(net, resumed)
