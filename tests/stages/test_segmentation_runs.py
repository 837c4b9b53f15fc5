"""Masks through the command: pretrained on them or not, measured, continued exactly, and predicted in three forms."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.data.image.boxes.shapes import Shapes
from ptft.data.image.masks.files import read
from ptft.data.image.masks.run_lengths import mask_of, runs_in
from ptft.data.image.reader import size_of
from tests.conftest import refused, summary, transfer
from tests.stages.test_detection_runs import rows_of

NET = ("model=convnet", "model.channels=[8,16]")
DATA = ("dataset=shapes", "dataset.target=masks", "dataset.images=16", "dataset.held_out=8", "dataset.size=32")
FEW = (*DATA, "train.batch_size=8", "device=cpu", "precision=fp32")
SEGMENT = (*NET, *FEW, "objective=segment", "objective.width=32", "objective.depth=1")


@pytest.fixture
def trained(ptft):
    done = ptft("stage=pretrain", *SEGMENT, "train.steps=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    return "run"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    batch = Shapes(images=8, held_out=8).split("test").take(torch.arange(3))
    for i, image in enumerate(batch["input"]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((80, 50)).save(tmp_path / "photos" / f"cam_{i + 7}.jpg")
    (tmp_path / "photos" / "broken.jpg").write_text("no image")
    return tmp_path / "photos"


def test_a_run_that_was_cut_goes_on_bit_for_bit(ptft):
    more = ("train.ema=0.9", "train.accumulate=2", "train.every.evaluate=2", "schedule=constant", "objective.dice=0.5")
    views = ("objective.views.zoom=[0.8,1.3]", "objective.views.color=0.2")
    for steps, folder in ((4, "whole"), (2, "part")):
        typed = ("stage=pretrain", *SEGMENT, *more, *views, f"train.steps={steps}", f"hydra.run.dir={folder}")
        assert ptft(*typed).code == 0
    done = ptft("resume=part", "train.steps=4")
    assert done.code == 0, done.text
    one, other = (torch.load(f"{folder}/checkpoints/last.pt", weights_only=True) for folder in ("whole", "part"))
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name]), name
    assert rows_of("whole") == rows_of("part")
    assert "miou" in rows_of("whole")[-1]


def test_a_backbone_of_another_objective_is_handed_over(ptft, tmp_path):
    typed = [each for each in FEW if each != "dataset.target=masks"]
    assert ptft("stage=pretrain", *NET, *typed, "objective=simclr", "train.steps=1", "hydra.run.dir=simclr").code == 0
    rest = [each for each in SEGMENT if each not in NET]
    done = ptft("stage=finetune", "ckpt=simclr", *rest, "train.steps=1", "hydra.run.dir=run")
    assert done.code == 0, done.text
    fate = transfer(tmp_path / "run")
    assert all(name.startswith("backbone.") for name in fate["loaded"]["tensors"])
    assert not any(name.startswith("backbone.") for name in fate["reinitialised"]["tensors"])


def test_masks_are_measured_by_class_and_predicted_in_pixels_of_the_images(ptft, trained, photos, tmp_path):
    measured = ptft("stage=evaluate", f"ckpt={trained}", "hydra.run.dir=measured")
    assert measured.code == 0, measured.text
    table = json.loads((tmp_path / "measured" / "by_class_test.json").read_text())
    assert table["rows"] == ["background", "circle", "cross", "square", "triangle"]
    assert summary(tmp_path / "measured")["metrics"]["test"].keys() >= {"loss", "miou", "pixel_accuracy"}

    ask = ("stage=predict", f"ckpt={trained}", f"input={photos}")
    done = ptft(*ask, "draw=true", "hydra.run.dir=rows")
    assert done.code == 0, done.text
    assert "3 predicted, 1 unreadable" in done.out
    with open("rows/predictions.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["path", "class", "score", "pixels", "height", "width", "counts"]
    assert found[0]["counts"] == ""  # broken.jpg
    assert all(row["counts"] not in done.out for row in found if row["counts"])
    masks = {}
    for row in found[1:]:
        mask = mask_of(runs_in(row["counts"]), (int(row["height"]), int(row["width"])))
        assert mask.sum() == int(row["pixels"])
        masks.setdefault(Path(row["path"]).stem, {})[row["class"]] = mask
    for parts in masks.values():
        assert np.array_equal(sum(mask.astype(int) for mask in parts.values()), np.ones((50, 80)))
    drawn = sorted((tmp_path / "rows" / "predictions_drawn").iterdir())
    assert [size_of(picture) for picture in drawn] == [(50, 80)] * 3

    listed = "".join(f"cam_{i}.jpg,{i}\n" for i in (7, 8))
    (photos / "list.csv").write_text(f"path,camera\n{listed}")
    done = ptft(*ask[:2], f"input={photos / 'list.csv'}", "hydra.run.dir=listed")
    assert done.code == 0, done.text
    with open("listed/predictions.csv", newline="") as file:
        assert {(row["camera"], Path(row["path"]).stem) for row in csv.DictReader(file)} == {
            ("7", "cam_7"),
            ("8", "cam_8"),
        }
    (photos / "list.csv").unlink()

    assert ptft(*ask, "draw=masks", "predict.format=coco", "hydra.run.dir=coco").code == 0
    for name, parts in masks.items():
        values = read(tmp_path / "coco" / "predictions_masks" / f"{name}.png")
        for label, mask in parts.items():
            assert np.array_equal(values == table["rows"].index(label), mask)
    results = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    for result in results:
        label = table["rows"][result["category_id"]]
        assert label != "background"
        own = masks[f"cam_{result['image_id']}"][label]
        assert np.array_equal(mask_of(runs_in(result["segmentation"]["counts"]), own.shape), own)


def test_what_can_not_be_asked_is_refused_in_a_line(ptft, trained, pretrained, photos):
    ask = ("stage=predict", f"input={photos}")
    refused(ptft(*ask, f"ckpt={pretrained}", "draw=masks"), 2, "draw=masks: is for masks")
    refused(ptft(*ask, f"ckpt={trained}", "predict.score=0.5"), 2, "gives no boxes")
    refused(ptft("stage=pretrain", *NET, *FEW), 2, "choose objective=segment")
    refused(ptft("stage=pretrain", *SEGMENT, "dataset.views.rotate=9"), 2, "masks do not follow it")
