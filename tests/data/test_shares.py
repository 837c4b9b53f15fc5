"""val and test as shares of the training split, whatever the dataset is."""

import pytest

from ptft.data.audio.strings import AudioStrings
from ptft.data.image.folder import ImageFolder
from ptft.errors import ConfigError
from tests.conftest import refused
from tests.data import test_divided_by_name as undivided
from tests.data.test_own_val import KINDS, known

TRAIN = {"train": [f"{name}{i}" for i in range(40) for name in ("a", "b")]}
EMBEDDED = {
    "glyphs": ("dataset.images=100", "model=cnn", "objective=classify"),
    "tones": ("dataset.count=60", "model=audio_cnn", "objective=classify"),
    "digits": ("model=cnn", "objective=classify"),
    "grammar": ("dataset.sentences=200", "dataset.length=16", "model=gpt_tiny", "objective=causal_lm"),
}


@pytest.mark.parametrize("divide_by", ["name", "order"])
@pytest.mark.parametrize("name", KINDS)
def test_val_and_test_may_be_shares(name, divide_by, tmp_path):
    make, kind, options = KINDS[name]
    root = make(tmp_path / "data", TRAIN)
    source = kind(root=root, divide_by=divide_by, val=0.1, test=0.3, **options)
    train, val, test = (known(source, split) for split in ("train", "val", "test"))
    assert len(train) + len(val) + len(test) == 80
    assert len(train | val | test) == 80
    assert 2 <= len(val) <= 16
    assert 14 <= len(test) <= 36
    alone = kind(root=root, divide_by=divide_by, val=0.1, test=None, **options)
    assert known(alone, "val") == val  # the share that is test is not taken from it


@pytest.mark.parametrize("name", [kind for kind in undivided.KINDS if "fraction" not in kind])
def test_a_typed_share_is_one_of_all_that_is_undivided(name, tmp_path):
    make, kind, options = undivided.KINDS[name]
    root = make(tmp_path / "data", undivided.NAMES)
    source = kind(root=root, divide_by="order", val=0.1, test=0.5, **options)
    assert [len(known(source, split)) for split in ("train", "val", "test")] == [24, 6, 30]
    assert not [note for note in source.notes if "80 %" in note]


def test_what_is_drawn_and_not_used_is_said(tmp_path):
    root = undivided.image_folder(tmp_path / "data", undivided.NAMES)
    (note,) = ImageFolder(root=root, val=0.5, test=None).notes[:1]
    assert note.endswith(
        "(dataset.split_seed=0); dataset.val=0.5 leaves this val out; dataset.test=null leaves this test out"
    )
    assert ImageFolder(root=root).notes[0].endswith("80 % train, 10 % val, 10 % test (dataset.split_seed=0)")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data_have_shares_too(name, ptft):
    run = ("stage=pretrain", f"dataset={name}", *EMBEDDED[name], "train.steps=1", "dry_run=true")
    done = ptft(*run, "dataset.val=0.1", "dataset.test=0.2")
    assert done.code == 0, done.text
    refused(ptft(*run, "dataset.val=0.5", "dataset.test=0.6"), 2, "dataset.val=0.5, dataset.test=0.6: shares of the t")
    refused(ptft(*run, "dataset.test=2"), 2, "dataset.test=2", "the name of a split, a fraction between 0 and 1")


def test_a_share_that_leaves_no_val_is_refused(tmp_path):
    root = KINDS["image folder"][0](tmp_path / "data", TRAIN)
    with pytest.raises(ConfigError, match=r"dataset\.val=0\.1, dataset\.test=0\.95: shares"):
        ImageFolder(root=root, test=0.95)


@pytest.mark.parametrize("key", ["val", "test"])
def test_strings_of_recordings_of_train_measure_nothing(key, tmp_path):
    root = KINDS["audio folder"][0](tmp_path / "data", {**TRAIN, "val": TRAIN["train"][:4]})
    with pytest.raises(ConfigError, match=rf"dataset\.{key}=0\.1: .*dataset\.{key}_rule"):
        AudioStrings(root=root, **{key: 0.1})
