"""Groups, clipping, rates, averages and the anchor, on a small network with every kind of parameter."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ptft.core import Objective, Step
from ptft.errors import ConfigError
from ptft.finetune.l2sp import L2SP
from ptft.finetune.phases import Phase, Phases
from ptft.optim.averaging import Ema
from ptft.optim.param_groups import clip_and_scale, parameter_groups, set_lr
from tests.helpers.classifier import Classify, batch_of, train

CONF = sorted((Path(__file__).parents[2] / "conf" / "optimizer").glob("*.yaml"))


@pytest.fixture
def objective() -> Classify:
    torch.manual_seed(0)
    return Classify()


def loss_of(objective: Objective) -> float:
    objective.eval()
    with torch.no_grad():
        step: Step = objective(batch_of())
    return float(step.total / step.count)


# Groups


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("part", ["all", "head", "last:1"])
def test_groups_hold_every_trainable_parameter_once(objective: Classify, part: str, layer_decay: float | None) -> None:
    phases = Phases(objective, [Phase(train=part, layer_decay=layer_decay)])
    groups = parameter_groups(objective, phases.scales, lr=0.1, weight_decay=0.2)
    grouped = [parameter for group in groups for parameter in group["params"]]
    trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable)
    assert set(grouped) == set(trainable)
    named = dict(objective.named_parameters())
    assert all(named[n] is p for group in groups for n, p in zip(group["names"], group["params"], strict=True))


def test_biases_norms_and_what_the_backbone_names_do_not_decay(objective: Classify) -> None:
    groups = parameter_groups(objective, Phases(objective).scales, lr=0.1, weight_decay=0.2)
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert {name for name, value in decay.items() if value == 0.2} == {
        "backbone.stem.weight",
        "backbone.blocks.0.0.weight",
        "backbone.blocks.1.linear.weight",
        "head.weight",
    }
    assert {value for value in decay.values() if value != 0.2} == {0.0}


def test_layer_decay_falls_from_the_head_to_the_first_layer(objective: Classify) -> None:
    groups = parameter_groups(objective, Phases(objective, [Phase(layer_decay=0.5)]).scales, lr=0.8, weight_decay=0.2)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates["head.weight"] == rates["head.bias"] == 0.8
    assert rates["backbone.blocks.1.linear.weight"] == rates["backbone.blocks.1.norm.bias"] == pytest.approx(0.4)
    assert rates["backbone.blocks.0.0.weight"] == pytest.approx(0.2)
    assert rates["backbone.stem.weight"] == rates["backbone.positions"] == pytest.approx(0.1)


def test_groups_keep_their_order_from_build_to_build() -> None:
    nets = [Classify() for _ in "ab"]
    phases = [Phases(net, [Phase(layer_decay=0.9)]) for net in nets]
    names = [
        [g["names"] for g in parameter_groups(n, p.scales, lr=1, weight_decay=1)]
        for n, p in zip(nets, phases, strict=True)
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("value", [0, 1.5, -1])
def test_layer_decay_out_of_range_is_refused(objective: Classify, value: float) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.layer_decay="):
        Phases(objective, [Phase(layer_decay=value)])


def test_the_rate_is_a_pure_function_of_the_factor(objective: Classify) -> None:
    groups = parameter_groups(objective, Phases(objective, [Phase(layer_decay=0.5)]).scales, lr=0.8, weight_decay=0)
    optimizer = torch.optim.SGD(groups, lr=0.8)
    for factor in (0.1, 0.0, 0.5):
        set_lr(optimizer, factor)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.05, 0.1, 0.2, 0.4])


# Clipping


def mean_gradients(objective: Objective) -> list[Tensor]:
    objective.zero_grad()
    step: Step = objective(batch_of())
    torch.autograd.backward(step.total / step.count)
    return [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("clip", [None, 0.01, 1e6])
def test_clipping_sums_equals_clipping_the_mean(objective: Classify, clip: float | None) -> None:
    objective.eval()
    expected = [gradient.clone() for gradient in mean_gradients(objective)]
    limit = float("inf") if clip is None else clip
    norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), limit)
    reference = [parameter.grad.clone() for parameter in objective.parameters() if parameter.grad is not None]
    objective.zero_grad()
    step = objective(batch_of())
    step.total.backward()
    actual_norm = clip_and_scale(objective.parameters(), step.count, clip)
    actual = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
    torch.testing.assert_close(actual, reference if clip else expected)
    torch.testing.assert_close(actual_norm, norm)


def test_uneven_parts_of_a_batch_give_the_gradients_of_the_whole(objective: Classify) -> None:
    objective.eval()
    whole = [gradient.clone() for gradient in mean_gradients(objective)]
    objective.zero_grad()
    count = torch.tensor(0)
    for part in (slice(0, 5), slice(5, 12)):
        step = objective({key: value[part] for key, value in batch_of().items()})
        step.total.backward()
        count = count + step.count
    clip_and_scale(objective.parameters(), count, None)
    torch.testing.assert_close([parameter.grad for parameter in objective.parameters()], whole)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_shows_in_the_norm(objective: Classify, bad: float) -> None:
    mean_gradients(objective)[0].view(-1)[0] = bad
    assert not clip_and_scale(objective.parameters(), torch.tensor(12), 1.0).isfinite()


def test_a_count_that_is_not_finite_shows_in_the_norm(objective: Classify) -> None:
    mean_gradients(objective)
    assert clip_and_scale(objective.parameters(), torch.tensor(float("nan")), 1.0).isnan()


def test_nothing_to_learn_from_leaves_gradients_of_zero(objective: Classify) -> None:
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert clip_and_scale(objective.parameters(), torch.tensor(0), 1.0) == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in objective.parameters())


# Averages


def test_averages_equal_the_formula_in_double_precision(objective: Classify) -> None:
    ema = Ema(objective, decay=0.3)
    expected = {n: t.double() for n, t in objective.state_dict().items() if t.is_floating_point()}
    optimizer = torch.optim.SGD(parameter_groups(objective, Phases(objective).scales, lr=0.5, weight_decay=0))
    for updates in range(8):
        train(objective, optimizer, steps=1)
        ema.update(objective)
        keep = min(0.3, (1 + updates) / (10 + updates))
        live = objective.state_dict()
        expected = {name: keep * old + (1 - keep) * live[name].double() for name, old in expected.items()}
    assert "backbone.blocks.0.1.running_var" in expected
    with ema.swapped(objective):
        shown = {name: objective.state_dict()[name].double() for name in expected}
        torch.testing.assert_close(shown, expected, rtol=1e-5, atol=1e-6)


def test_swapping_restores_the_weights_bit_for_bit_also_after_an_error(objective: Classify) -> None:
    ema = Ema(objective, decay=0.9)
    train(
        objective,
        torch.optim.SGD(parameter_groups(objective, Phases(objective).scales, lr=0.5, weight_decay=0)),
        steps=2,
    )
    ema.update(objective)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    with contextlib.suppress(KeyboardInterrupt), ema.swapped(objective):
        assert not torch.equal(objective.head.weight, before["head.weight"])
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())


def test_averages_continue_exactly_after_a_round_through_a_file(objective: Classify, tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(parameter_groups(objective, Phases(objective).scales, lr=0.5, weight_decay=0))
    first = Ema(objective, decay=0.9)
    train(objective, optimizer, steps=1)
    first.update(objective)
    torch.save(first.state_dict(), tmp_path / "ema.pt")
    second = Ema(objective, decay=0.9)
    second.load_state_dict(torch.load(tmp_path / "ema.pt", weights_only=True))
    train(objective, optimizer, steps=1)
    first.update(objective)
    second.update(objective)
    assert first.state_dict()["updates"] == second.state_dict()["updates"] == 2
    assert all(torch.equal(second.weights[name], average) for name, average in first.weights.items())


def test_a_decay_out_of_range_is_refused(objective: Classify) -> None:
    with pytest.raises(ConfigError, match=r"train\.ema=1\.0"):
        Ema(objective, decay=1.0)


# conf/optimizer


def from_yaml(path: Path, objective: Objective) -> torch.optim.Optimizer:
    node: Any = OmegaConf.to_container(OmegaConf.load(path))
    plain = {key: value for key, value in node.items() if not key.startswith("_")}
    module, name = node["_target_"].rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    assert plain.keys() <= inspect.signature(kind).parameters.keys()
    optimizer = kind(
        parameter_groups(objective, Phases(objective).scales, lr=plain["lr"], weight_decay=plain["weight_decay"]),
        **plain,
    )
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def test_every_optimizer_has_its_yaml() -> None:
    assert [path.stem for path in CONF] == ["adam", "adamw", "muon", "sgd"]


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_each_yaml_lowers_the_loss(objective: Classify, path: Path) -> None:
    optimizer = from_yaml(path, objective)
    start = loss_of(objective)
    train(objective, optimizer, steps=50)
    assert loss_of(objective) < 0.95 * start


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_each_yaml_continues_bit_for_bit_from_a_file(objective: Classify, path: Path, tmp_path: Path) -> None:
    optimizer = from_yaml(path, objective)
    train(objective, optimizer, steps=3)
    torch.save([objective.state_dict(), optimizer.state_dict(), torch.get_rng_state()], tmp_path / "state.pt")
    train(objective, optimizer, steps=3)
    resumed = Classify()
    again = from_yaml(path, resumed)
    weights, state, rng = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(weights)
    again.load_state_dict(state)
    torch.set_rng_state(rng)
    train(resumed, again, steps=3)
    assert all(torch.equal(tensor, objective.state_dict()[name]) for name, tensor in resumed.state_dict().items())


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_each_yaml_follows_the_rate(objective: Classify, path: Path) -> None:
    optimizer = from_yaml(path, objective)
    before = {name: tensor.clone() for name, tensor in objective.named_parameters()}
    set_lr(optimizer, 0.0)
    train(objective, optimizer, steps=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.named_parameters())


def test_a_rate_in_a_tensor_is_filled_in_place():
    net = nn.Linear(2, 2)
    rate = torch.tensor(1.0)
    optimizer = torch.optim.AdamW([{"params": [net.weight], "lr": rate, "base_lr": 0.5, "lr_scale": 0.5}], fused=True)
    set_lr(optimizer, 0.4)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.1)


# The anchor


def pulled(strength: float, steps: int = 200, clip: float | None = None) -> tuple[Classify, dict[str, Tensor]]:
    """A net trained with the pull to its start, and the start of its backbone."""
    torch.manual_seed(0)
    objective = Classify()
    named = dict(objective.backbone.named_parameters())
    anchor, start = L2SP(named, strength), {name: value.detach().clone() for name, value in named.items()}
    groups = parameter_groups(objective, Phases(objective).scales, lr=0.05, weight_decay=0.1, anchored=True)
    optimizer = torch.optim.SGD(groups, lr=0.05, weight_decay=0.0)
    objective.eval()
    for _ in range(steps):
        step = objective(batch_of())
        step.total.backward()
        anchor.add_gradient(step.count)
        clip_and_scale(objective.parameters(), step.count, clip)
        optimizer.step()
        optimizer.zero_grad()
    return objective, start


def distance(objective: Classify, start: dict[str, Tensor]) -> float:
    now = {name: p.detach() for name, p in objective.backbone.named_parameters()}
    return sum(float((now[name] - start[name]).square().sum()) for name in now) ** 0.5


def test_the_stronger_the_anchor_the_nearer_to_the_start() -> None:
    away = [distance(*pulled(strength, 80)) for strength in (1e-9, 0.5, 5.0)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.3 * away[0]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_anchor_is_the_gradient_of_a_penalty_on_the_mean_loss(clip: float | None) -> None:
    """As autograd differentiates alpha / 2 |w - w0|^2 beside the mean loss, clipped together."""
    steps, alpha = 4, 0.3
    objective, start = pulled(alpha, steps, clip)
    torch.manual_seed(0)
    other = Classify().eval()
    named = dict(other.backbone.named_parameters())
    decays = [p for p in other.parameters() if p.ndim > 1 and not any(p is q for q in named.values())]
    for _ in range(steps):
        other.zero_grad()
        step = other(batch_of())
        penalty = sum((p - start[name]).square().sum() for name, p in named.items())
        torch.autograd.backward(step.total / step.count + alpha / 2 * penalty)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(other.parameters(), clip)
        with torch.no_grad():
            for p in other.parameters():
                assert p.grad is not None
                p -= 0.05 * (p.grad + (0.1 * p if any(p is q for q in decays) else 0))
    torch.testing.assert_close(list(objective.parameters()), list(other.parameters()))


def test_an_anchored_backbone_does_not_decay_and_its_head_does(objective: Classify) -> None:
    groups = parameter_groups(objective, Phases(objective).scales, lr=0.1, weight_decay=0.2, anchored=True)
    decay = {name for group in groups if group["weight_decay"] for name in group["names"]}
    assert decay == {"head.weight"}


def test_the_anchor_is_continued_from_its_own_state(objective: Classify) -> None:
    named = dict(objective.backbone.named_parameters())
    anchor = L2SP(named, 0.1)
    torch.manual_seed(1)
    other = L2SP(dict(Classify().backbone.named_parameters()), 0.1)
    other.load_state_dict(anchor.state_dict())
    assert all(torch.equal(other.start[name], parameter) for name, parameter in named.items())
