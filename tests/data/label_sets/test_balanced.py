"""Epochs in which every class comes equally often."""

import pytest
import torch

from ptft.data.examples import MemoryExamples
from ptft.data.image.boxes.shapes import Shapes
from ptft.data.label_sets.balanced import Balanced, Repeated, balanced
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


def test_images_with_rare_boxes_come_more_often():
    source = Shapes(images=60, held_out=4, seed=2)
    train = source.split("train")
    sets = train.marked()
    rare = torch.tensor([0] * 59 + [1], dtype=torch.uint8)
    sets[:, 0] = rare  # sqrt(F / f) of it is that of the most frequent one by 1 of 60
    sampled = Repeated(train, sets, source.spec.classes)
    shares = sets.double().mean(0)
    factors = torch.where(sets > 0, (shares.max() / shares).sqrt(), 1).amax(1)
    expected = 60 * factors / factors.sum()
    orders = [sampled.shuffled(seed) for seed in range(40)]
    times = torch.stack([order.bincount(minlength=60) for order in orders])
    assert (times.sum(1) == 60).all()
    assert ((times - expected).abs() < 1).all()
    assert (times.double().mean(0) - expected).abs().mean() < 0.1
    assert times[0, 59] >= 2
    assert torch.equal(orders[3], sampled.shuffled(3))
    assert torch.equal(sampled.take(orders[0][:5])["box"], train.take(orders[0][:5])["box"])
    assert isinstance(balanced(train, source.spec.classes), Repeated)
    assert "comes" in balanced(train, source.spec.classes).notes[0]


@pytest.mark.parametrize("labels", [None, torch.rand(4)])
def test_what_has_no_classes_is_refused(labels):
    held = MemoryExamples(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels)
    with pytest.raises(ConfigError, match="have no classes that could come equally often"):
        Balanced(held, ["a", "b"])
