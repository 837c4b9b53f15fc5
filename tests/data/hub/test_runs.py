"""Runs on tables of pictures: trained, resumed, measured, answered and inspected."""

import csv
import io
import sys
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import NET, refused, summary
from tests.helpers.hub import cells, png, write

PICTURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "bright"])}
RUN = ("dataset=huggingface_images", "dataset.root=rows", "device=cpu", "precision=fp32", "train.batch_size=8", *NET)
COUNT = 24


def noise(seed, bright):
    """A picture that is like no other."""
    pixels = np.random.default_rng(seed).integers(0, 128, (16, 16, 3), dtype=np.uint8) + np.uint8(127 * bright)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def table(split, first=0, **put):
    """Pictures of each class, a dark and a bright one by turns; put: what stands in some rows instead, "r3" say."""
    contents = [put.get(f"r{i}", noise(first + i, i % 2)) for i in range(COUNT)]
    columns = {"image": cells(contents, [f"{split}{i}.png" for i in range(COUNT)]), "label": [0, 1] * (COUNT // 2)}
    write(Path(f"rows/data/{split}-00000-of-00001.parquet"), columns, **PICTURES)


def test_a_run_is_resumed_measured_and_answers_rows(ptft, tmp_path):
    table("train", r3=b"no picture"), table("validation", 30)
    run = ("stage=pretrain", "objective=classify", *RUN, "dataset.cache=off", "train.workers=1", "schedule=constant")
    whole = ptft(*run, "train.steps=6", "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    with open("whole/split.csv", newline="") as file:
        listed = {row["name"]: row for row in csv.DictReader(file)}
    assert len(listed) == 2 * COUNT
    assert listed["data/train-00000-of-00001.parquet row 3"]["left out because"] == "can't be read"
    assert listed["data/validation-00000-of-00001.parquet row 0"]["split"] == "val"
    assert ptft(*run, "train.steps=3", "hydra.run.dir=part").code == 0
    assert ptft("resume=part", "train.steps=6").code == 0
    one, other = (checkpoint_file.read(Path(run, "checkpoints", "last.pt"))[0]["weights"] for run in ("part", "whole"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    done = ptft("stage=evaluate", "ckpt=whole", "split=val", "device=cpu")
    assert done.code == 0, done.text
    assert "24 images" in done.out
    done = ptft("stage=predict", "ckpt=whole", "input=rows/data/train-00000-of-00001.parquet", "output=answers.csv")
    assert done.code == 0, done.text
    with open("answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    assert [row["label"] for row in answers[:2]] == ["dark", "bright"]
    assert [i for i, row in enumerate(answers) if not row["class"]] == [3]
    assert answers[3]["path"] == "rows/data/train-00000-of-00001.parquet row 3"
    table("train", r3=b"no picture", r5=png(1))
    refused(ptft("resume=part", "train.steps=9"), 3, "dataset")


def test_copies_and_wrong_labels_are_found_and_left_out(ptft, tmp_path):
    table("train", r5=noise(33, 1), r9=noise(7, 1)), table("validation", 30)  # row 3 there, and a copy of row 7
    inspect = ("stage=inspect", "dataset=huggingface_images", "dataset.root=rows", "device=cpu")
    done = ptft(*inspect, "hydra.run.dir=found")
    assert done.code == 0, done.text
    with open("found/ignore.csv", newline="") as file:
        named = {row["name"] for row in csv.DictReader(file)}
    assert named == {f"data/train-00000-of-00001.parquet row {row}" for row in (5, 9)}
    again = ptft(*inspect, "dataset.ignore=found/ignore.csv", "hydra.run.dir=clean")
    assert again.code == 0, again.text
    assert "left out (dataset.ignore=ignore.csv)" in " ".join(again.out.split())
    assert summary(tmp_path / "found")["leakage"]
    assert not summary(tmp_path / "clean")["leakage"]


def test_the_package_that_is_missing_is_named(ptft, monkeypatch):
    table("train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = ptft("stage=pretrain", "objective=classify", *RUN, "train.steps=1")
    refused(done, 2, "datasets of Hugging Face need the package datasets: pip install 'ptft[huggingface]'")
