"""Groups, freezing, clipping, rates and averages, on a small network with every kind of parameter."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Features, Objective, Step
from ptft.errors import ConfigError
from ptft.optim import Ema, clip_and_scale, freeze, parameter_groups, set_lr

CONF = sorted((Path(__file__).parents[1] / "conf" / "optimizer").glob("*.yaml"))


class Net(Backbone):
    """Three layers (the second with batch statistics, all with dropout), and positions that are in none of them."""

    width = 6
    no_weight_decay: ClassVar[frozenset[str]] = frozenset({"positions"})

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 4))
        self.stem = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)), Block()])

    def prepare(self, raw: Tensor) -> Tensor:
        return raw

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        x = self.stem(x + self.positions)
        for block in self.blocks:
            x = block(x)
        return Features(x.unsqueeze(1))

    def layers(self) -> list[list[nn.Module]]:
        return [[self.stem], [self.blocks[0]], [self.blocks[1]]]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.norm(self.linear(x)))


class Classify(Objective):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Net()
        self.head = nn.Linear(6, 3)

    def forward(self, batch: Batch) -> Step:
        logits = self.head(self.backbone.pool(self.backbone(batch["input"])))
        total = nn.functional.cross_entropy(logits, batch["label"], reduction="sum")
        return Step(total, torch.tensor(len(logits)), {})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {}


@pytest.fixture
def objective() -> Classify:
    torch.manual_seed(0)
    return Classify()


def batch_of(size: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, 4, generator=generator)
    return {"input": x, "label": x[:, :3].argmax(1)}


def train(objective: Objective, optimizer: torch.optim.Optimizer, steps: int) -> None:
    objective.train()
    for _ in range(steps):
        step = objective(batch_of())
        step.total.backward()
        clip_and_scale(objective.parameters(), step.count, None)
        optimizer.step()
        optimizer.zero_grad()


def loss_of(objective: Objective) -> float:
    objective.eval()
    with torch.no_grad():
        step: Step = objective(batch_of())
    return float(step.total / step.count)


# Groups


@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("part", ["all", "head", "last:1"])
def test_groups_hold_every_trainable_parameter_once(objective: Classify, part: str, layer_decay: float | None) -> None:
    freeze(objective, part)
    groups = parameter_groups(objective, lr=0.1, weight_decay=0.2, layer_decay=layer_decay)
    grouped = [parameter for group in groups for parameter in group["params"]]
    trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable)
    assert set(grouped) == set(trainable)
    named = dict(objective.named_parameters())
    assert all(named[n] is p for group in groups for n, p in zip(group["names"], group["params"], strict=True))


def test_biases_norms_and_what_the_backbone_names_do_not_decay(objective: Classify) -> None:
    groups = parameter_groups(objective, lr=0.1, weight_decay=0.2)
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert {name for name, value in decay.items() if value == 0.2} == {
        "backbone.stem.weight",
        "backbone.blocks.0.0.weight",
        "backbone.blocks.1.linear.weight",
        "head.weight",
    }
    assert {value for value in decay.values() if value != 0.2} == {0.0}


def test_layer_decay_falls_from_the_head_to_the_first_layer(objective: Classify) -> None:
    groups = parameter_groups(objective, lr=0.8, weight_decay=0.2, layer_decay=0.5)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates["head.weight"] == rates["head.bias"] == 0.8
    assert rates["backbone.blocks.1.linear.weight"] == rates["backbone.blocks.1.norm.bias"] == pytest.approx(0.4)
    assert rates["backbone.blocks.0.0.weight"] == pytest.approx(0.2)
    assert rates["backbone.stem.weight"] == rates["backbone.positions"] == pytest.approx(0.1)


def test_groups_keep_their_order_from_build_to_build() -> None:
    names = [[g["names"] for g in parameter_groups(Classify(), lr=1, weight_decay=1, layer_decay=0.9)] for _ in "ab"]
    assert names[0] == names[1]


@pytest.mark.parametrize("value", [0, 1.5, -1])
def test_layer_decay_out_of_range_is_refused(objective: Classify, value: float) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.layer_decay="):
        parameter_groups(objective, lr=1, weight_decay=0, layer_decay=value)


def test_the_rate_is_a_pure_function_of_the_factor(objective: Classify) -> None:
    groups = parameter_groups(objective, lr=0.8, weight_decay=0, layer_decay=0.5)
    optimizer = torch.optim.SGD(groups, lr=0.8)
    for factor in (0.1, 0.0, 0.5):
        set_lr(optimizer, factor)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.05, 0.1, 0.2, 0.4])


# Freezing


def test_head_alone_learns_and_the_backbone_stays_to_the_bit(objective: Classify) -> None:
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    freeze(objective, "head")
    train(objective, torch.optim.SGD(parameter_groups(objective, lr=0.1, weight_decay=0.1)), steps=3)
    after = objective.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}  # so BatchNorm's statistics and its counter did not move


def test_last_layers_learn_in_training_mode_and_the_others_stay(objective: Classify) -> None:
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    freeze(objective, "last:1")
    train(objective, torch.optim.SGD(parameter_groups(objective, lr=0.1, weight_decay=0.1)), steps=3)
    changed = {name for name, tensor in objective.state_dict().items() if not torch.equal(before[name], tensor)}
    last = {name for name in before if name.startswith(("backbone.blocks.1.", "head."))}
    assert changed == last
    blocks = objective.backbone.blocks
    assert isinstance(blocks, nn.ModuleList)
    assert [blocks[0].training, blocks[1].training] == [False, True]


@pytest.mark.parametrize("part", ["all", "last:3"])
def test_all_layers_leave_nothing_frozen(objective: Classify, part: str) -> None:
    freeze(objective, part)
    assert objective.frozen == []
    assert all(parameter.requires_grad for parameter in objective.parameters())
    assert all(module.training for module in objective.train().modules())


@pytest.mark.parametrize("part", ["last:0", "last:4", "last:", "last:-1", "heads", ""])
def test_an_impossible_part_is_refused_with_the_choices(objective: Classify, part: str) -> None:
    choices = "3 layers; choose all, head, or last:1 to last:3"
    with pytest.raises(ConfigError, match=rf"finetune\.train={part} .* {choices}"):
        freeze(objective, part)


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
    optimizer = torch.optim.SGD(parameter_groups(objective, lr=0.5, weight_decay=0))
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
    train(objective, torch.optim.SGD(parameter_groups(objective, lr=0.5, weight_decay=0)), steps=2)
    ema.update(objective)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    with contextlib.suppress(KeyboardInterrupt), ema.swapped(objective):
        assert not torch.equal(objective.head.weight, before["head.weight"])
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())


def test_averages_continue_exactly_after_a_round_through_a_file(objective: Classify, tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(parameter_groups(objective, lr=0.5, weight_decay=0))
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
    plain: Any = OmegaConf.to_container(OmegaConf.load(path))
    module, name = plain.pop("_target_").rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    assert plain.keys() <= inspect.signature(kind).parameters.keys()
    optimizer = kind(parameter_groups(objective, lr=plain["lr"], weight_decay=plain["weight_decay"]), **plain)
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
