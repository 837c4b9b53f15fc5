"""The keys that every dataset shares."""

from typing import ClassVar

import pytest
import torch

from ptft.core import Spec
from ptft.data.examples import MemoryExamples, Resized
from ptft.data.image import reader as image_reader
from ptft.data.image import source as image_source
from ptft.data.image.digits import Digits
from ptft.data.image.source import ImageSource
from ptft.errors import ConfigError, DataError

NAMES = ("ant", "bee", "cat", "dog")


class Numbered(ImageSource):
    """Image i of a split is filled with i, so that a batch says which examples it holds."""

    counts: ClassVar = {"train": 200, "val": 40, "test": 60}

    def __init__(self, labels=None, **keys):
        super().__init__(**keys)
        self.given = labels
        self.describe(NAMES, tuple(self.counts), (4, 4), 1, (0.5,), (0.25,))

    def load(self, split):
        count = self.counts[split]
        labels = torch.arange(count) % 4 if self.given is None else torch.tensor(self.given)
        images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
        return MemoryExamples(images, labels)


def images(examples):
    return examples.take(torch.arange(len(examples)))["input"]


def ids(examples):
    return set(images(examples)[:, 0, 0, 0].tolist())


def test_val_as_a_fraction_and_the_training_subset_never_overlap():
    for amount in ({"limit": 150}, {"fraction": 0.9}, {"per_class": 30}, {}):
        for seed in range(3):
            source = Numbered(val=0.2, seed=seed, **amount)
            train, val = source.split("train"), source.split("val")
            assert len(val) == 40
            assert val.labels.bincount().tolist() == [10] * 4
            assert not ids(train) & ids(val)
    assert ids(Numbered(val=0.2, seed=0).split("val")) != ids(Numbered(val=0.2, seed=1).split("val"))
    assert ids(Numbered(val=0.2, seed=0).split("val")) == ids(Numbered(val=0.2, limit=20).split("val"))


def test_amounts_are_stratified_seeded_and_nested():
    small, large = Numbered(limit=20).split("train"), Numbered(limit=100).split("train")
    assert small.labels.bincount().tolist() == [5] * 4
    assert ids(small) < ids(large)
    assert ids(small) != ids(Numbered(limit=20, seed=1).split("train"))
    assert len(Numbered(limit=10**6).split("train")) == 200
    assert len(Numbered(fraction=0.1).split("train")) == 20
    assert Numbered(per_class=3).split("train").labels.bincount().tolist() == [3] * 4


def test_labels_stay_with_their_images():
    train = Numbered(val=0.1, limit=50, seed=3).split("train")
    assert torch.equal(images(train)[:, 0, 0, 0].long() % 4, train.labels)


def test_kept_classes_are_renumbered_in_the_given_order():
    source = Numbered(classes=["dog", "bee"])
    assert source.spec.classes == ("dog", "bee")
    for name, count in (("train", 100), ("val", 20), ("test", 30)):
        examples = source.split(name)
        assert len(examples) == count
        assert torch.equal(examples.labels, (images(examples)[:, 0, 0, 0].long() % 4 == 1).long())


def test_unknown_classes_and_splits_get_the_nearest_and_the_choices():
    with pytest.raises(ConfigError, match=r"dataset\.classes.*'dgo', nearest: dog.*ant, bee, cat, dog"):
        Numbered(classes=["cat", "dgo"])
    with pytest.raises(ConfigError, match=r"dataset\.train.*'trian', nearest: train"):
        Numbered(train="trian")
    with pytest.raises(ConfigError, match=r"dataset\.val.*'valid'.*dataset\.val=0\.1"):
        Numbered(val="valid")


def test_training_on_the_test_split_leaves_no_test():
    source = Numbered(train="test", val=0.5)
    assert source.split("test") is None
    assert len(source.split("train")) == 30
    assert any("no test split" in note for note in source.notes)


def test_val_null_and_test_null_are_none():
    source = Numbered(val=None, test=None)
    assert source.split("val") is None
    assert source.split("test") is None
    assert len(source.split("train")) == 200


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"limit": 5, "per_class": 1}, r"dataset\.limit=5 and dataset\.per_class=1"),
        ({"limit": 0}, r"dataset\.limit=0"),
        ({"fraction": 1.5}, r"dataset\.fraction=1\.5"),
        ({"val": 1.0}, r"dataset\.val=1\.0"),
        ({"val": "train"}, r"dataset\.val=train"),
        ({"on_error": "ignore"}, r"dataset\.on_error=ignore"),
        ({"size": [3, 4, 5]}, r"dataset\.size"),
        ({"size": 0}, r"dataset\.size=0"),
        ({"channels": 2}, r"dataset\.channels=2"),
        ({"classes": ["cat", "cat"]}, r"dataset\.classes"),
    ],
)
def test_values_that_can_not_work_are_named(keys, said):
    with pytest.raises(ConfigError, match=said):
        Numbered(**keys)


