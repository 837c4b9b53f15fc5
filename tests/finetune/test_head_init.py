"""How a new head starts: a fit against scikit-learn, and what a finetune gains from it before its first step."""

import contextlib

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from ptft.core import Step
from ptft.errors import ConfigError
from ptft.finetune.head_init import STRENGTHS, fit, start_head
from tests.conftest import rows
from tests.helpers.autoencoder import Denoise


def blobs(count=300, seed=0, spread=2.0):
    """Features [N, 6] of very different scales around four centres, one of them constant, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 6, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(count) % 4
    x = centres[labels] + spread * torch.randn(count, 6, generator=generator)
    x = x * torch.tensor([1, 10, 0.1, 1, 1, 1]) + torch.tensor([0, 50, 0, 0, 0, 3])
    x[:, 5] = 3.0
    return x, labels


def test_the_fit_is_scikit_learns_at_the_same_penalty():
    x, y = blobs()
    weight, bias, strength = fit(x, y, 4)
    assert strength in STRENGTHS
    std = x.std(0, correction=0).clamp(min=1e-6)
    scaled = ((x - x.mean(0)) / std).double().numpy()
    model = LogisticRegression(C=1 / (strength * len(x)), tol=1e-8, max_iter=5000).fit(scaled, y.numpy())
    expected = model.predict_proba(scaled)
    found = (x @ weight.T + bias).softmax(1).double().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_penalty_is_stronger_where_features_say_less_and_nothing_is_random():
    clear, noise = blobs(spread=0.3), (torch.randn(60, 30), torch.arange(60) % 4)
    assert fit(*clear, 4)[2] < fit(*noise, 4)[2]
    state = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(fit(*clear, 4)[:2], fit(*clear, 4)[:2], strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_objective_without_a_linear_head_is_refused():
    for how in ("probe", "zero"):
        with pytest.raises(ConfigError, match=rf"finetune\.head_init={how}: objective=denoise has no linear head"):
            start_head(how, Denoise(), [], torch.no_grad)


class Tag(Denoise):
    """A linear head over every value of an example."""

    needs = frozenset({"input", "label"})

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, batch):
        self.head(batch["input"].unsqueeze(-1))
        return Step(torch.zeros(()), torch.ones(()), {})


def test_one_class_an_example_is_what_a_probe_fits():
    batch = {"input": torch.zeros(3, 6), "label": torch.zeros(3, 6, dtype=torch.long)}
    with pytest.raises(ConfigError, match=r"head_init=probe: objective=tag asks for other than one class an example"):
        start_head("probe", Tag(), [batch], contextlib.nullcontext)
    objective = Tag()
    assert start_head("zero", objective, None, contextlib.nullcontext)
    assert not objective.head.weight.any()


def first_val(ptft, pretrained, folder, *typed):
    """The first validation row of a finetune whose single step changes nothing, and what it said."""
    small = ("train.steps=1", "optimizer.lr=1e-12", "train.batch_size=32", "dataset.limit=300", "device=cpu")
    done = ptft("stage=finetune", f"ckpt={pretrained}", *small, *typed, f"hydra.run.dir={folder}")
    assert done.code == 0, done.text
    return next(row for row in rows(folder) if row["split"] == "val"), done.out


def test_a_probe_is_better_than_a_random_head_before_the_first_step(ptft, pretrained, tmp_path):
    views = ("objective.mixup=0.5", "dataset.views.rotate=30", "objective.tta=flip")
    random, _ = first_val(ptft, pretrained, tmp_path / "random")
    probe, said = first_val(ptft, pretrained, tmp_path / "probe", "finetune.head_init=probe")
    other, _ = first_val(ptft, pretrained, tmp_path / "other", "finetune.head_init=probe", *views[:2])
    assert probe["accuracy"] > random["accuracy"] + 0.3
    assert probe["accuracy"] == other["accuracy"], "views have no part in it"
    assert "fitted to the features of 300 training examples: train accuracy 0." in said
    zero, said = first_val(ptft, pretrained, tmp_path / "zero", "finetune.head_init=zero")
    assert zero["loss"] == pytest.approx(np.log(10), rel=1e-3)
    assert "starts at zero" in said
