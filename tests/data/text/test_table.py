"""Tables as people have them: labels that are numbers or missing, headers, parts of a split, empty files."""

import json
import time

import pytest
import torch

from ptft.data.text.table import TableTexts
from ptft.errors import ConfigError, DataError

ROWS = [(f"a {name} day {i}", name) for i in range(12) for name in ("good", "bad")]


def table(folder, header="text,label", **splits):
    folder.mkdir(exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return folder


def source(root, **keys):
    return TableTexts(root=root, tokenizer="bytes", **keys)


def test_labels_that_are_many_numbers_are_asked_about(tmp_path):
    tenths = [(text, f"{i % 26 / 5:.1f}") for i, (text, _) in enumerate(ROWS)]
    root = table(tmp_path, train=tenths, dev=tenths[:4])
    with pytest.raises(ConfigError, match=r"24 labels that are all numbers, e\.g\. \d\.\d; dataset\.target=number obj"):
        source(root)
    assert len(source(root, target="class").spec.classes) == 24
    commas = [(text, f'"{number.replace(".", ",")}"') for text, number in tenths]
    with pytest.raises(ConfigError, match=r"e\.g\. \d,\d; .* predicts the number, once it is written with a point"):
        source(table(tmp_path / "commas", train=commas, dev=commas[:4]))
    with pytest.raises(DataError, match=r"the label '0,0' is no number; a number is written with a point"):
        source(tmp_path / "commas", target="number").split("val")
    halves = [(text, str(i % 5 / 2)) for i, (text, _) in enumerate(ROWS)]
    few = source(table(tmp_path / "few", train=halves, dev=halves))
    assert few.notes[0].startswith("train has 5 labels that are all numbers, e.g. 0.5, and each is a class; ")
    assert not source(table(tmp_path / "whole", train=[(t, f"{v[0]}.0") for t, v in halves], dev=halves[:2])).notes
    assert source(root, target="number").split("val").labels.tolist() == pytest.approx([0, 0.2, 0.4, 0.6])


@pytest.mark.parametrize("label", ["nan", "-inf", "1e400", "Infinity"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_number_that_is_not_finite_is_named_where_it_enters(tmp_path, split, label):
    numbers = [(text, str(i % 5)) for i, (text, _) in enumerate(ROWS)]
    parts = {name: list(numbers) for name in ("train", "val", "test")}
    parts[split][3] = ("a bad one", label)
    with pytest.raises(DataError, match=rf"{split}\.csv:5: the label '{label}' is no finite number"):
        source(table(tmp_path, **parts), target="number").split(split)


@pytest.mark.parametrize("label", ["1e300", "-1e39"])
def test_a_number_that_only_64_bits_hold_is_said_to_be_too_large(tmp_path, label):
    numbers = [(text, str(i % 5)) for i, (text, _) in enumerate(ROWS)]
    root = table(tmp_path, train=[*numbers, ("a bad one", label)], dev=numbers)
    with pytest.raises(DataError, match=rf"the label '{label}' is beyond 3\.4e\+38, the largest of 32 bits"):
        source(root, target="number").split("train")


@pytest.mark.parametrize("empty", ["", "text,label\n", "\ufeff", "\n\n"], ids=["bytes", "header", "mark", "lines"])
@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", r"the train split \(train\) holds no texts"),
        ("val", "holds no texts; dataset.val=null trains without one"),
        ("test", "holds no texts; dataset.test=null leaves it out"),
    ],
)
def test_an_empty_split_says_what_to_do(tmp_path, split, said, empty):
    root = table(tmp_path, train=ROWS, val=ROWS, test=ROWS)
    (root / f"{split}.csv").write_text(empty, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        source(root).split(split)
    if split != "train":
        assert source(root, **{split: None}).split(split) is None


@pytest.mark.parametrize("once", [1, 5], ids=["all differ", "some are the same"])
def test_a_number_is_no_class_where_a_table_is_divided(tmp_path, once):
    """A rare class is kept in train; of numbers each is rare, which left val and test next to nothing."""
    numbers = [(f"day {i}", str(i // once)) for i in range(300)]
    root = table(tmp_path, train=numbers) / "train.csv"

    def places(**keys):
        found = source(root, divide_by="name", **keys)
        return {split: found.names(found.part(split).split) for split in ("train", "val", "test")}

    drawn = places(target="number")
    assert drawn == places(label=None)
    assert len(drawn["val"]) + len(drawn["test"]) == pytest.approx(60, abs=15)
    assert places(target="number", text="text", label="label", group="text") == drawn


def test_a_published_layout_of_numbers_is_divided_as_such(tmp_path):
    rows = [(f"day {i}", "a night", f"{i / 100}") for i in range(200)]
    root = table(tmp_path, "sentence1,sentence2,score", train=rows) / "train.csv"
    found = source(root, divide_by="name", layout="stsb")
    assert len(found.split("val")) + len(found.split("test")) == pytest.approx(40, abs=12)


def test_one_row_is_too_few_to_divide(tmp_path):
    root = table(tmp_path, train=ROWS[:1])
    with pytest.raises(DataError, match="holds no texts, or too few"):
        source(root / "train.csv").split("train")


@pytest.mark.parametrize("label", ["-1", "", "-1.0"])
@pytest.mark.parametrize("target", ["class", "number"])
def test_a_test_split_without_labels_is_left_out_with_a_word(tmp_path, label, target):
    rows = [(text, str(i % 2)) for i, (text, _) in enumerate(ROWS)]
    root = table(tmp_path, train=rows, val=rows, test=[(text, label) for text, _ in rows])
    found = source(root, target=target)
    assert found.split("test") is None
    assert found.notes == ("test.csv has no labels and is not used; stage=predict answers it",)
    (root / "test.csv").rename(root / "val.csv")
    with pytest.raises(DataError, match=r"dataset\.val=val: val\.csv has no labels; .*dataset\.val=0\.1.* or null"):
        source(root, target=target).split("val")
    assert source(root, target=target, val=0.1).split("val") is not None


def test_minus_one_may_be_a_class(tmp_path):
    rows = [(text, "-1" if i % 2 else "1") for i, (text, _) in enumerate(ROWS)]
    found = source(table(tmp_path, train=rows, val=rows, test=[row for row in rows if row[1] == "-1"]))
    assert found.split("test").labels.tolist() == [1] * 12


def test_rows_without_a_label_are_named_or_left_out_and_counted(tmp_path):
    root = table(tmp_path, train=[*ROWS, ("no label", "")], val=ROWS)
    with pytest.raises(DataError, match=r"train\.csv:26: has no label in column 'label'; dataset\.on_error=skip"):
        source(root)
    found = source(root, on_error="skip")
    assert len(found.split("train")) == 24
    assert "1 line is left out, the first:" in found.notes[0]
    with pytest.raises(DataError, match=r"11 of its lines can't be used, .*too many"):
        source(table(root, train=[*ROWS, *[("no label", "")] * 11]), on_error="skip")
    (tmp_path / "one.csv").write_text((root / "train.csv").read_text() + 'x,""\n' * 9)
    with pytest.raises(DataError, match=r"one\.csv: 20 of its lines can't be used"):
        source(tmp_path / "one.csv", on_error="skip")
    with pytest.raises(DataError, match=r"has no label, nor has any other row; dataset\.label=null trains without"):
        source(table(root, train=[("no label", "")] * 11))
    with pytest.raises(DataError, match=r"has no label, nor has any other row; stage=predict answers rows without"):
        source(table(root, new=[("no label", "")] * 11), like=found.spec, whole=True, test="new")
    assert source(root, label=None).spec.target == "none"


def test_a_header_that_became_an_example_is_told(tmp_path):
    root = table(tmp_path, train=ROWS, val=ROWS)
    told = "the first line of train.csv (text, label) is read as an example; dataset.header=true leaves it out"
    first = source(root, text=0, label=1)
    assert [note.replace("val.csv", "train.csv") for note in first.notes[:1]] == [told]
    assert len(source(root, text=0, label=1, header=True).split("train")) == 24
    assert not source(root, text=0, label=1, header=True).notes
    assert not source(root).notes
    alike = table(tmp_path / "alike", "words,kind", train=ROWS, val=ROWS)
    assert "(words, kind) is read as an example" in source(alike, text=0, label=1).notes[0]
    bare = table(tmp_path / "bare", "some words,good", train=ROWS, val=[("b", "bad")])
    (bare / "val.csv").write_text("b,bad\n")
    assert not [note for note in source(bare, text=0, label=1).notes if "example" in note]


def test_parts_of_a_split_are_read_and_said(tmp_path):
    table(tmp_path, **{f"train-0000{i}-of-00003": ROWS[8 * i : 8 * i + 8] for i in range(3)}, val=ROWS)
    found = source(tmp_path)
    assert len(found.split("train")) == 24
    assert found.notes[0] == "train is read from 3 files, train-00000-of-00003.csv to train-00002-of-00003.csv"


@pytest.mark.parametrize("name", ["TRAIN.CSV", "train.JSON", "Train.ndjson"])
def test_suffixes_and_names_of_splits_may_be_in_capitals(tmp_path, name):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    table(tmp_path, val=ROWS)
    csv = name.endswith("CSV")
    (tmp_path / name).write_text((tmp_path / "val.csv").read_text() if csv else "\n".join(lines))
    assert len(source(tmp_path).split("train")) == 24


def test_classes_of_every_split_are_kept_or_refused(tmp_path):
    root = table(
        tmp_path, train=[*ROWS, ("rare", "odd")], val=[*ROWS, ("other", "new")], test=[("x", "new"), ("y", "bad")]
    )
    kept = source(root, classes=["bad", "good"])
    assert [len(kept.split(split)) for split in ("train", "val", "test")] == [24, 24, 1]
    assert kept.split("test").take(torch.arange(1))["label"].tolist() == [0]
    with pytest.raises(DataError, match=r"val\.csv:26: val has the class 'new'"):
        source(root).split("val")


def test_tens_of_thousands_of_classes_take_no_longer_for_each_other(tmp_path):
    rows = [(f"a day {i}", f"c{i // 2}") for i in range(20_000)]
    began = time.process_time()
    data = source(table(tmp_path, train=rows, dev=rows[:2]), classes=[f"c{i}" for i in range(10_000)])
    assert len(data.split("train")) == 20_000
    assert len(data.split("val")) == 2
    assert time.process_time() - began < 10  # of one second; 60 s where each class was looked for among all


def test_the_line_of_excel_that_names_the_separator_is_no_header(tmp_path):
    root = table(tmp_path, "sep=,\ntext,label", train=ROWS, dev=ROWS[:4])
    data = source(root)
    assert (data.spec.classes, len(data.split("train"))) == (("bad", "good"), 24)
    assert data.names("train")[0] == "train.csv:3"
    rows = [(";".join(row),) for row in ROWS]
    other = source(table(tmp_path / "other", "sep=;\ntext;label", train=rows, dev=rows[:4]))
    assert (other.spec.classes, len(other.split("train"))) == (("bad", "good"), 24)


def test_classes_that_differ_in_case_only_are_told_and_numbers_are_one(tmp_path):
    for names, said in ((("good", "Good"), "good and Good"), (("0.5", "0.50"), "0.5 and 0.50")):
        rows = [(text, names[i % 2]) for i, (text, _) in enumerate(ROWS)]
        data = source(table(tmp_path, train=rows, dev=rows[:4]), target="class")
        assert any(
            "are two classes; write them alike" in note and all(n in note for n in names) for note in data.notes
        ), said
    letters = [(text, "aA"[i % 2]) for i, (text, _) in enumerate(ROWS)]
    assert source(table(tmp_path, train=letters, dev=letters[:4])).notes == ()
    rows = [(text, ("0", "0.0", "1")[i % 3]) for i, (text, _) in enumerate(ROWS)]
    data = source(table(tmp_path / "numbers", train=rows, dev=rows[:4]), target="class")
    assert data.spec.classes == ("0", "1")
    assert "0 and 0.0 are one class, and so are others that are written in two ways" in data.notes
    assert data.split("val").labels.tolist() == [0, 0, 1, 0]


def test_texts_that_are_cut_are_counted(tmp_path):
    """Special tokens take their places of the length, and a pair shares it."""
    rows = [("a" * 10, "x"), ("b" * 11, "x"), ("c" * 30, "y")]
    root = table(tmp_path / "one", train=rows, dev=rows[:1])
    cut = source(root, length=12, target="class")
    assert [len(cut.split(name)) for name in ("train", "val")] == [3, 1]
    assert cut.notes == ("train: 2 of 3 texts are cut by dataset.length=12",)
    pairs = [("a" * 5, "b" * 4, "x"), ("a" * 5, "b" * 5, "y")]
    two = source(table(tmp_path / "two", "one,two,label", train=pairs), text=["one", "two"], length=12, val=None)
    assert len(two.split("train")) == 2
    assert two.notes == ("train: 1 of 2 texts is cut by dataset.length=12",)
