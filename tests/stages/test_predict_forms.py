"""What `stage=predict` takes beside files, what it hands on, and the forms that it writes."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ptft.data.audio import folder as audio_folder
from ptft.data.text import conll, squad, table
from tests.conftest import ROOT, refused

TINY = ("stage=pretrain", "model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "device=cpu")
SHORT = (*TINY, "precision=fp32", "dataset.tokenizer=bytes", "train.batch_size=8", "train.steps=2")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the run lies that tests share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(ptft, kept):
    """A run on a table of two classes; read it, don't change it."""
    root, run = kept / "data", kept / "run"
    if not run.exists():
        table.sample(root)
        done = ptft(*SHORT, "dataset=table", f"dataset.root={root}", f"hydra.run.dir={run}")
        assert done.code == 0, done.text
    return f"ckpt={run}"


def answered(ptft, *typed, output="out.csv"):
    done = ptft("stage=predict", *typed, f"output={output}", "overwrite=true")
    assert done.code == 0, done.text
    with open(output, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), done


def piped(monkeypatch, data: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_typed_text_and_piped_ones_are_answered_as_those_of_a_file(ptft, trained, monkeypatch):
    Path("in.txt").write_text("a good, [day]\n\nnot so good\n")
    of_file, _ = answered(ptft, trained, "input=in.txt")
    (typed,), done = answered(ptft, trained, "text=a good, [day]")
    assert re.search(r"\n *text +class .*\n *a good, \[day\] +\w+ ", done.out), done.out
    assert "1 item, read as" in done.out
    assert typed == {**of_file[0], "path": "text", "text": "a good, [day]"}
    piped(monkeypatch, b"\xef\xbb\xbfa good, [day]\r\n\r\nnot so good")
    lines, _ = answered(ptft, trained, "input=-")
    assert lines == [{**row, "path": row["path"].replace("in.txt", "stdin")} for row in of_file]
    piped(monkeypatch, b"a day\nb\xff\n")
    refused(ptft("stage=predict", trained, "input=-"), 3, "stdin:2: is not UTF-8")
    piped(monkeypatch, b"\n\n")
    refused(ptft("stage=predict", trained, "input=-"), 3, "input=-: holds nothing to answer")
    refused(ptft("stage=predict", trained, "input=in.txt", "text=a"), 2, "type one of input=FILES")
    refused(ptft("stage=predict", trained), 2, "type one of input=FILES")
    refused(ptft("stage=predict", trained, "input=I love it"), 3, 'a text itself is typed as text="I love it"')
    refused(ptft("stage=predict", trained, "text=a", "whole=true"), 2, "whole=true: is for files, not for text=a")


def test_typed_texts_are_for_models_that_read_some(ptft, pretrained, tmp_path):
    refused(ptft("stage=predict", f"ckpt={pretrained}", "text=a"), 2, "text=a: is for texts", "trained on image")
    refused(ptft("stage=predict", f"ckpt={pretrained}", "input=-"), 2, "input=-: is for texts")
    squad.sample(tmp_path / "q")
    typed = ("objective=span", "dataset=squad", "dataset.root=q", "dataset.length=40", "dataset.stride=8")
    assert ptft(*SHORT, *typed, "hydra.run.dir=spans").code == 0
    refused(ptft("stage=predict", "ckpt=spans", "text=a"), 2, "text=a: is for texts", "files of questions")
    conll.sample(tmp_path / "w")
    assert ptft(*SHORT, "objective=tag", "dataset=conll", "dataset.root=w", "hydra.run.dir=tags").code == 0
    (row,), _ = answered(ptft, "ckpt=tags", "text=Ada saw Delft.")
    assert (row["path"], row["text"]) == ("text", "Ada saw Delft .")
    audio_folder.sample(tmp_path / "s")
    made = ("model=audio_cnn", "model.channels=[4,8]", "model.width=12", "dataset=audio_folder", "dataset.root=s")
    assert ptft("stage=pretrain", *made, "train.batch_size=8", "train.steps=1", "hydra.run.dir=heard").code == 0
    refused(ptft("stage=predict", "ckpt=heard", "text=a"), 2, "text=a: is for texts")


def test_the_columns_of_a_table_are_handed_on_as_they_are(ptft, trained):
    cells = [["7", "a good\nday", "1.50", "bad"], ["8", "", "x", "good"], ["9", "no, a bad one", "", "bad"]]
    with open("in.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "stars", "class"], *cells])
    rows, done = answered(ptft, trained, "input=in.csv")
    assert list(rows[0])[:7] == ["path", "id", "text", "stars", "input_class", "class", "probability"]
    assert [[row[name] for name in ("id", "text", "stars", "input_class")] for row in rows] == cells
    assert [row["path"] for row in rows] == ["in.csv:2", "in.csv:4", "in.csv:5"]
    assert [bool(row["class"]) for row in rows] == [True, False, True]
    assert "1 column of the input called as one of the output: class is input_class there" in done.out
    objects = [{"text": "a day", "x": 1234567.891234}, {"text": "a day", "more": ["a", 1]}]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, objects)))
    rows, _ = answered(ptft, trained, "input=in.jsonl")
    assert [(row["x"], row["more"]) for row in rows] == [("1234567.891234", ""), ("", '["a", 1]')]
    Path("twice.csv").write_text("text,x,x\na day,1,2\n")
    rows, done = answered(ptft, trained, "input=twice.csv")
    assert "the columns are not handed on: twice.csv:1: has two columns 'x'" in done.out
    assert rows[0]["class"]


