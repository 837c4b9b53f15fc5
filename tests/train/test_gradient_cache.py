"""Whole batches that are compared in parts: gradients, statistics and random numbers are those of the whole."""

import pytest
import torch

from ptft.builders.run import build
from ptft.config.resolve import resolve
from ptft.errors import ConfigError
from ptft.loggers.console import Console
from ptft.train.loop import gradients, train_step
from ptft.train.watch import FiniteCheck
from tests.helpers.self_supervised import DIGITS, FEW, in_two, state, train
from tests.stages.test_resume import same

VIT = ("model=vit_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset.limit=64")
VIT += ("dataset.classes=['0','1','2']", "objective.norm=false")


def made(parts, *typed, objective="simclr"):
    """vit_tiny's blocks have no batch norm, so parts and wholes can be equal."""
    asked = ("stage=pretrain", f"objective={objective}", *DIGITS, *FEW, *VIT, "train.steps=6", "train.every.evaluate=3")
    return build(resolve([*asked, f"train.accumulate={parts}", *typed]), Console())


@pytest.mark.parametrize("objective", ["simclr", "vicreg"])
def test_gradients_and_views_are_those_of_the_whole_batch(objective):
    found = []
    for parts in (1, 5):
        t = made(parts, "model.dropout=0", objective=objective).training
        sums, norm = gradients(t, next(t.loader.epoch()))
        found.append((sums, norm, [p.grad for p in t.parameters if p.grad is not None], torch.get_rng_state()))
    whole, cut = found
    torch.testing.assert_close(cut[0], whole[0])
    torch.testing.assert_close(cut[1], whole[1])
    assert torch.equal(cut[3], whole[3]), "the next batch draws the same views"
    torch.testing.assert_close(cut[2], whole[2], rtol=1e-4, atol=1e-7)


def test_dropout_is_the_same_in_both_passes_another_in_each_part_and_step():
    t = made(2, "model.dropout=0.5").training
    t.objective.views = torch.nn.Identity()
    batch = next(t.loader.epoch())
    batch = {name: value[:1].repeat(8, *[1] * (value.ndim - 1)) for name, value in batch.items()}
    seen = []
    embed = t.objective.embed
    t.objective.embed = lambda part: seen.append(embed(part)) or seen[-1]
    t.objective.train()
    for _ in range(2):
        train_step(t, batch, FiniteCheck(t))
        t.optimizer.param_groups[0]["lr"] = 0.0
    first, second, first_again, second_again = (values.detach() for values in seen[:4])
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)
    assert not torch.allclose(first, seen[4].detach(), atol=1e-3)


def test_batch_norms_are_said_and_count_each_part_once():
    run = made(4, "objective.norm=true")
    assert any("1 batch norms normalise each part of 8 by itself" in note for note in run.notes)
    t = run.training
    gradients(t, next(t.loader.epoch()))
    assert int(t.objective.projector[1].num_batches_tracked) == 4
    assert not any("batch norms" in note for note in made(4).notes)


def test_a_run_in_parts_that_goes_on_equals_the_whole_one():
    whole = made(3, "model.dropout=0.1")
    expected = train(whole).rows
    found, resumed = in_two(lambda: made(3, "model.dropout=0.1"), last=4)
    assert found == expected
    assert same(state(resumed), state(whole))


@pytest.mark.parametrize("typed", ["train.compile=true", "train.sync_batchnorm=true", "train.cuda_graph=true"])
def test_what_does_not_go_together_is_refused_by_name(typed):
    with pytest.raises(ConfigError, match=rf"{typed}.*train\.accumulate=2"):
        made(2, typed)
