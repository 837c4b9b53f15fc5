"""Which file is which split, the division of what comes undivided, and labels of names."""

from pathlib import Path

import pytest
import torch

from ptft.data.folders import list_all
from ptft.data.labels import to_labels
from ptft.data.own.grouped_source import GroupedSource
from ptft.data.own.listing import Media
from ptft.data.splits import divide, split_by_stem, split_by_word, split_files
from ptft.data.text.table import TableTexts, split_of
from ptft.errors import DataError


class Heard(GroupedSource):
    """Who is told what happens to files."""

    on_error, divide_by = "raise", "order"
    val, test = "val", "test"

    def __init__(self, train="train", whole=False):
        self.train, self.whole, self.unusable = train, whole, []

    def leave_out(self, split, why):
        self.note(why)

    def split(self, name):
        raise NotImplementedError

    fingerprint = split


@pytest.mark.parametrize(
    ("name", "split"),
    [("train-v1.1.json", "train"), ("eng.testa", "val"), ("valid.txt", "val"), ("eng.testb", "test"), ("notes", None)],
)
def test_a_word_of_the_name_says_the_split(name, split):
    assert split_by_word(Path(name)) == split


def test_a_stem_that_is_no_split_is_one_of_its_own():
    names = ("dev.tsv", "dev_matched.tsv", "dev_mismatched.tsv")
    assert [split_by_stem(Path(name)) for name in names] == ["val", "val", "dev_mismatched"]


def test_two_files_of_one_split_and_no_file_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds none; expected some"):
        split_files(tmp_path, split_by_word, "some")
    for name in ("dev.a", "valid.a", ".train.a"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"dev\.a and valid\.a are both the val split"):
        split_files(tmp_path, split_by_word, "some")
    (tmp_path / "dev.a").unlink()
    assert split_files(tmp_path, split_by_word, "some") == {"val": [tmp_path / "valid.a"]}
    assert split_files(tmp_path / "valid.a", split_by_word, "some") == {"": [tmp_path / "valid.a"]}


def test_a_division_is_eighty_ten_ten_by_class():
    parts = divide(range(100), 0, ["a"] * 50 + ["b"] * 50)
    assert {split: len(rows) for split, rows in parts.items()} == {"test": 10, "val": 10, "train": 80}
    assert sorted(row for rows in parts.values() for row in rows) == list(range(100))
    assert sum(i < 50 for i in parts["val"]) == 5


def test_names_become_numbers_and_another_one_is_named():
    assert to_labels(["b", "a"], ("a", "b")).tolist() == [1, 0]
    assert to_labels(["b", "c"], ("a", "b"), other=-1).tolist() == [1, -1]
    assert to_labels([], ()).dtype == torch.long
    with pytest.raises(DataError, match=r"x\.csv:3: val has the class 'c', which train has not \(a, b\); dataset"):
        to_labels(["a", "c"], ("a", "b"), lambda i: f"x.csv:{i + 2}: val")


def test_undivided_files_without_classes_are_of_the_media_asked_for(tmp_path):
    for i in range(10):
        (tmp_path / f"{i}.wav").touch()
        (tmp_path / f"{i}.jpg").touch()
    heard = Heard()
    listings = list_all(heard, tmp_path, 0, Media("recordings", "a.wav", frozenset({".wav"})), labelled=False)
    others, division = heard.notes
    assert others.startswith("10 files are no recordings by their suffix (.jpg 10)")
    assert division == f"{tmp_path} is not divided: 80 % train, 10 % val, 10 % test (dataset.split_seed=0)"
    assert {path.suffix for listing in listings.values() for path in listing.paths} == {".wav"}


def test_classes_of_val_alone_are_refused_or_left_out_where_some_are_kept(tmp_path):
    rows = {"train": ("a", "b", "c"), "val": ("a", "new", "c")}
    for split, labels in rows.items():
        lines = ["text,label", *(f"{label} words,{label}" for label in labels)]
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"val\.csv:3: val has the class 'new', which train has not \(a, b, c\)"):
        TableTexts(root=tmp_path, tokenizer="bytes").split("val")
    source = TableTexts(root=tmp_path, tokenizer="bytes", classes=["c", "a"])
    assert source.split("val").take(torch.arange(2))["label"].tolist() == [1, 0]


PICTURES = Media("images", "a.jpg", frozenset({".jpg"}))


