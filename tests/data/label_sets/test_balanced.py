"""Epochs in which every class comes equally often."""

import pytest
import torch

from ptft.data.examples import MemoryExamples
from ptft.data.label_sets.balanced import Balanced
from ptft.data.loader import Loader
from ptft.errors import ConfigError


def examples(labels):
    return MemoryExamples(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels)


def test_every_class_comes_equally_often_and_its_examples_take_turns():
    labels = torch.tensor([0] * 90 + [1] * 8 + [3] * 2)
    sampled = Balanced(examples(labels), ["a", "b", "none here", "c"])
    order = sampled.shuffled(7)
    assert sorted(labels[order].bincount().tolist()) == [0, 33, 33, 34]
    times = order.bincount(minlength=100)
    for k, size in ((0, 90), (1, 8), (3, 2)):
        of_class = times[labels == k]
        assert int(of_class.max() - of_class.min()) <= 1, "one comes again when all others came"
        assert int(of_class.sum()) in (33, 34), size
    assert torch.equal(order, sampled.shuffled(7))
    assert not torch.equal(order, sampled.shuffled(8))
    assert sampled.notes == (
        "dataset.sampler=balanced: an epoch is 100 draws, 33 of each class; one of c comes 16.7 times",
    )


def test_an_epoch_goes_on_where_it_was_cut():
    loader = Loader(Balanced(examples(torch.arange(50) % 3), ["a", "b", "c"]), 8, seed=1, shuffle=True)
    whole = [batch["index"] for batch in loader.epoch(2)]
    rest = [batch["index"] for batch in loader.epoch(2, start=4)]
    assert all(map(torch.equal, whole[4:], rest))
    assert sum(map(len, whole)) == 50


def test_labels_of_sets_come_equally_often_and_having_none_too():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(400, 3, generator=generator) < torch.tensor([0.8, 0.3, 0.02])).to(torch.uint8)
    drawn = labels[Balanced(examples(labels), ["a", "b", "c"]).shuffled(0)]
    assert int(drawn[:, 2].sum()) >= 100
    assert int((drawn == 0).all(1).sum()) == 100


@pytest.mark.parametrize("labels", [None, torch.rand(4)])
def test_what_has_no_classes_is_refused(labels):
    held = MemoryExamples(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels)
    with pytest.raises(ConfigError, match="have no classes that could come equally often"):
        Balanced(held, ["a", "b"])
