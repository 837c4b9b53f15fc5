"""Splits that are there and not used are said with their count, and what to type works."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.text import squad
from ptft.data.text.conll import Conll
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts

NAMES = ("train", "val", "testing")


def said(noun, count=4, test="testing"):
    return f"{test} ({count} {noun}) is there and not used; dataset.test={test} measures it"


def notes(source):
    return [note for note in source.notes if "not used" in note]


@pytest.fixture(params=["folder", "list"])
def photos(request, tmp_path):
    rows = []
    for split in NAMES:
        for i in range(4):
            file = tmp_path / split / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 9 * i, np.uint8)).save(file)
            rows.append({"path": str(file), "label": "ab"[i % 2], "split": split})
    if request.param == "folder":
        return tmp_path
    with (tmp_path / "list.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)
    return tmp_path / "list.csv"


def test_a_split_of_images_that_is_not_used_is_said(photos):
    assert notes(ImageFolder(root=photos)) == [said("images")]
    used = ImageFolder(root=photos, test="testing")
    assert notes(used) == []
    assert len(used.split("test")) == 4


def test_a_split_of_recordings_that_is_not_used_is_said(tmp_path):
    rows = []
    for split in ("train", "val", "holdout"):
        for i in range(4):
            file = tmp_path / split / "ab"[i % 2] / f"{i}.wav"
            audio_reader.write(file, torch.full((80,), i + 1, dtype=torch.int16), 8000)
            rows.append({"path": str(file), "label": "ab"[i % 2], "split": split})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for source in (AudioFolder, AudioManifest):
        root = tmp_path / "list.jsonl"
        assert notes(source(root=root)) == [said("recordings", test="holdout")]
        assert len(source(root=root, test="holdout").split("test")) == 4
    (tmp_path / "list.jsonl").unlink()
    assert notes(AudioFolder(root=tmp_path)) == [said("recordings", test="holdout")]


@pytest.mark.parametrize("way", ["files", "column"])
def test_a_split_of_texts_that_is_not_used_is_said(tmp_path, way):
    rows = [(f"a {'good' if i % 2 else 'bad'} day", "ab"[i % 2]) for i in range(4)]
    if way == "files":
        for split in (*NAMES, "unlabeled"):
            (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *(",".join(row) for row in rows)]))
        root = tmp_path
    else:
        root = tmp_path / "all.csv"
        listed = [",".join((*row, split)) for split in (*NAMES, "unlabeled") for row in rows]
        root.write_text("\n".join(["text,label,split", *listed]))
    source = TableTexts(root=root, tokenizer="bytes", split="auto")
    both = "testing (4 texts), unlabeled (4 texts)"
    assert notes(source) == [f"{both} are there and not used; dataset.test=testing measures it"]
    source = TableTexts(root=root, tokenizer="bytes", split="auto", test="testing")
    assert notes(source) == ["unlabeled (4 texts) is there and not used; dataset.train=unlabeled trains on it"]
    assert len(source.split("test")) == 4


def test_a_split_of_words_that_is_not_used_is_said(tmp_path):
    for split in ("train", "dev", "holdout"):
        (tmp_path / f"{split}.conll").write_text("Ada B-PER\n\nsaw O\n")
    found = notes(Conll(root=tmp_path, tokenizer="bytes"))
    message = "is of no split by its name and is not used; a file called test… is measured at the end"
    assert found == [f"holdout.conll {message}"]
    (tmp_path / "holdout.conll").rename(tmp_path / "test_holdout.conll")
    assert len(Conll(root=tmp_path, tokenizer="bytes").split("test")) == 2


def test_a_file_of_questions_that_is_of_no_split_is_said(tmp_path):
    for split in ("train", "dev", "holdout", "holdout2"):
        squad.sample(tmp_path)
        (tmp_path / "train.json").rename(tmp_path / f"{split}.json.new")
    for file in tmp_path.glob("*.new"):
        file.rename(file.with_suffix(""))
    found = notes(Squad(root=tmp_path, tokenizer="bytes"))
    files = "holdout.json, holdout2.json are of no split by their names"
    assert found == [f"{files} and are not used; a file called test… is measured at the end"]
