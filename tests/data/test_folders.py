"""Lists of files and folders of classes as people have them, seen through images."""

import json
import unicodedata

import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.image.folder import ImageFolder
from ptft.errors import ConfigError, DataError


def pool(root, count, names=("cat", "dog")):
    """`count` images in a folder for each of the classes."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (99 * k, 9 * i, 9)).save(root / name / f"{i}.png")


def listed(folder, *rows, header="path,label,split"):
    """A list of images, written as rows of path, label and split beside the images a.png and b.png."""
    for k, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (8, 8), (99 * k, 9, 9)).save(folder / name)
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "list.csv"


GOOD = [f"{'ab'[i % 2]}.png,{'ab'[i % 2]},{split}" for i in range(12) for split in ("train", "val")]


def test_rows_of_a_list_that_can_not_be_used_are_named_or_left_out_and_counted(tmp_path):
    for row, said in (
        ("a.png,,train", "has no label"),
        (",a,train", "has no path"),
        ("a.png,a,train,x", "has 4 columns"),
    ):
        with pytest.raises(DataError, match=rf"list\.csv:2: {said}.*dataset\.on_error=skip leaves such lines out"):
            ImageFolder(root=listed(tmp_path, row, *GOOD))
        source = ImageFolder(root=listed(tmp_path, row, *GOOD), on_error="skip")
        assert len(source.split("train")) == 12
        assert source.notes[0].startswith("1 line is left out, the first:")
    with pytest.raises(DataError, match=r"24 of its lines can't be used, .*too many"):
        ImageFolder(root=listed(tmp_path, *["a.png,,train"] * 24, *GOOD), on_error="skip")


@pytest.mark.parametrize("label", ["", "-1"])
def test_a_test_split_of_a_list_without_labels_is_left_out_with_a_word(tmp_path, label):
    source = ImageFolder(root=listed(tmp_path, *GOOD, f"a.png,{label},test"))
    assert source.split("test") is None
    assert "test has no labels and is not used; stage=predict answers it" in source.notes
    with pytest.raises(DataError, match=r"dataset\.val=test: test has no labels; .*dataset\.val=0\.1.* or null works"):
        ImageFolder(root=listed(tmp_path, *GOOD, f"a.png,{label},test"), val="test")


def test_a_test_folder_without_classes_is_left_out_with_a_word(tmp_path):
    pool(tmp_path / "train", 4)
    pool(tmp_path / "val", 4)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "a.png")
    source = ImageFolder(root=tmp_path)
    assert source.split("test") is None
    assert any("test has no folders of classes and is not used" in note for note in source.notes)


def test_names_are_compared_in_one_unicode_form(tmp_path):
    for split, form in (("train", "NFD"), ("val", "NFC")):
        pool(tmp_path / split, 4, [unicodedata.normalize(form, "caf\u00e9"), "tea"])
    source = ImageFolder(root=tmp_path, classes=["cafe\u0301", "tea"], test=None)
    assert source.spec.classes == ("caf\u00e9", "tea")
    assert len(source.split("val")) == 8
    older = {**source.spec.to_dict(), "classes": ["cafe\u0301", "tea"]}
    assert Spec.from_dict(older).classes == source.spec.classes
    rows = [row.replace(",a,", ",caf\u00e9,").replace(",b,", ",cafe\u0301,") for row in GOOD]
    assert ImageFolder(root=listed(tmp_path, *rows)).spec.classes == ("caf\u00e9",)
    (tmp_path / "a.png").rename(tmp_path / "e\u0301.png")
    assert len(ImageFolder(root=listed(tmp_path, "\u00e9.png,a,train", *GOOD), size=8).split("train")) == 13


def test_many_fractions_as_classes_are_told(tmp_path):
    rows = [f"a.png,{i / 10},train" for i in range(12)]
    source = ImageFolder(root=listed(tmp_path, *rows), val=None)
    assert "12 classes are all numbers, e.g. 0.1; each is a class by itself" in source.notes


@pytest.mark.parametrize("name", ["list.JSON", "list.jsonl", "list.TSV"])
def test_a_list_may_be_any_table(tmp_path, name):
    rows = [dict(zip(("path", "label", "split"), row.split(","), strict=True)) for row in GOOD]
    lines = {"list.JSON": json.dumps(rows), "list.jsonl": "\n".join(map(json.dumps, rows))}
    listed(tmp_path)
    (tmp_path / name).write_text(lines.get(name, "\n".join(["path,label,split", *GOOD]).replace(",", "\t")))
    assert len(ImageFolder(root=tmp_path / name).split("val")) == 12


def test_classes_that_yaml_made_booleans_are_found(tmp_path):
    for split in ("train", "val"):
        pool(tmp_path / split, 4, ["no", "yes", "true"])
    assert ImageFolder(root=tmp_path, classes=[False, "yes"], test=None).spec.classes == ("no", "yes")
    with pytest.raises(ConfigError, match=r"dataset\.classes: True may be 'true' or 'yes'; in YAML write it in quotes"):
        ImageFolder(root=tmp_path, classes=[False, True])


def test_what_lies_beside_folders_of_classes_and_files_of_other_kinds_are_told(tmp_path):
    pool(tmp_path, 5)
    for name in ("cat/photo.heic", "dog/labels.xml", "dog/deep/film.mp4", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "saved.jfif", "JPEG")
    (tmp_path / "cat" / ".DS_Store").touch()
    source = ImageFolder(root=tmp_path)
    assert f"1 image in no folder of a class is left out, the first: {tmp_path}/loose.png" in source.notes
    by_suffix = "(.heic 1, .mp4 1, .xml 1)"
    said = f"3 files are no images by their suffix {by_suffix} and are left out, the first: {tmp_path}/cat/photo.heic"
    assert said in source.notes
    assert sum(len(source.split(split)) for split in ("train", "val", "test")) == 11
    flat = ImageFolder(root=tmp_path / "cat" / "..", split_seed=1)
    assert [note for note in flat.notes if "suffix" in note]


def test_a_list_with_other_separators_and_one_made_on_windows(tmp_path):
    file = listed(tmp_path, *(row.replace(",", ";") for row in GOOD), header="path;label;split")
    assert "columns are separated by semicolons" in ImageFolder(root=file).notes
    pool(tmp_path / "in", 2)
    rows = [
        f"in\\{name}\\{i}.png,{name},{split}" for name in ("cat", "dog") for i, split in enumerate(("train", "val"))
    ]
    source = ImageFolder(root=listed(tmp_path, *rows))
    assert source.split("train").take(torch.arange(2))["label"].tolist() == [0, 1]


@pytest.mark.parametrize("names", [("Train", "Validation", "TEST"), ("TRAIN", "val", "Test"), ("train", "Dev", "test")])
def test_folders_that_are_called_as_splits_are_splits_in_any_case(tmp_path, names):
    for split, count in zip(names, (5, 3, 2), strict=True):
        pool(tmp_path / split, count)
    source = ImageFolder(root=tmp_path)
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [10, 6, 4]
    assert source.spec.classes == ("cat", "dog")
    images = ImageFolder(root=tmp_path, labelled=False)
    assert len(images.split("train")) == 10


def test_a_key_that_names_a_folder_as_it_is_written_finds_it(tmp_path):
    for split in ("Train", "Validation"):
        pool(tmp_path / split, 4)
    source = ImageFolder(root=tmp_path, train="Train", val="Validation")
    assert source.splits == ("Train", "Validation")
    assert len(source.split("val")) == 8


def test_two_folders_of_one_split_are_named(tmp_path):
    pool(tmp_path / "train", 4)
    pool(tmp_path / "Train", 4)
    with pytest.raises(DataError, match=r"Train and train are both the train split; put their files into one"):
        ImageFolder(root=tmp_path)


def test_a_list_writes_splits_in_any_case(tmp_path):
    rows = [row.replace("train", "Train").replace("val", "VAL") for row in GOOD]
    source = ImageFolder(root=listed(tmp_path, *rows))
    assert [len(source.split(split)) for split in ("train", "val")] == [12, 12]
