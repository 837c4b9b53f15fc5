"""Columns of a table are found where only one reading is possible; else what to type is named, and works."""

import csv
import json
import re
import shlex

import pytest

from ptft.data.text.table import TableTexts
from ptft.errors import DataError
from tests.conftest import refused
from tests.helpers.tables import RUN

TEXTS = [f"it was {word} in every way, number {i}" for i, word in enumerate(["good", "bad"] * 20)]
KINDS = ["positive", "negative"] * 20


def write(path, header, *columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([*([header] if header else []), *zip(*columns, strict=True)])
    return path


def found(path, **keys):
    return TableTexts(root=path, tokenizer="bytes", divide_by="name", **keys)


def labels(source):
    return [source.spec.classes[k] for k in source.loaded("train").labels.tolist()]


@pytest.mark.parametrize(
    ("header", "columns", "text", "label"),
    [
        (["review text", "sentiment"], (TEXTS, KINDS), "review text", "sentiment"),
        (["id", "stars", "what was said"], (range(40), [1, 5] * 20, TEXTS), "what was said", "stars"),
        (["label", "body"], (KINDS, TEXTS), "body", "label"),
        (["text", "kind", "number"], (TEXTS, KINDS, range(40)), "text", "kind"),
        (["word", "kind"], ([text.split()[-1] + "x" for text in TEXTS], KINDS), "word", "kind"),
        (None, (KINDS, TEXTS), 1, 0),
        (None, (range(40), TEXTS, KINDS), 1, 2),
    ],
)
def test_columns_are_found_and_said(header, columns, text, label, tmp_path):
    source = found(write(tmp_path / "all.csv", header, *columns))
    assert source.columns.text == (text,)
    assert source.columns.label == label
    assert sum(len(source.split(name)) for name in ("train", "val", "test")) == 40
    said = [note for note in source.notes if note.startswith("the columns of all.csv are found by what is in them")]
    assert len(said) == 1
    assert ("the first line is an example" in said[0]) == (header is None)
    again = found(tmp_path / "all.csv", **source.settled)
    assert not any("are found by" in note for note in again.notes)
    assert labels(again) == labels(source)


def test_usual_names_are_taken_without_a_word(tmp_path):
    source = found(write(tmp_path / "all.csv", ["other", "text", "label"], KINDS, TEXTS, KINDS[::-1]))
    assert (source.columns.text, source.columns.label) == (("text",), "label")
    assert not any("are found by" in note for note in source.notes)


def test_objects_have_columns_too(tmp_path):
    rows = ({"said": text, "kind": kind, "n": i} for i, (text, kind) in enumerate(zip(TEXTS, KINDS, strict=True)))
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = found(tmp_path / "all.jsonl")
    assert (source.columns.text, source.columns.label) == (("said",), "kind")


@pytest.mark.parametrize(
    ("header", "columns", "said"),
    [
        (
            ["id", "review text", "sentiment", "stars"],
            (range(40), TEXTS, KINDS, [1, 5] * 20),
            "'sentiment' and 'stars' may",
        ),
        (
            ["first, one", "second", "same"],
            (TEXTS, TEXTS[::-1], KINDS),
            "'first, one' and 'second' may each be the text",
        ),
        (["id", "null", "score"], (range(40), TEXTS, [i / 7 for i in range(40)]), "no column is clearly the label"),
    ],
)
def test_what_to_type_is_named_and_can_be_pasted(header, columns, said, tmp_path, ptft):
    write(tmp_path / "all.csv", header, *columns)
    run = (
        *RUN,
        "objective=classify",
        "dataset.root=all.csv",
        "train.steps=1",
        "dry_run=true",
        "dataset.target=class",
        "dataset.val=null",
        "dataset.test=null",
    )
    result = ptft(*run)
    refused(result, 3, "all.csv", said)
    typed = shlex.split(re.search(r"type them, e\.g\. (.*)", result.text)[1])
    assert len(typed) == 2
    done = ptft(*run, *typed)
    assert done.code == 0, done.text


def test_texts_alone(tmp_path):
    assert found(write(tmp_path / "all.csv", ["body", "n"], TEXTS, range(40)), label=None).columns.all == ("body",)
    with pytest.raises(DataError, match=r"no column is clearly the text \(a, b\)"):
        found(write(tmp_path / "all.csv", ["a", "b"], range(40), range(40)), label=None)


def test_a_run_keeps_what_was_found_and_measures_another_file_by_it(tmp_path, ptft):
    write(tmp_path / "all.csv", ["review text", "sentiment"], TEXTS, KINDS)
    done = ptft(*RUN, "objective=classify", "dataset.root=all.csv", "train.steps=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "'dataset.text=review text' dataset.label=sentiment" in done.out
    write(tmp_path / "new.csv", ["sentiment", "lang", "review text"], ["positive"] * 3, ["en"] * 3, TEXTS[:3])
    measured = ptft("stage=evaluate", "ckpt=run", "dataset.root=new.csv", "split_overlap=allow")
    assert measured.code == 0, measured.text


def divided_rows(names=("Train", "dev", "TEST"), count=12):
    return [(f"a {n} day {i} {s}", n, s) for i in range(count) for n in ("good", "bad") for s in names]


def write_divided(path, rows, head=("text", "label", "split")):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(head, row, strict=True))) for row in rows))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(map(mark.join, [head, *rows])) + "\n")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@pytest.mark.parametrize("val", ["val", "dev", "valid", "Validation"])
def test_a_column_of_splits_divides_the_rows_of_one_file(tmp_path, name, val):
    file = write_divided(tmp_path / name, divided_rows(("Train", val, "TEST")))
    table = TableTexts(root=file, tokenizer="bytes", split="auto")
    for split, written in (("train", "Train"), ("val", val), ("test", "TEST")):
        assert len(table.split(split)) == 24
        own = {"val": table.val}.get(split, split)
        assert {row.texts[0].split()[-1] for row in table.rows(own)} == {written}
    assert not table.drawn
    measured = TableTexts(root=file, tokenizer="bytes", split="auto", whole=True)
    assert {row.texts[0].split()[-1] for row in measured.rows(measured.test)} == {"TEST"}