def test_the_column_of_the_texts_may_be_called_otherwise_than_in_training(ptft, trained, pretrained):
    Path("in.csv").write_text("id,review,text\n1,a good day,x\n2,a bad day,x\n")
    Path("in.txt").write_text("a good day\na bad day\n")
    rows, _ = answered(ptft, trained, "input=in.csv", "input_text=review")
    lines, _ = answered(ptft, trained, "input=in.txt")
    assert [row["p_good"] for row in rows] == [row["p_good"] for row in lines]
    assert [(row["id"], row["review"], row["text"]) for row in rows] == [
        ("1", "a good day", "x"),
        ("2", "a bad day", "x"),
    ]
    Path("other.csv").write_text("id,review\n1,a good day\n")
    refused(ptft("stage=predict", trained, "input=other.csv"), 3, "there is no 'text'", "input_text=NAME")
    predict, named = ("stage=predict", trained), "input_text=review"
    refused(ptft(*predict, "input=in.csv", "input_text=nope"), 3, "there is no 'nope' (choices: id, review, text)")
    refused(ptft(*predict, "input=in.txt", named), 3, "in.txt: is no table with a column 'review'")
    refused(ptft(*predict, "input=in.csv", "input_text=[id,review]"), 2, "the checkpoint reads 1 column of text")
    refused(ptft(*predict, "input=in.csv", named, "whole=true"), 2, "type one of them")
    refused(ptft(*predict, "text=hallo", named), 2, "input_text=review: is for files")
    refused(ptft("stage=predict", f"ckpt={pretrained}", "input=.", named), 2, "input_text: is for texts", "image")


