"""Rendered characters: a function of seed, split and index alone, and of any kind that fonts have."""

import pytest
import torch

from ptft.data.cache.policy import into_memory
from ptft.data.image import glyphs as module
from ptft.data.image.glyphs import FONTS, LETTERS, Glyphs, glyphs
from ptft.errors import ConfigError
from ptft.runtime.together.splitmix import key, mix, noise, uniform


def test_an_image_does_not_depend_on_its_batch():
    train = Glyphs().split("train")
    order = torch.randperm(20_000)[:128]
    whole = train.take(order)["input"]
    for count in (1, 2, 3, 7, 64):
        assert differing(train.take(order[:count])["input"], whole[:count]) == []
    assert differing(Glyphs().split("train").take(order)["input"], whole) == []
    read = into_memory(Glyphs(images=100).split("train")).base
    assert differing(read[7:9], train.take(torch.tensor([7, 8]))["input"]) == []


def differing(one, other):
    """(index of an image that differs, by how much, in how many pixels)."""
    far = (one.int() - other.int()).abs().flatten(1)
    return [(int(i), int(far[i].max()), int((far[i] > 0).sum())) for i in far.amax(1).nonzero()]


def test_seeds_and_splits_share_no_image():
    sets = [Glyphs(seed=0).split(name) for name in ("train", "val", "test")] + [Glyphs(seed=1).split("train")]
    images = torch.cat([examples.take(torch.arange(500))["input"].flatten(1) for examples in sets])
    assert len(images.unique(dim=0)) == 2000


def test_sizes_labels_and_statistics():
    source = Glyphs(images=1000, held_out=100)
    assert [len(source.split(name)) for name in ("train", "val", "test")] == [1000, 100, 100]
    assert source.split("train").labels.bincount().tolist() == [100] * 10
    values = source.split("train").take(torch.arange(1000))["input"].float() / 255
    assert abs(values.mean().item() - source.spec.mean[0]) < 0.02
    assert abs(values.std().item() - source.spec.std[0]) < 0.02


def test_other_sizes_and_channels_show_the_same_characters():
    small = Glyphs().split("train").take(torch.arange(8))["input"]
    large = Glyphs(size=[56, 84], channels=3).split("train").take(torch.arange(8))["input"]
    assert large.shape == (8, 3, 56, 84)
    assert torch.equal(large[:, 0], large[:, 2])
    middle = torch.nn.functional.avg_pool2d(large[:, 0, :, 14:70].float(), 2)
    both = torch.stack([middle.flatten(), small[:, 0].float().flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


def test_letters_merge_capitals_and_small_ones_of_one_shape():
    source = Glyphs(charset="letters", images=200)
    assert len(source.spec.classes) == 37
    assert len({*"".join(LETTERS)}) == 52
    assert source.split("train").labels.max() == 36


def test_any_characters_are_classes():
    source = Glyphs(charset="жщя+", images=40)
    assert source.spec.classes == tuple("жщя+")
    images = source.split("train").take(torch.arange(40))["input"]
    assert bool((images.flatten(1).max(1).values > 100).all())


@pytest.mark.parametrize(
    ("charset", "said"), [("ab\ue123", "no font"), ("a b", "no font"), ("aab", "twice"), ("a", "two")]
)
def test_characters_that_can_not_be_drawn_are_refused(charset, said):
    with pytest.raises(ConfigError, match=rf"(?s)dataset\.charset.*{said}"):
        Glyphs(charset=charset)


def test_every_font_has_every_digit_and_letter():
    count = len(FONTS) - any("cmti10" in note for note in Glyphs().notes)  # which matplotlib has from 3.11 on
    for characters in ("0123456789", "".join(LETTERS)):
        fields, owners = glyphs(characters)
        assert owners.bincount().tolist() == [count] * len(characters)
        assert bool((fields.flatten(1).max(1).values > 0.9).all())


def test_a_font_that_matplotlib_has_not_is_left_out_and_said(monkeypatch):
    before = glyphs("23")[1]
    monkeypatch.setattr(module, "FONTS", (*FONTS, "no font"))
    glyphs.cache_clear()
    assert glyphs("23")[1].tolist() == before.tolist()
    assert any("matplotlib has no " in note and "no font here" in note for note in Glyphs(charset="23").notes)


def test_the_fingerprint_follows_the_images():
    first = Glyphs().fingerprint()
    assert first == Glyphs().fingerprint()
    others = [Glyphs(seed=1), Glyphs(images=100), Glyphs(charset="letters"), Glyphs(limit=10), Glyphs(size=32)]
    assert len({first, *(source.fingerprint() for source in others)}) == 6


def test_hashed_numbers_are_uniform_and_independent():
    draws = uniform(mix(torch.arange(20_000)), 4)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (draws.mean(1) - 0.5).abs().max() < 0.01
    assert (draws.var(1) - 1 / 12).abs().max() < 0.002
    assert (torch.corrcoef(draws) - torch.eye(4)).abs().max() < 0.03
    grain = noise(mix(torch.arange(100)), 785)
    assert grain.shape == (100, 785)
    assert grain.mean().abs() < 0.01
    assert key(0, 1) != key(1, 0)
    assert key(-1, 0) != key(1, 0)


def test_the_mixing_is_splitmix64():
    assert mix(torch.tensor(0)).item() % 2**64 == 0xE220A8397B1DCDAF  # the first output of the reference for seed 0