@pytest.mark.parametrize("wrong", [4, -1, -100])
def test_labels_out_of_range_name_sample_label_and_classes(wrong):
    with pytest.raises(DataError, match=f"sample 2 of train has label {wrong}, but there are 4 classes"):
        Numbered(labels=[0, 1, wrong, 3]).split("train")


def test_too_few_of_a_class_names_it():
    with pytest.raises(DataError, match=r"dataset\.per_class=3: class dog has only 1 image to"):
        Numbered(labels=[0, 0, 0, 1, 1, 1, 2, 2, 2, 3], per_class=3).split("train")


def test_empty_splits_are_errors():
    with pytest.raises(DataError, match=r"dataset\.val=null"):
        Numbered(labels=[0, 1, 2, 3], val=0.1).split("val")
    with pytest.raises(DataError, match="train split"):
        Numbered(labels=[0, 0], classes=["dog"]).split("train")


def checkpoint(size, channels, mean):
    return Spec("image", image_reader.shape(size, channels, "crop"), "class", ("a", "b"), mean, mean)


def test_a_checkpoint_decides_size_channels_and_statistics():
    like = checkpoint((8, 12), 3, (0.1, 0.2, 0.3))
    source = Numbered(like=like)
    assert source.spec.shape == {"size": [8, 12], "channels": 3, "fit": "crop"}
    assert source.spec.mean == (0.1, 0.2, 0.3)
    assert source.spec.classes == NAMES
    assert images(source.split("train")).shape == (200, 3, 8, 12)
    assert "images are resized to 8×12, as the weights expect; dataset.size=… changes it" in source.notes
    assert any("three channels, as the weights expect" in note for note in source.notes)


def test_what_is_typed_wins_over_the_checkpoint():
    source = Numbered(size=6, channels=1, like=checkpoint((8, 8), 3, (0.1, 0.2, 0.3)))
    assert source.spec.shape == {"size": [6, 6], "channels": 1, "fit": "crop"}
    assert source.spec.mean == pytest.approx((0.2,)), "the mean over the checkpoint's channels"
    assert source.notes == ()


def test_a_checkpoint_like_the_data_changes_and_says_nothing():
    source = Numbered(like=checkpoint((4, 4), 1, (0.3,)))
    assert source.notes == ()
    assert source.spec.mean == (0.3,)


def test_a_checkpoint_of_text_is_refused():
    with pytest.raises(ConfigError, match="text"):
        Numbered(like=Spec("text", {}))


def test_images_too_many_to_resize_at_once_are_resized_by_the_batch(monkeypatch):
    at_once = Numbered(size=9).split("train")
    monkeypatch.setattr(image_source, "RESIZE_AT_ONCE", 1000)
    by_batch = Numbered(size=9).split("train")
    assert isinstance(by_batch, Resized)
    assert by_batch.in_memory
    indices = torch.tensor([5, 199, 3])
    batches = at_once.take(indices), by_batch.take(indices)
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in ("input", "label", "index"))


def test_the_fingerprint_follows_what_is_trained_on():
    first = Numbered().fingerprint()
    assert first == Numbered().fingerprint()
    assert len(first) == 16
    others = [Numbered(limit=100), Numbered(val=0.1), Numbered(val=0.1, seed=1), Numbered(classes=NAMES[:3])]
    others += [Numbered(size=5), Numbered(test=None), Numbered(classes=NAMES[::-1])]
    assert len({first, *(source.fingerprint() for source in others)}) == 8


def test_digits_are_divided_once_and_for_all():
    source, other = Digits(seed=0), Digits(seed=5)
    sizes = [len(source.split(name)) for name in ("train", "val", "test")]
    assert sizes == [1079, 359, 359]
    assert source.fingerprint() == other.fingerprint()
    for name in ("val", "test"):
        assert source.split(name).labels.bincount().min() >= 33
    train = source.split("train")
    assert images(train).shape == (1079, 1, 28, 28)
    assert images(train).max() == 255
    values = images(train).float() / 255
    assert abs(values.mean().item() - source.spec.mean[0]) < 0.01
    assert abs(values.std().item() - source.spec.std[0]) < 0.01