def test_a_column_has_one_type_in_all_of_a_long_table(ptft, trained, monkeypatch):
    """Numbers that are whole in the first rows only, one of more than 64 bits, a name that the first rows lack."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("ptft.stages.asking.answers.ROWS", 64)
    objects = [{"text": f"word {i}", "size": i if i < 100 else i / 8, "mixed": [i, "a"][i % 2]} for i in range(200)]
    objects = [{**one, "id": 2**70 if i == 150 else i} for i, one in enumerate(objects)]
    objects[130]["late"] = True
    Path("in.jsonl").write_text("\n".join(map(json.dumps, objects)))
    rows, _ = answered(ptft, trained, "input=in.jsonl")
    assert ptft("stage=predict", trained, "input=in.jsonl", "output=out.parquet").code == 0
    found = parquet.read_table("out.parquet")
    assert found.num_rows == len(rows) == 200
    assert [str(found.schema.field(name).type) for name in ("size", "mixed", "id", "late", "class")] == [
        "double",
        "string",
        "string",
        "bool",
        "string",
    ]
    assert found["size"].to_pylist() == [float(one["size"]) for one in objects]
    assert found["id"].to_pylist() == [str(one["id"]) for one in objects] == [row["id"] for row in rows]
    assert found["mixed"].to_pylist() == [str(one["mixed"]) for one in objects] == [row["mixed"] for row in rows]
    assert found["late"].to_pylist() == [True if i == 130 else None for i in range(200)]
    assert [row["late"] for row in rows] == ["true" if i == 130 else "" for i in range(200)]
    assert found["class"].to_pylist() == [row["class"] for row in rows]


def test_the_output_is_written_by_its_ending_and_anything_else_refused_first(ptft, trained):
    Path("in.csv").write_text("id,text\n1,a good day\n2,\n")
    rows, _ = answered(ptft, trained, "input=in.csv")
    for name in ("out.jsonl", "out.json", "OUT.JSON"):
        assert ptft("stage=predict", trained, "input=in.csv", f"output={name}").code == 0
        text = Path(name).read_text()
        found = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)
        assert [row["class"] for row in found] == [rows[0]["class"], None]
        assert [row["id"] for row in found] == ["1", "2"]
    for name in ("out.xlsx", "out", "out.csv.gz"):
        refused(ptft("stage=predict", trained, "input=in.csv", f"output={name}"), 2, f"output={name}: ", ".parquet")
        assert not Path(name).exists()
    Path("folder.csv").mkdir()
    refused(ptft("stage=predict", trained, "input=in.csv", "output=folder.csv"), 2, "is a folder")
    parquet = pytest.importorskip("pyarrow.parquet")
    assert ptft("stage=predict", trained, "input=in.csv", "output=out.parquet").code == 0
    found = parquet.read_table("out.parquet").to_pydict()
    assert found["class"] == [rows[0]["class"], None]
    assert found["probability"][1] is None


def test_the_likeliest_classes_and_the_probability_of_each(ptft, pretrained, trained):
    Image.new("L", (28, 28), 40).save("a.png")
    (row,), done = answered(ptft, f"ckpt={pretrained}", "input=a.png", "predict.top=3")
    ranked = sorted((f"p_{k}" for k in range(10)), key=lambda name: -float(row[name]))
    assert [f"p_{row[name]}" for name in ("class", "class_2", "class_3")] == ranked[:3]
    assert row["probability_3"] == row[ranked[2]]
    assert "class_3" in done.out
    assert "p_0" not in done.out
    refused(ptft("stage=predict", trained, "text=a", "predict.top=3"), 2, "predict.top=3: the checkpoint has 2 classes")
    texts = ("stage=pretrain", "model=gpt_tiny", "model.width=16", "model.depth=1", "objective=causal_lm")
    more = (
        "dataset=grammar",
        "dataset.sentences=40",
        "dataset.held_out=10",
        "dataset.tokenizer=bytes",
        "dataset.length=32",
        "train.steps=1",
        "hydra.run.dir=lm",
    )
    assert ptft(*texts, *more).code == 0
    refused(ptft("stage=predict", "ckpt=lm", "text=a", "predict.top=3"), 2, "objective=causal_lm gives no classes")


def test_a_missing_input_is_told_before_torch_and_the_checkpoint_are_read(tmp_path):
    Path("broken.pt").write_bytes(b"no checkpoint")
    script = "import sys; from ptft.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    typed = ["stage=predict", "ckpt=broken.pt", "input=nowhere/*.png"]
    done = subprocess.run(
        [sys.executable, "-c", script, *typed],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    assert done.returncode == 3
    assert "input=nowhere/*.png: no files there" in done.stderr
    assert done.stdout.strip() == "False"
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pt"]
