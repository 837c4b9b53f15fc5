"""`stage=predict` reads files of texts as training did, and keeps a row for what it can't read."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.text import table
from tests.conftest import refused, summary

TINY = ("stage=pretrain", "model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "device=cpu")
SHORT = (*TINY, "precision=fp32", "dataset.tokenizer=bytes", "train.batch_size=8", "train.steps=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    table.sample(folder)
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where runs lie that tests share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(ptft, data, kept):
    """`trained(typed)` is a run on the table of two classes; read it, don't change it."""

    def run(*typed):
        folder = Path("run") if typed else kept / "run"
        if not folder.exists():
            done = ptft(*SHORT, "dataset=table", f"dataset.root={data}", f"hydra.run.dir={folder}", *typed)
            assert done.code == 0, done.text
        return f"ckpt={folder}"

    return run


def predicted(ptft, *typed):
    done = ptft("stage=predict", *typed, "output=out.csv", "overwrite=true")
    assert done.code == 0, done.text
    with open("out.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), done


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.json", "a.JSONL", "list.json"])
def test_a_table_is_read_by_the_names_of_its_columns_whatever_its_suffix(ptft, trained, tmp_path, name):
    rows = [{"id": i, "text": f"a good day {i}\u2028still"} for i in range(3)]
    lines = {"a.csv": "id,text\n" + "".join(f"{r['id']},{r['text']}\n" for r in rows)}
    lines["a.TSV"] = lines["a.csv"].replace(",", "\t")
    lines["list.json"] = json.dumps(rows)
    (tmp_path / name).write_text(lines.get(name, "\n".join(map(json.dumps, rows))), encoding="utf-8")
    found, done = predicted(ptft, trained(), f"input={name}")
    assert [row["class"] in ("good", "bad") for row in found] == [True] * 3, done.text


def test_a_table_without_the_column_is_refused_and_one_of_texts_alone_read(ptft, trained, tmp_path):
    checkpoint = trained()
    (tmp_path / "q.csv").write_text("id,review\n0,a good day\n1,a bad day\n")
    refused(ptft("stage=predict", checkpoint, "input=q.csv"), 3, "q.csv:1: ", "no 'text' (choices: id, review)")
    (tmp_path / "q.csv").write_text("id,text\n0,a good day\n1,a bad day\n")
    by_name, _ = predicted(ptft, checkpoint, "input=q.csv")
    (tmp_path / "q.csv").write_text("review\na good day\na bad day\n")
    alone, done = predicted(ptft, checkpoint, "input=q.csv")
    assert "the first line of q.csv (review) is answered as well" in done.out
    assert [row["class"] for row in alone[1:]] == [row["class"] for row in by_name]


def test_columns_that_had_numbers_and_a_header_are_read_so(ptft, trained, tmp_path):
    checkpoint = trained("dataset.text=0", "dataset.label=1", "dataset.header=true")
    (tmp_path / "q.tsv").write_text("any\tname\na good day\tx\n")
    assert [row["path"] for row in predicted(ptft, checkpoint, "input=q.tsv")[0]] == ["q.tsv:2"]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_without_a_header_hands_on_all_of_its_columns(ptft, tmp_path, suffix):
    between = "," if suffix == "csv" else "\t"
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        lines = (between.join([f"k{i}", "good" if i % 2 else "bad", f"a day {i}", "x"]) for i in range(16))
        (tmp_path / "data" / f"{split}.{suffix}").write_text("\n".join(lines))
    typed = ("dataset.text=2", "dataset.label=1", "dataset=table", "dataset.root=data", "hydra.run.dir=run")
    done = ptft(*SHORT, *typed)
    assert done.code == 0, done.text
    found, _ = predicted(ptft, "ckpt=run", f"input=data/dev.{suffix}")
    handed_on = [{name: row[name] for name in ("column_0", "column_1", "text", "column_3")} for row in found]
    assert handed_on[:2] == [
        {"column_0": "k0", "column_1": "bad", "text": "a day 0", "column_3": "x"},
        {"column_0": "k1", "column_1": "good", "text": "a day 1", "column_3": "x"},
    ]
    (tmp_path / "one.csv").write_text("a day\nno day\n")
    found, _ = predicted(ptft, "ckpt=run", "input=one.csv")
    assert [row["text"] for row in found] == ["a day", "no day"]


def test_lines_are_those_that_an_editor_shows(ptft, trained, tmp_path):
    (tmp_path / "in.txt").write_bytes("one\u2028still one\r\rthree\r\nfour\x85still four\n".encode())
    found, _ = predicted(ptft, trained(), "input=in.txt")
    assert [row["path"] for row in found] == ["in.txt:1", "in.txt:3", "in.txt:4"]


def test_what_can_not_be_read_costs_itself_and_its_row_is_empty_in_order(ptft, trained, tmp_path):
    checkpoint = trained()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "in" / "b.csv").write_text('text\na good day\n" "\na,b\na bad day\n')
    (tmp_path / "in" / "c.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"note": 1}\n{\n{"text": "two"}\n')
    found, done = predicted(ptft, checkpoint, "input=in")
    empty = ["a.txt", "b.csv:3", "b.csv:4", "c.jsonl:2", "c.jsonl:3", "c.jsonl:4"]
    names = ["a.txt", *(f"b.csv:{i}" for i in (2, 3, 4, 5)), *(f"c.jsonl:{i}" for i in range(1, 6))]
    assert [row["path"].removeprefix("in/") for row in found] == names
    assert [row["path"].removeprefix("in/") for row in found if not row["class"]] == empty
    assert all(not row["probability"] for row in found if not row["class"])
    assert "a.txt:1: is not UTF-8 text" in done.out
    done = ptft("stage=predict", checkpoint, "input=in", "output=out.jsonl", "hydra.run.dir=predicted")
    assert [summary(tmp_path / "predicted")[key] for key in ("files", "unreadable")] == [4, 6]
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert done.code == 0
    columns = ("text", "note", "class", "probability", "p_bad", "p_good")
    assert objects[0] == {"path": "in/a.txt", **dict.fromkeys(columns)}


def test_recordings_that_a_list_names_are_answered_by_their_parts(ptft, tmp_path):
    for i in range(4):
        audio_reader.write(tmp_path / f"{i}.wav", torch.full((800,), 1000 * i, dtype=torch.int16), 8000)
    rows = [{"path": f"{i}.wav", "label": "ab"[i % 2], "split": split} for i in range(4) for split in ("train", "val")]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    typed = ("stage=pretrain", "model=audio_cnn", "dataset=audio_manifest", "dataset.root=list.jsonl", "device=cpu")
    done = ptft(*typed, "objective=classify", "train.steps=1", "train.batch_size=4", "hydra.run.dir=run")
    assert done.code == 0, done.text
    (tmp_path / "new.csv").write_text("path,start,end\n0.wav,,\n1.wav,0.05,\nnone.wav,,\n,0,1\n2.wav,0.025,0.05\n")
    found, _ = predicted(ptft, "ckpt=run", "input=new.csv")
    assert [row["path"].rpartition("/")[2] for row in found] == [
        "0.wav",
        "1.wav from 0.05 s on",
        "none.wav",
        "new.csv:5",
        "2.wav from 0.025 to 0.05 s",
    ]
    assert [bool(row["class"]) for row in found] == [True, True, False, False, True]


def test_images_that_a_list_names_are_answered(ptft, pretrained, tmp_path):
    from PIL import Image

    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("label,path\nx,a.png\ny,b.png\n")
    found, _ = predicted(ptft, f"ckpt={pretrained}", "input=list.csv")
    assert [(row["path"], bool(row["class"])) for row in found] == [("a.png", True), ("b.png", False)]


def test_of_texts_that_are_longer_than_the_model_reads_it_is_said_which_part_is_read(ptft, trained, tmp_path):
    start = trained("dataset.length=32")
    lines = ["short", "a" * 30, "b" * 31, "c" * 90]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    found, done = predicted(ptft, start, "input=lines.txt")
    assert len(found) == 4
    assert "of 2 of 4 items only the first 32 tokens are read, e.g. lines.txt:3" in " ".join(done.out.split())
    _, done = predicted(ptft, start, "text=short")
    assert "tokens are read" not in done.out
