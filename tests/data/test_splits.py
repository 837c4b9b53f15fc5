"""Which file is which split, the division of what comes undivided, and labels of names."""

from pathlib import Path

import pytest
import torch

from ptft.data.audio.folder import AudioFolder
from ptft.data.folders import Media, list_all
from ptft.data.labels import to_labels
from ptft.data.splits import divide, split_by_stem, split_by_word, split_files
from ptft.data.text.table import TableTexts, split_of
from ptft.errors import DataError


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
    source = AudioFolder.__new__(AudioFolder)
    listings, divided = list_all(tmp_path, "train", 0, Media("recordings", "a.wav", frozenset({".wav"})), source, False)
    assert divided
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


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder):
    return {
        split: [str(file.relative_to(folder)) for file in files]
        for split, files in split_files(folder, split_of, "tables").items()
    }


def test_the_parts_of_a_split_are_all_read_in_the_order_of_their_numbers(tmp_path):
    touched(tmp_path, *(f"train_{i}.CSV" for i in (10, 2, 1)), "validation-00000-of-00001.csv", "test.csv")
    assert found(tmp_path) == {
        "train": ["train_1.CSV", "train_2.CSV", "train_10.CSV"],
        "val": ["validation-00000-of-00001.csv"],
        "test": ["test.csv"],
    }


def test_the_files_of_a_folder_called_as_a_split_are_its_parts(tmp_path):
    touched(tmp_path, *(f"train/part-{i}.jsonl" for i in (10, 9)), "train/_SUCCESS", "dev/x.jsonl", "notes/a.jsonl")
    assert found(tmp_path) == {"train": ["train/part-9.jsonl", "train/part-10.jsonl"], "val": ["dev/x.jsonl"]}


def test_a_part_that_is_missing_is_named(tmp_path):
    touched(tmp_path, "train-00000-of-00003.csv", "train-00002-of-00003.csv")
    with pytest.raises(DataError, match="2 of 3 files of the train split are there, number 1 is missing"):
        found(tmp_path)
    touched(tmp_path, "train-00001-of-00003.csv")
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
    touched(tmp_path, *names)
    with pytest.raises(DataError, match=" are both the train split"):
        found(tmp_path)


def test_a_number_at_the_end_of_another_name_is_no_part(tmp_path):
    touched(tmp_path, "news_2019.csv", "news_2020.csv", "train.csv")
    assert sorted(found(tmp_path)) == ["news_2019", "news_2020", "train"]
