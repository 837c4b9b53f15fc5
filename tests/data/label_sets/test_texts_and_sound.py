"""Several labels a text or a recording: tables, the library `datasets`, lists of recordings."""

import json

import pytest
import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.table import TableTexts
from ptft.errors import ConfigError, DataError

TEXTS = [
    (f"a text of {i} words and more", [name for k, name in enumerate(("sad", "angry")) if i >> k & 1]) for i in range(8)
]
EXPECTED = [[int("angry" in labels), int("sad" in labels)] for _, labels in TEXTS]


def table(root, **keys):
    return TableTexts(root=root, vocabulary=300, val=None, divide_by="name", **keys)


def write(folder, rows, header, split="train"):
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def test_cells_of_several_labels_and_of_none_are_examples(tmp_path):
    folder = write(
        tmp_path / "cells", [f"{text},{'|'.join(labels)},{i}" for i, (text, labels) in enumerate(TEXTS)], "text,mood,id"
    )
    data = table(folder, label="mood", label_separator="|")
    assert (data.spec.target, data.spec.classes) == ("labels", ("angry", "sad"))
    train = data.split("train")
    assert train.labels.tolist() == EXPECTED
    assert train.take(torch.tensor([3, 0]))["label"].tolist() == [[1, 1], [0, 0]]
    assert table(folder, label="mood", label_separator="|", classes=["sad"]).split("train").labels.tolist() == [
        [sad] for _, sad in EXPECTED
    ]
    write(folder, ["nothing,,1", "is known,,2"], "text,mood,id", "test")
    unlabelled = table(folder, label="mood", label_separator="|")
    assert unlabelled.split("test") is None
    assert any("test.csv has no labels" in note for note in unlabelled.notes)
    with pytest.raises(ConfigError, match=r"dataset\.target=number: a text may have several labels"):
        table(folder, label="mood", label_separator="|", target="number")
    with pytest.raises(DataError, match="no example of train has a label"):
        table(write(tmp_path / "empty", ["a text,,1"], "text,mood,id"), label="mood", label_separator="|")


def test_columns_of_0_and_1_are_labels_in_the_order_that_is_typed(tmp_path):
    rows = [f"{text},{int('sad' in labels)},{int('angry' in labels)},0" for text, labels in TEXTS]
    data = table(write(tmp_path / "flags", rows, "text,sad,angry,never"), text="auto", label=["sad", "angry", "never"])
    assert data.spec.classes == ("sad", "angry", "never"), "also one that no example has"
    assert data.split("train").labels.tolist() == [[sad, angry, 0] for angry, sad in EXPECTED]
    assert data.settled["label"] == ["sad", "angry", "never"]
    with pytest.raises(ConfigError, match="the names of several columns"):
        table(tmp_path / "flags", label=["sad"])
    with pytest.raises(DataError, match="'gone'"):
        table(tmp_path / "flags", text="text", label=["sad", "gone"])


def test_lists_in_json_lines_are_found_and_read(tmp_path):
    (tmp_path / "all.jsonl").write_text(
        "\n".join(json.dumps({"text": text, "mood": labels}) for text, labels in TEXTS * 5)
    )
    data = table(tmp_path / "all.jsonl", label="auto", label_separator=";", test=None)
    assert data.settled["label"] == "mood"
    assert bool(data.split("train").labels.any(0).all())
    assert any("is not divided" in note for note in data.notes)


def test_a_column_of_classes_in_lists_needs_no_separator(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["angry", "sad", "glad"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "mood": datasets.Sequence(datasets.ClassLabel(names=names))}
    )
    rows = {
        "text": [text for text, _ in TEXTS],
        "mood": [[names.index(name) for name in labels] for _, labels in TEXTS],
    }
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)}).save_to_disk(
        tmp_path / "saved"
    )
    data = HuggingFaceTexts(root=tmp_path / "saved", text="auto", label="auto", val=None, test=None, vocabulary=300)
    assert data.spec.classes == ("angry", "sad")
    assert data.split("train").labels.tolist() == EXPECTED


def test_recordings_have_several_labels(tmp_path):
    for i in range(4):
        audio_reader.write(tmp_path / f"{i}.wav", torch.full((800,), i, dtype=torch.int16), 8000)
    labels = [["horn", "siren"], [], ["siren"], ["horn"]]
    rows = [{"path": f"{i}.wav", "label": own, "text": "x", "split": "train"} for i, own in enumerate(labels)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"{i}.wav,{'+'.join(own)},train" for i, own in enumerate(labels)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    for made in (
        AudioManifest(root=tmp_path / "list.jsonl", label_separator=";", val=None),
        AudioManifest(root=tmp_path / "list.csv", label_separator="+", val=None),
        AudioFolder(root=tmp_path / "list.csv", label_separator="+", val=None),
    ):
        assert (made.spec.target, made.spec.classes) == ("labels", ("horn", "siren"))
        assert made.split("train").labels.tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
        assert made.split("train").take(torch.tensor([2]))["label"].tolist() == [[0, 1]]
        assert len(made.fingerprint()) == 16
