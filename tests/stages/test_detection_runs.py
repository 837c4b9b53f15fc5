"""Boxes through the command: pretrained on them or not, measured, continued exactly, and predicted in three forms."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import ptft as package
from ptft.data.image import reader as image_reader
from ptft.data.image.boxes.shapes import Shapes
from tests.conftest import contents, refused, rows, summary, transfer

NET = ("model=convnet", "model.channels=[8,16,16]")
FEW = (
    "dataset=shapes",
    "dataset.images=24",
    "dataset.held_out=8",
    "train.batch_size=8",
    "device=cpu",
    "precision=fp32",
)
DETECT = (*NET, *FEW, "objective=detect", "objective.width=32", "objective.depth=1")
VIEWS = ("objective.views.zoom=[0.8,1.3]", "objective.views.mosaic=0.3", "objective.views.color=0.2")


@pytest.fixture
def trained(ptft):
    done = ptft("stage=pretrain", *DETECT, "train.steps=4", "hydra.run.dir=run")
    assert done.code == 0, done.text
    return "run"


@pytest.fixture
def photos(tmp_path):
    """Pictures of 160 x 100 and one that is none."""
    (tmp_path / "photos").mkdir()
    batch = Shapes(images=8, held_out=8).split("test").take(torch.arange(3))
    for i, image in enumerate(batch["input"]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((160, 100)).save(
            tmp_path / "photos" / f"cam_{i + 7}.jpg"
        )
    (tmp_path / "photos" / "broken.jpg").write_text("no image")
    return tmp_path / "photos"


def test_a_run_that_was_cut_goes_on_bit_for_bit(ptft):
    cut = ("train.ema=0.9", "train.accumulate=2", "train.every.evaluate=2", *VIEWS)
    for steps, folder in ((6, "whole"), (4, "part")):
        assert (
            ptft(
                "stage=pretrain", *DETECT, *cut, f"train.steps={steps}", "schedule=constant", f"hydra.run.dir={folder}"
            ).code
            == 0
        )
    done = ptft("resume=part", "train.steps=6")
    assert done.code == 0, done.text
    one, other = (torch.load(f"{folder}/checkpoints/last.pt", weights_only=True) for folder in ("whole", "part"))
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name]), name
    assert rows_of("whole") == rows_of("part")


def rows_of(folder):
    kept = [row for row in rows(Path(folder)) if row["split"] == "val"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in kept]


def test_a_backbone_of_another_objective_is_handed_over(ptft, tmp_path):
    assert ptft("stage=pretrain", *NET, *FEW, "objective=simclr", "train.steps=2", "hydra.run.dir=simclr").code == 0
    typed = [each for each in DETECT if each not in NET]
    done = ptft("stage=finetune", "ckpt=simclr", *typed, "finetune.train=head", "train.steps=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    fate = transfer(tmp_path / "run")
    assert all(name.startswith("backbone.") for name in fate["loaded"]["tensors"])
    assert fate["reinitialised"]["parameters"] > 0
    assert not any(name.startswith("backbone.") for name in fate["reinitialised"]["tensors"])
    before, after = (
        torch.load(f"{folder}/checkpoints/last.pt", weights_only=True)["weights"] for folder in ("simclr", "run")
    )
    name = "backbone.stages.0.0.weight"
    assert torch.equal(before[name], after[name])


def test_it_is_measured_by_class_and_predicted_in_pixels_of_the_images(ptft, trained, photos, tmp_path):
    measured = ptft("stage=evaluate", f"ckpt={trained}", "hydra.run.dir=measured")
    assert measured.code == 0, measured.text
    table = json.loads((tmp_path / "measured" / "by_class_test.json").read_text())
    assert table["rows"] == ["circle", "cross", "square", "triangle"]
    assert "by_class, test" in measured.out
    assert summary(tmp_path / "measured")["metrics"]["test"].keys() >= {"AP", "AP50", "AP75", "AR", "box_loss"}

    ask = ("stage=predict", f"ckpt={trained}", f"input={photos}")
    done = ptft(*ask, "predict.score=0.06", "draw=true", "hydra.run.dir=rows")
    assert done.code == 0, done.text
    assert "3 predicted, 1 unreadable" in done.out
    with open("rows/predictions.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["path", "class", "score", "left", "top", "right", "bottom"]
    assert found[0]["class"] == ""  # broken.jpg
    boxes = [row for row in found if row["class"]]
    assert max(float(row["right"]) for row in boxes) <= 160
    assert 80 < max(float(row["bottom"]) for row in boxes) <= 100
    pictures = sorted((tmp_path / "rows" / "predictions_drawn").iterdir())
    assert [image_reader.size_of(picture) for picture in pictures] == [(100, 160)] * 3

    (mine := tmp_path / "mine_drawn").mkdir()
    refused(ptft(*ask, "draw=true", "output=mine.csv", "hydra.run.dir=other"), 2, f"{mine}: is there already")
    assert not [*mine.iterdir()]

    assert ptft(*ask, "predict.format=coco", "hydra.run.dir=coco").code == 0
    results = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    assert {result["image_id"] for result in results} == {7, 8, 9}
    assert {result["category_id"] for result in results} <= {1, 2, 3, 4}
    sure = [result for result in results if result["score"] >= 0.06]
    assert len(sure) == len(boxes)
    first, same = boxes[0], sure[0]
    assert same["bbox"][0] + same["bbox"][2] == pytest.approx(float(first["right"]), rel=1e-5)

    model = package.load(trained)
    answers = model([image_reader.opened(photos / f"cam_{i}.jpg") for i in (7, 8, 9)], score=0.06)
    assert sum(map(len, answers)) == len(boxes)
    assert "path" not in answers[0][0]
    assert answers[0][0]["left"] == pytest.approx(float(first["left"]), rel=1e-4)


def test_what_can_not_be_asked_is_refused_in_a_line(ptft, trained, pretrained, photos):
    ask = ("stage=predict", f"input={photos}")
    refused(ptft(*ask, f"ckpt={pretrained}", "predict.score=0.5"), 2, "predict.score=0.5", "gives no boxes")
    refused(ptft(*ask, f"ckpt={pretrained}", "predict.format=coco"), 2, "predict.format=coco: is for boxes")
    refused(ptft(*ask, f"ckpt={pretrained}", "draw=true"), 2, "draw=true: is for boxes")
    refused(ptft(*ask, f"ckpt={trained}", "predict.format=coco", "output=a.csv"), 2, "is written as .json")
    refused(ptft("stage=pretrain", *NET, *FEW), 2, "choose objective=detect")
    refused(ptft("stage=pretrain", "objective=detect", "dataset.images=10"), 2, "needs images with boxes")
    refused(ptft("stage=pretrain", *DETECT, "dataset.views.rotate=9"), 2, "boxes do not follow it")
    assert contents(photos)
