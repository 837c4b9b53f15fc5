"""Columns that are separated by something else than commas: as spreadsheets save them in most of Europe."""

import csv
from pathlib import Path

import pytest
import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image import reader as image_reader
from ptft.data.own import separator
from ptft.data.own.text_record import Columns
from ptft.data.own.text_rows import text_rows
from ptft.data.records import RowError, records
from ptft.data.text.table import TableTexts
from ptft.errors import ConfigError, DataError
from tests.stages.test_predictions import QUICK, TEXT


def table(file: Path, *rows: str, encoding: str = "utf-8") -> Path:
    file.write_text("\n".join(rows) + "\n", encoding=encoding)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_what_every_line_has_separates(tmp_path, mark, encoding):
    rows = ["text;label", '"so; so, ""la"" la";neg', "größer, schöner;pos", "", "0,5 kg;pos"]
    rows = [row.replace(";", mark) for row in rows]
    file = table(tmp_path / "a.csv", *rows, encoding=encoding)
    found = list(text_rows(file, Columns(("text",), "label")))
    assert [row.label for row in found] == ["neg", "pos", "pos"]
    assert found[0].texts == (f'so{mark} so, "la" la',)
    assert found[2].where.endswith("a.csv:5")
    assert [fields["label"] for _, fields in records(file)] == ["neg", "pos", "pos"]
    assert separator.notes(file) == (f"columns are separated by {separator.SEPARATORS[mark]}",)


@pytest.mark.parametrize(
    "rows",
    [
        ("text,label", "a; b,x", "c; d,y"),
        ("text", "good", "bad"),
        ("text", "good; or not", "bad; or so"),
        ("good; or not", "bad", "so, so"),
        ("text,label", "only one", "a;b"),
        ("text,label",),
        ("", "text,label", "a;b,x"),
    ],
)
def test_a_file_with_commas_or_one_column_is_read_as_before(tmp_path, rows):
    file = table(tmp_path / "a.csv", *rows)
    assert separator.of_file(file) == ","
    assert separator.notes(file) == ()


def test_one_line_that_differs_is_told_as_such(tmp_path):
    rows = [f"text {i};{'ab'[i % 2]}" for i in range(12)]
    file = table(tmp_path / "a.csv", "text;label", *rows[:5], "well; well;a", *rows[5:])
    errors = [row for row in text_rows(file, Columns(("text",), "label")) if isinstance(row, RowError)]
    assert [str(error) for error in errors] == [f"{file}:7: has 3 columns, the header has 2"]


def test_where_two_readings_are_possible_commas_are_taken_and_it_is_told(tmp_path):
    file = table(tmp_path / "a.csv", "text;net, gross", "good;0,5", "bad;1,5")
    assert separator.of_file(file) == ","
    assert separator.notes(file) == ("a.csv may have semicolons between its columns; it is read with commas",)
    other = table(tmp_path / "b.csv", "text;label", "a;x", "b", "c", "d")
    with pytest.raises(DataError, match=r"b\.csv:1: columns are separated by semicolons, though not in all lines"):
        TableTexts(root=other, tokenizer="bytes", length=8)


def test_a_comma_is_the_point_where_semicolons_separate(tmp_path):
    rows = [f"number {i};{i},5" for i in range(30)]
    file = table(tmp_path / "a.csv", "text;label", *rows)
    source = TableTexts(root=file, tokenizer="bytes", length=16, target="number")
    values = [value for split in ("train", "val", "test") for value in source.split(split).labels.tolist()]
    assert sorted(values) == [i + 0.5 for i in range(30)]
    assert "columns are separated by semicolons" in source.notes
    many = table(tmp_path / "b.csv", "text;label", *(f"number {i};{i},5" for i in range(200)))
    with pytest.raises(ConfigError, match="all numbers") as raised:
        TableTexts(root=many, tokenizer="bytes", length=16)
    assert "point" not in str(raised.value)
    file = table(tmp_path / "c.csv", "text,label", *(f'number {i},"{i},5"' for i in range(30)))
    with pytest.raises(DataError, match="a number is written with a point"):
        TableTexts(root=file, tokenizer="bytes", length=16, target="number").split("train")


def test_lists_of_files_and_manifests_too(tmp_path):
    for i in range(4):
        audio_reader.write(tmp_path / f"{i}.wav", torch.zeros(800, dtype=torch.int16) + i, 8000)
    rows = [f"{i}.wav;Hallo, Welt;{'val' if i == 3 else 'train'}" for i in range(4)]
    file = table(tmp_path / "list.csv", "path;text;split", *rows)
    source = AudioManifest(root=file)
    assert len(source.split("train")) == 3
    assert source.notes.count("columns are separated by semicolons") == 1
    found = audio_reader.items(str(file), source.spec)
    assert len(found) == 4
    assert found.notes == ("columns are separated by semicolons",)
    assert str(image_reader.items(str(file), source.spec)[0]).endswith("0.wav")


def test_training_measuring_and_answering_with_semicolons(ptft):
    rows = [f"number {i}, or so;{'ab'[i % 2]};{i}" for i in range(40)]
    table(Path("all.csv"), "Kommentar;Urteil;Nr", *rows)
    typed = ("dataset=table", "dataset.root=all.csv", "dataset.text=Kommentar", "dataset.label=Urteil")
    done = ptft("stage=pretrain", "objective=classify", *QUICK, *TEXT, *typed, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert done.out.count("columns are separated by semicolons") == 1
    table(Path("new.csv"), "Kommentar;Nr", "neu, ganz neu;1", "alt;2")
    done = ptft("stage=predict", "ckpt=run", "input=new.csv", "output=out.csv")
    assert done.code == 0, done.text
    assert "columns are separated by semicolons" in done.out
    with Path("out.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert [(row["Kommentar"], row["Nr"]) for row in answers] == [("neu, ganz neu", "1"), ("alt", "2")]
    done = ptft("stage=evaluate", "ckpt=run", "dataset.root=all.csv", "split_overlap=allow")
    assert done.code == 0, done.text


def test_the_line_that_tells_a_spreadsheet_what_separates_is_no_row(tmp_path):
    for mark in ";,":
        file = table(tmp_path / "a.csv", f"sep={mark}", f"text{mark}label", f"good{mark}x")
        (row,) = text_rows(file, Columns(("text",), "label"))
        assert (row.texts, row.label, row.where) == (("good",), "x", f"{file}:3")
