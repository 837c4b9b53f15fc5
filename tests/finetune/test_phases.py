"""What learns when: parts of a backbone, phases as a function of the step, and that what rests does not move."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.finetune.phases import Phase, Phases, planned
from ptft.optim.averaging import Ema
from ptft.optim.muon import Muon
from ptft.optim.param_groups import clip_and_scale, parameter_groups
from ptft.optim.schedules import Cosine
from ptft.train.loop import train_step
from ptft.train.state import Budget, Training
from ptft.train.watch import FiniteCheck
from tests.helpers import autoencoder as toy
from tests.helpers.classifier import Classify, batch_of

TWO = [Phase(0.5, "head"), Phase(1.0, "all", 0.5)]


@pytest.fixture
def objective() -> Classify:
    torch.manual_seed(0)
    return Classify()


def values(objective: Objective) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def changed(before: dict[str, Tensor], objective: Objective) -> set[str]:
    return {name for name, tensor in objective.state_dict().items() if not torch.equal(before[name], tensor)}


def train(objective: Objective, phases: Phases, steps: int, of: int | None = None, begin: int = 0) -> None:
    """Plain descent with weight decay and momentum, from step `begin` of `of`."""
    groups = parameter_groups(objective, phases.scales, lr=0.1, weight_decay=0.1)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    objective.train()
    for step in range(begin, begin + steps):
        phases.enter(optimizer, step, of or steps)
        result = objective(batch_of())
        result.total.backward()
        clip_and_scale(objective.parameters(), result.count, 1.0)
        optimizer.step()
        optimizer.zero_grad()


# Parts


def test_head_alone_learns_and_the_backbone_stays_to_the_bit(objective: Classify) -> None:
    before = values(objective)
    train(objective, Phases(objective, [Phase(train="head")]), steps=3)
    # so BatchNorm's statistics and its counter did not move
    assert changed(before, objective) == {"head.weight", "head.bias"}


def test_last_layers_learn_in_training_mode_and_the_others_stay(objective: Classify) -> None:
    before = values(objective)
    train(objective, Phases(objective, [Phase(train="last:1")]), steps=3)
    last = {name for name in before if name.startswith(("backbone.blocks.1.", "head."))}
    assert changed(before, objective) == last
    blocks = objective.backbone.blocks
    assert isinstance(blocks, nn.ModuleList)
    assert [blocks[0].training, blocks[1].training] == [False, True]


def test_norms_learn_with_their_statistics_and_nothing_else_does(objective: Classify) -> None:
    before = values(objective)
    train(objective, Phases(objective, [Phase(train="norm")]), steps=3)
    norms = {name for name in before if name.startswith(("backbone.blocks.0.1.", "backbone.blocks.1.norm."))}
    assert changed(before, objective) == norms | {"head.weight", "head.bias"}
    training = {type(module).__name__ for module in objective.backbone.modules() if module.training}
    assert training.isdisjoint({"Linear", "Dropout"})
    assert "BatchNorm1d" in training


def test_biases_learn_alone_and_the_backbone_is_in_evaluation_mode(objective: Classify) -> None:
    before = values(objective)
    train(objective, Phases(objective, [Phase(train="bias")]), steps=3)
    biases = {name for name in before if name.endswith("bias")}
    assert changed(before, objective) == biases | {"head.weight"}
    assert not any(module.training for module in objective.backbone.modules())


@pytest.mark.parametrize("part", ["all", "last:3"])
def test_all_layers_leave_nothing_frozen(objective: Classify, part: str) -> None:
    Phases(objective, [Phase(train=part)])
    assert objective.frozen == []
    assert all(parameter.requires_grad for parameter in objective.parameters())
    assert all(module.training for module in objective.train().modules())


@pytest.mark.parametrize("part", ["last:0", "last:4", "last:", "last:-1", "heads", ""])
def test_an_impossible_part_is_refused_with_the_choices(objective: Classify, part: str) -> None:
    choices = "3 layers; choose all, head, norm, bias, or last:1 to last:3"
    with pytest.raises(ConfigError, match=rf"finetune\.train={part} .* {choices}"):
        Phases(objective, [Phase(train=part)])


def test_a_backbone_without_norms_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"finetune\.train=norm .* no norm layers"):
        Phases(toy.Denoise(), [Phase(train="norm")])


def test_what_never_may_learn_never_does_and_other_frozen_parts_stay(objective: Classify) -> None:
    objective.backbone.stem.requires_grad_(False)
    objective.frozen = [objective.head]
    before = values(objective)
    train(objective, Phases(objective, TWO), steps=4)
    assert changed(before, objective).isdisjoint({"backbone.stem.weight", "backbone.stem.bias"})
    assert not objective.head.training


# Phases


@pytest.mark.parametrize(
    ("steps", "borders"),
    [(10, [2, 7]), (100, [20, 70]), (7, [2, 5]), (1, [1, 1])],
)
def test_the_phase_is_a_function_of_the_step(objective: Classify, steps: int, borders: list[int]) -> None:
    phases = Phases(objective, [Phase(0.2, "head"), Phase(0.7, "last:1"), Phase(1.0, "all")])
    found = [phases.at(step, steps) for step in range(steps)]
    assert [sum(index < 1 for index in found), sum(index < 2 for index in found)] == borders
    assert phases.at(steps + 5, steps) == 2


def test_seven_of_a_hundred_steps_reach_a_share_of_seven_hundredths(objective: Classify) -> None:
    phases = Phases(objective, [Phase(0.07, "head"), Phase()])
    assert [phases.at(step, 100) for step in (6, 7)] == [0, 1]


def test_the_groups_keep_their_shape_and_only_their_rates_change(objective: Classify) -> None:
    phases = Phases(objective, [Phase(0.5, "head"), Phase(0.75, "last:1"), Phase(1.0, "all", 0.5)])
    groups = parameter_groups(objective, phases.scales, lr=1.0, weight_decay=0.1)
    names = [list(group["names"]) for group in groups]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    rates = []
    for step in (0, 5, 8):
        phases.enter(optimizer, step, 10)
        assert [group["names"] for group in optimizer.param_groups] == names
        rates.append({name: group["lr_scale"] for group in optimizer.param_groups for name in group["names"]})
        learning = {name for name, p in objective.named_parameters() if p.requires_grad}
        assert learning == {name for name, scale in rates[-1].items() if scale}
    assert [rate["head.weight"] for rate in rates] == [1, 1, 1]
    assert [rate["backbone.blocks.1.linear.weight"] for rate in rates] == [0, 1, 0.5]
    assert [rate["backbone.stem.weight"] for rate in rates] == [0, 0, 0.125]


def test_a_part_that_learned_rests_to_the_bit_in_a_later_phase(objective: Classify) -> None:
    """Neither momentum nor weight decay nor batch statistics move it; and the norm that clips does not count it."""
    phases = Phases(objective, [Phase(0.5, "all"), Phase(1.0, "head")])
    groups = parameter_groups(objective, phases.scales, lr=0.1, weight_decay=0.1)
    optimizer = torch.optim.AdamW(groups)
    objective.train()
    seen = []
    for step in range(8):
        phases.enter(optimizer, step, 8)
        seen.append({n: v for n, v in values(objective).items() if n.startswith("backbone.")})
        result = objective(batch_of())
        result.total.backward()
        norm = clip_and_scale((p for g in optimizer.param_groups for p in g["params"]), result.count, 1e-3)
        head = torch.nn.utils.get_total_norm([p.grad for p in objective.head.parameters() if p.grad is not None])
        assert (norm > 1e-3) & torch.isclose(head, torch.tensor(1e-3), rtol=1e-2) if step >= 4 else head < 1e-3
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(seen[4][name], seen[7][name]) for name in seen[4])
    assert not torch.equal(seen[0]["backbone.stem.weight"], seen[4]["backbone.stem.weight"])
    assert not any(module.training for module in objective.backbone.modules())


def test_an_estimated_number_of_steps_does_not_lead_back(objective: Classify) -> None:
    phases = Phases(objective, TWO)
    optimizer = torch.optim.SGD(parameter_groups(objective, phases.scales, lr=1, weight_decay=0))
    found = []
    for step, steps in [(1, 100), (50, 100), (51, 104), (52, 103)]:
        phases.enter(optimizer, step, steps)
        found.append(phases.present)
    assert found == [0, 1, 1, 1]


def test_a_plan_is_read_with_the_decay_of_those_that_have_none() -> None:
    plan = [{"until": 0.2, "train": "head"}, {"until": 1.0, "train": "all", "layer_decay": 0.5}]
    assert planned(plan, 0.75) == [Phase(0.2, "head", 0.75), Phase(1.0, "all", 0.5)]
    assert planned("bias", None) == [Phase(1.0, "bias", None)]


def phased(optimizer, ema: bool = False, scaler: bool = False) -> Training:
    """Ten steps of the toy: its decoder alone for four, then all, then the decoder again."""
    t = toy.training(schedule=Cosine())
    phases = Phases(t.objective, [Phase(0.4, "head"), Phase(0.7, "all", 0.5), Phase(1.0, "head")])
    groups = parameter_groups(t.objective, phases.scales, lr=0.05, weight_decay=0.1)
    return toy.training(
        lambda: t.objective,
        optimizer=optimizer(groups),
        phases=phases,
        schedule=Cosine(),
        clip=1.0,
        ema=Ema(t.objective, 0.9) if ema else None,
        scaler=torch.amp.GradScaler("cpu") if scaler else None,
        budget=Budget(steps=10),
    )


def steps_of(t: Training, until: int) -> None:
    t.objective.train()
    finite = FiniteCheck(t)
    while t.progress.step < until:
        for batch in t.loader.epoch(t.progress.epoch, t.progress.batch):
            train_step(t, batch, finite)
            if t.progress.step == until:
                break


OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
    "muon": functools.partial(Muon, rest="sgd"),
}


@pytest.mark.parametrize("stop", [3, 4, 5, 7])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_continued_across_a_border_is_the_same_to_the_bit(name: str, stop: int) -> None:
    options = {"ema": name == "adamw", "scaler": name == "sgd"}
    whole = phased(OPTIMIZERS[name], **options)
    start = values(whole.objective)
    steps_of(whole, 4)
    assert {n.split(".")[0] for n in changed(start, whole.objective)} == {"decoder"}
    steps_of(whole, 10)
    assert {n.split(".")[0] for n in changed(start, whole.objective)} == {"backbone", "decoder"}
    cut = phased(OPTIMIZERS[name], **options)
    steps_of(cut, stop)
    weights, state = cut.weights(), cut.state_dict()
    continued = phased(OPTIMIZERS[name], **options)
    with torch.no_grad():
        for parameter in continued.objective.parameters():
            parameter.zero_()
    continued.load_state_dict(weights, state)
    steps_of(continued, 10)
    assert not changed(values(whole.objective), continued.objective)
    assert [g["lr_scale"] for g in whole.optimizer.param_groups] == [
        g["lr_scale"] for g in continued.optimizer.param_groups
    ]
