"""Mixup and CutMix, measured on images that are their own label."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptft.augment.mix import Mix
from ptft.errors import ConfigError


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def constants(b: int = 200) -> tuple[Tensor, Tensor]:
    """Images that are their own label all over."""
    label = torch.arange(b) % 10
    return label.float().view(-1, 1, 1, 1).expand(-1, 1, 15, 20).contiguous(), label


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_are_the_shares_of_the_pixels(options: dict) -> None:
    x, label = constants()
    mixed, soft = Mix(**options).train()(x, label, 10)
    torch.testing.assert_close(soft.sum(1), torch.ones(200))
    assert soft.min() >= 0
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft @ torch.arange(10.0), atol=1e-4, rtol=1e-4)
    assert len(soft.amax(1).unique()) > 50, "every sample has a share of its own"


def test_cutmix_pastes_one_box_and_mixup_none() -> None:
    x, label = constants()
    cut, _ = Mix(cutmix=1.0).train()(x, label, 10)
    assert all(len(image.unique()) <= 2 for image in cut)
    assert any(len(image.unique()) == 2 for image in cut)
    mixed, _ = Mix(mixup=1.0).train()(x, label, 10)
    assert all(len(image.unique()) == 1 for image in mixed)


def test_with_both_each_sample_gets_one_of_the_two() -> None:
    x, label = constants(1000)
    mixed, _ = Mix(mixup=1.0, cutmix=1.0).train()(x, label, 10)
    boxed = (mixed.flatten(1) != mixed.flatten(1)[:, :1]).any(1)
    blended = (mixed.flatten(1)[:, :1] % 1 != 0).any(1)
    assert not (boxed & blended).any()
    assert 300 < int(boxed.sum()) < 550  # some boxes cover nothing new
    assert 300 < int(blended.sum()) < 550


def test_mixing_takes_soft_targets_and_mixes_so_many() -> None:
    x, label = constants(1000)
    soft = torch.nn.functional.one_hot(label, 10).float()
    _, mixed = Mix(mixup=1.0, probability=0.3).train()(x, soft, 10)
    changed = int((mixed != soft).any(1).sum())
    assert 200 < changed < 340  # a tenth of the partners have the same label


def test_nothing_is_mixed_in_evaluation() -> None:
    x, label = constants()
    same, soft = Mix(mixup=1.0, cutmix=1.0).eval()(x, label, 10)
    assert same is x
    assert torch.equal(soft.argmax(1), label)


def test_mixing_refuses_what_it_can_not_do() -> None:
    with pytest.raises(ConfigError, match=r"objective\.mixup=-1"):
        Mix(mixup=-1)
