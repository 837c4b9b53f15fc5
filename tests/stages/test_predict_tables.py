"""`stage=predict` and `evaluate` on tables and lists of other kinds than the one that was trained on."""

import json

import pytest
import torch
from PIL import Image

from ptft.data.audio import reader as audio_reader
from tests.conftest import summary
from tests.stages.test_predict_texts import SHORT, data, kept, predicted, trained

__all__ = ["data", "kept", "trained"]
TEXTS = [f"a {'fine' if i % 2 else 'dull'} day {i}" for i in range(12)]


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_a_txt_whose_first_line_names_the_column_is_the_table_that_it_is(ptft, trained, tmp_path, mark):
    checkpoint = trained()
    (tmp_path / "t.csv").write_text("\n".join(["text", *TEXTS]))
    expected, _ = predicted(ptft, checkpoint, "input=t.csv")
    (tmp_path / "t.txt").write_text("\n".join([f"label{mark}text", *(f"good{mark}{text}" for text in TEXTS)]))
    found, done = predicted(ptft, checkpoint, "input=t.txt")
    assert "t.txt is read as a table, whose header is its first line (label, text)" in done.out
    assert [row["p_good"] for row in found] == [row["p_good"] for row in expected]
    first = found[0]
    assert (first["path"], first["label"], first["text"]) == ("t.txt:2", "good", TEXTS[0])
    (tmp_path / "l.txt").write_text("\n".join(["the label, the text, and more", *TEXTS]))
    assert len(predicted(ptft, checkpoint, "input=l.txt")[0]) == 13
    (tmp_path / "n.txt").write_text("\n".join(["text", *TEXTS]))
    assert "the first line of n.txt (text) is answered as well" in predicted(ptft, checkpoint, "input=n.txt")[1].out


@pytest.fixture
def numbered(ptft, kept):
    """A run on files without a header; read it, don't change it."""
    root, run = kept / "data", kept / "numbered"
    if not run.exists():
        root.mkdir()
        for split in ("train", "dev"):
            (root / f"{split}.csv").write_text("\n".join(f"{t},{t.split()[1]}" for t in TEXTS))
        typed = ("dataset=table", f"dataset.root={root}", "dataset.text=0", "dataset.label=1")
        done = ptft(*SHORT, *typed, f"hydra.run.dir={run}")
        assert done.code == 0, done.text
    return f"ckpt={run}"


@pytest.mark.parametrize("head", ["text,label", "review,Label", "Sentence,kind"])
def test_a_header_is_no_row_where_training_had_none(ptft, numbered, tmp_path, head):
    rows = [f"{t} again,{t.split()[1]}" for t in TEXTS]
    (tmp_path / "plain.csv").write_text("\n".join(rows))
    (tmp_path / "head.csv").write_text("\n".join([head, *rows]))
    expected, _ = predicted(ptft, numbered, "input=plain.csv")
    found, done = predicted(ptft, numbered, "input=head.csv")
    said = f"the first line of head.csv ({head.replace(',', ', ')}) is a header and is left out"
    assert said in done.out
    assert [row["p_dull"] for row in found] == [row["p_dull"] for row in expected]
    measured = []
    for name in ("plain", "head"):
        done = ptft("stage=evaluate", numbered, f"dataset.root={name}.csv", f"hydra.run.dir={name}")
        assert done.code == 0, done.text
        measured.append(summary(tmp_path / name)["metrics"])
    assert said in done.out
    assert measured[0] == measured[1]


def test_a_first_line_that_may_be_a_row_is_one(ptft, numbered, tmp_path):
    (tmp_path / "a.csv").write_text("this text is as long as any,dull\na day,fine\n")
    assert len(predicted(ptft, numbered, "input=a.csv")[0]) == 2


def test_a_parquet_file_is_answered_by_what_was_trained_on_a_table(ptft, trained, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    checkpoint = trained()
    parquet.write_table(pyarrow.table({"text": TEXTS, "id": list(range(12))}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("\n".join(["text", *TEXTS]))
    expected, _ = predicted(ptft, checkpoint, "input=x.csv")
    found, _ = predicted(ptft, checkpoint, "input=x.parquet")
    assert [(row["p_good"], row["id"]) for row in found] == [(r["p_good"], str(i)) for i, r in enumerate(expected)]
    parquet.write_table(pyarrow.table({"text": TEXTS, "label": ["good", "bad"] * 6}), tmp_path / "y.parquet")
    done = ptft("stage=evaluate", checkpoint, "dataset=huggingface", "dataset.root=y.parquet")
    assert done.code == 0, done.text


def test_the_columns_of_a_list_are_handed_on(ptft, pretrained, tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("id,path,who\n7,a.png,ann\n8,none.png,bob\n,,\n")
    found, done = predicted(ptft, f"ckpt={pretrained}", "input=list.csv")
    assert [(row["id"], row["who"], row["input_path"]) for row in found][:2] == [
        ("7", "ann", "a.png"),
        ("8", "bob", "none.png"),
    ]
    assert "path is input_path there" in done.out
    audio_reader.write(tmp_path / "0.wav", torch.arange(800, dtype=torch.int16), 8000)
    rows = [{"path": "0.wav", "label": "ab"[i % 2], "split": s} for i in range(4) for s in ("train", "val")]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    typed = ("model=audio_cnn", "dataset=audio_manifest", "dataset.root=list.jsonl", "device=cpu", "train.steps=1")
    assert ptft("stage=pretrain", *typed, "objective=classify", "hydra.run.dir=run").code == 0
    (tmp_path / "new.csv").write_text("path,start,end,speaker\n0.wav,0,0.05,ann\n0.wav,0.05,,bob\n")
    found, _ = predicted(ptft, "ckpt=run", "input=new.csv")
    assert [(row["speaker"], row["start"]) for row in found] == [("ann", "0"), ("bob", "0.05")]


@pytest.mark.parametrize(
    ("jsonl", "columns"), [((False, True), (False, True)), ((0, 1), (0.0, 1.0)), ((0.0, 1.0), (0, 1))]
)
def test_a_value_is_the_class_that_it_is_in_every_format(ptft, tmp_path, jsonl, columns):
    """What was trained on JSON lines is measured on the same rows as Parquet, and as CSV."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        rows = [json.dumps({"text": text, "label": jsonl[i % 2]}) for i, text in enumerate(TEXTS)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(rows))
    done = ptft(*SHORT, "dataset=table", "dataset.root=data", "hydra.run.dir=run")
    assert done.code == 0, done.text
    labels = [columns[i % 2] for i in range(12)]
    parquet.write_table(pyarrow.table({"text": TEXTS, "label": labels}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *map("{},{}".format, TEXTS, labels)]))
    measured = []
    for typed in (
        ("dataset.root=data/dev.jsonl",),
        ("dataset.root=x.csv",),
        ("dataset=huggingface", "dataset.root=x.parquet"),
    ):
        done = ptft("stage=evaluate", "ckpt=run", *typed, "split_overlap=allow", f"hydra.run.dir=m{len(measured)}")
        assert done.code == 0, done.text
        measured.append(next(iter(summary(tmp_path / f"m{len(measured)}")["metrics"].values())))
    assert measured[0] == measured[1] == measured[2]