def test_a_column_of_splits_is_neither_text_nor_label_and_may_have_another_name(tmp_path):
    rows = divided_rows(("train", "val"))
    found = TableTexts(
        root=write_divided(tmp_path / "a.csv", rows, ("review", "kind", "Split")),
        tokenizer="bytes",
        split="auto",
        text="review",
    )
    assert (found.columns.label, found.columns.split) == ("kind", "Split")
    other = TableTexts(
        root=write_divided(tmp_path / "b.csv", rows, ("text", "label", "fold")), tokenizer="bytes", split="fold"
    )
    assert len(other.split("val")) == 24
    numbered = TableTexts(root=tmp_path / "a.csv", tokenizer="bytes", split="auto", text=0, label=1, header=True)
    assert len(numbered.split("val")) == 24


def test_a_column_of_splits_that_is_the_label_or_holds_other_words_divides_nothing(tmp_path):
    file = write_divided(tmp_path / "a.csv", divided_rows())
    label = TableTexts(root=file, tokenizer="bytes", split="auto", label="split")
    assert label.spec.classes == ("TEST", "Train", "dev")
    assert label.drawn
    file = write_divided(tmp_path / "b.csv", divided_rows(("banana", "peach")))
    assert TableTexts(root=file, tokenizer="bytes", split="auto").drawn


def test_a_column_of_splits_that_is_not_read_is_said(tmp_path):
    file = write_divided(tmp_path / "train.csv", divided_rows())
    said = "the column split of train.csv (Train, dev, TEST) is not read; "
    assert TableTexts(root=file, tokenizer="bytes").notes[0] == f"{said}dataset.split=auto reads it"
    assert TableTexts(root=tmp_path, tokenizer="bytes", split="auto").notes[0] == f"{said}the files are the splits"


def test_rows_without_a_split_are_left_out(tmp_path):
    rows = divided_rows()
    file = write_divided(tmp_path / "a.csv", [*rows[:4], ("a day", "good", ""), *rows[4:]])
    with pytest.raises(DataError, match=r"a\.csv:6: has no split in column 'split'; dataset\.split=null divides the"):
        TableTexts(root=file, tokenizer="bytes", split="auto")
    table = TableTexts(root=file, tokenizer="bytes", split="auto", on_error="skip")
    assert [len(table.split(name)) for name in ("train", "val", "test")] == [24, 24, 24]
    assert "1 line is left out, the first: " in table.notes[0]


def test_of_many_columns_that_can_not_be_told_apart_a_few_are_named(tmp_path):
    width = 3000
    rows = [",".join(f"{'ab'[(i + j) % 2]}" for j in range(width)) for i in range(8)]
    (tmp_path / "a.csv").write_text("\n".join([",".join(f"c{j}" for j in range(width)), *rows]))
    with pytest.raises(DataError, match="'c0', 'c1', 'c2', … 2997 more may each be the label") as error:
        found(tmp_path / "a.csv")
    assert len(str(error.value)) < 500