def listed(root, train="train"):
    heard = Heard(train)
    listings = list_all(heard, root, 0, PICTURES)
    found = {
        name: sorted((path.relative_to(root).as_posix(), label) for path, label in zip(*listing[:2], strict=True))
        for name, listing in listings.items()
    }
    return found, list(heard.notes)


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_in_folders_are_classes_where_none_is_called_a_split(tmp_path):
    fill(
        tmp_path,
        *(f"{kind}/{i}.jpg" for kind in ("cats/tabby", "cats/old/siamese", "dogs/pug", "dogs") for i in range(5)),
    )
    found, notes = listed(tmp_path)
    assert {label for part in found.values() for _, label in part} == {"cats", "dogs"}
    assert sum(map(len, found.values())) == 20
    assert set(found) == {"train", "val", "test"}
    assert notes[0].startswith(f"2 folders of {tmp_path} hold folders; each is a class with all below it, e.g. cats")
    assert "is not divided" in notes[1]


@pytest.mark.parametrize("names", [("train", "val"), ("train", "extra"), ("Train", "Test"), ("training", "testing")])
def test_folders_in_folders_are_splits_where_they_are_called_so(tmp_path, names):
    fill(tmp_path, *(f"{split}/{kind}/deep/{i}.jpg" for split in names for kind in ("a", "b") for i in range(2)))
    found, notes = listed(tmp_path)
    assert set(found) == {name.lower() for name in names}
    assert {label for part in found.values() for _, label in part} == {"a", "b"}
    assert notes == []


def test_a_class_may_have_a_split_in_its_name(tmp_path):
    fill(tmp_path, "test tube/old/1.jpg", "flask/new/1.jpg")
    assert {label for part in listed(tmp_path)[0].values() for _, label in part} == {"test tube", "flask"}


def test_a_linked_folder_that_leads_back_is_no_class_and_holds_nothing_again(tmp_path):
    fill(tmp_path, *(f"train/{kind}/{i}.jpg" for kind in ("a", "b") for i in range(4)), "elsewhere/c/1.jpg")
    root, links = tmp_path / "train", {"loop": ".", "self": tmp_path / "train", "above": "..", "c": "../elsewhere/c"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "elsewhere").rename(tmp_path / ".hidden")
    (root / "c").unlink()
    (root / "c").symlink_to("../.hidden/c")
    found, notes = listed(tmp_path)
    assert [label for _, label in found["train"]] == ["a"] * 4 + ["b"] * 4 + ["c"]
    assert notes == [
        f"4 linked folders leading back into a folder around are left out, the first: {tmp_path / 'again'}"
    ]


def test_what_is_only_measured_is_not_divided(tmp_path):
    fill(tmp_path, "a/1.jpg", "b/2.jpg")
    heard = Heard(whole=True)
    listings = list_all(heard, tmp_path, 0, PICTURES)
    assert (listings["test"].names, heard.notes) == (["a", "b"], ())


def found(folder):
    return {
        split: [str(file.relative_to(folder)) for file in files]
        for split, files in split_files(folder, split_of, "tables").items()
    }


def test_the_parts_of_a_split_are_all_read_in_the_order_of_their_numbers(tmp_path):
    fill(tmp_path, *(f"train_{i}.CSV" for i in (10, 2, 1)), "validation-00000-of-00001.csv", "test.csv")
    assert found(tmp_path) == {
        "train": ["train_1.CSV", "train_2.CSV", "train_10.CSV"],
        "val": ["validation-00000-of-00001.csv"],
        "test": ["test.csv"],
    }


def test_the_files_of_a_folder_called_as_a_split_are_its_parts(tmp_path):
    fill(tmp_path, *(f"train/part-{i}.jsonl" for i in (10, 9)), "train/_SUCCESS", "dev/x.jsonl", "notes/a.jsonl")
    assert found(tmp_path) == {"train": ["train/part-9.jsonl", "train/part-10.jsonl"], "val": ["dev/x.jsonl"]}


def test_a_part_that_is_missing_is_named(tmp_path):
    fill(tmp_path, "train-00000-of-00003.csv", "train-00002-of-00003.csv")
    with pytest.raises(DataError, match="2 of 3 files of the train split are there, number 1 is missing"):
        found(tmp_path)
    fill(tmp_path, "train-00001-of-00003.csv")
    assert len(found(tmp_path)["train"]) == 3
    for i in (2, 1, 0):
        (tmp_path / f"train-0000{i}-of-00003.csv").rename(tmp_path / f"train-0000{i + 1}-of-00003.csv")
    assert len(found(tmp_path)["train"]) == 3


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "train-1.csv"),
        ("train.csv", "train.jsonl"),
        ("train.csv", "train/a.csv"),
        ("train/a.csv", "train/a.tsv"),
    ],
)
def test_files_that_are_not_parts_of_each_other_are_refused(tmp_path, names):
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=" are both the train split"):
        found(tmp_path)


def test_a_number_at_the_end_of_another_name_is_no_part(tmp_path):
    fill(tmp_path, "news_2019.csv", "news_2020.csv", "train.csv")
    assert sorted(found(tmp_path)) == ["news_2019", "news_2020", "train"]
