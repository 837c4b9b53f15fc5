"""Whole runs on label sets: continued exactly, measured again, asked, exported; what does not fit is refused."""

import csv
import json

import pytest
import torch
from PIL import Image

import ptft as package
from ptft.checkpoint import file as checkpoint_file
from tests.conftest import refused, rows, summary

NAMES = ("blue", "green", "red")
NET = ("model=cnn", "model.width=8", "model.channels=[4,8]")
SMALL = ("train.batch_size=16", "train.every.evaluate=2", "device=cpu", "precision=fp32", "optimizer.lr=1e-2")
DATA = ("dataset=image_folder", "dataset.root=list.csv", "dataset.label_separator=;", "objective=multilabel")


@pytest.fixture
def listed(tmp_path):
    """list.csv: pictures that are blue, green and red as their labels say, one in eight none of it."""
    lines = ["path,label,taken"]
    for i in range(48):
        has = [i % 8 >> k & 1 for k in range(3)]
        colour = tuple(200 * has[2 - k] + i for k in range(3))
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{';'.join(name for name, is_there in zip(NAMES, has, strict=True) if is_there)},day {i}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")


def weights(folder, name="last"):
    return checkpoint_file.read(folder / "checkpoints" / f"{name}.pt")[0]["weights"]


LOSS = "train.monitor={metric: loss, mode: min}"  # of a mean of weights it is more here than of the last ones


@pytest.mark.parametrize("average", [("train.ema=0.8",), ("train.average_last=2",), ("train.average_last=2", LOSS)])
def test_thresholds_belong_to_the_weights_they_were_chosen_for(average, listed, ptft, tmp_path):
    """They are there again where a run goes on, and where it is measured."""
    more = ("dataset.sampler=balanced", "objective.calibrate=true", "train.accumulate=2", "schedule=constant", *average)
    run = ("stage=pretrain", *DATA, *NET, *SMALL, *more)
    whole = ptft(*run, "train.steps=8", "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    assert "an epoch is 36 draws, 9 of each label (and of none at all)" in " ".join(whole.out.split())
    if average == ("train.ema=0.8",):  # the other average starts anew where the budget changes
        assert ptft(*run, "train.steps=5", "hydra.run.dir=part").code == 0
        assert ptft("resume=part", "train.steps=8").code == 0
        one, other = weights(tmp_path / "whole"), weights(tmp_path / "part")
        assert all(torch.equal(one[key], other[key]) for key in one)
    measured = [row for row in rows(tmp_path / "whole") if row["split"] == "val"]
    ended = summary(tmp_path / "whole")
    chosen = max(measured, key=lambda row: (row["map"], -row["loss"])) if LOSS not in average else measured[-2]
    assert ended["metrics"]["val"].items() <= chosen.items(), "thresholds of weights that were not chosen are gone"
    best = weights(tmp_path / "whole", "best")
    assert best["thresholds"].shape == (3,)
    assert float(best["calibration"]) != 1
    for split in ("val", "test"):
        done = ptft("stage=evaluate", "ckpt=whole", f"split={split}", f"hydra.run.dir={split}")
        assert done.code == 0, done.text
        assert summary(tmp_path / split)["metrics"][split] == summary(tmp_path / "whole")["metrics"][split]
        table = json.loads((tmp_path / split / f"labels_{split}.json").read_text())
        assert table["rows"] == list(NAMES)
        assert [row[-1] for row in table["values"]] == best["thresholds"].tolist()


def test_a_trained_model_answers_with_labels(listed, ptft, tmp_path):
    assert ptft("stage=pretrain", *DATA, *NET, *SMALL, "train.steps=40", "report=true", "hydra.run.dir=run").code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f'<button type="button">{name}</button>' in page for name in ("support", "ap", "f1", "threshold"))
    assert 'href="#classes"' in page
    assert "#confusion" not in page.split("</nav>")[0]
    assert summary(tmp_path / "run")["metrics"]["val"]["map"] > 0.9
    done = ptft("stage=predict", "ckpt=run", "input=list.csv", "hydra.run.dir=answers", "output=answers.csv")
    assert done.code == 0, done.text
    with (tmp_path / "answers.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["taken"] for row in found] == [f"day {i}" for i in range(48)]
    right = [set(row["labels"].split(";")) == set(row["label"].split(";")) for row in found]
    assert sum(right) >= 32
    cuts = weights(tmp_path / "run", "best")["thresholds"]
    for row in found:
        above = [name for name, cut in zip(NAMES, cuts, strict=True) if float(row[f"p_{name}"]) >= float(cut)]
        assert row["labels"] == ";".join(above)
    counts = summary(tmp_path / "answers")["classes"]
    assert counts.get("none", 0) == sum(not row["labels"] for row in found)
    certain = ("objective.threshold=1", "input=5.png", "hydra.run.dir=certain")
    assert ptft("stage=predict", "ckpt=run", *certain).code == 0
    assert summary(tmp_path / "certain")["classes"] == {"none": 1}
    model = package.load("run")
    assert model(tmp_path / "5.png")["labels"] == found[5]["labels"]
    assert ptft("stage=export", "ckpt=run", "format=torch", "hydra.run.dir=export").code == 0
    program = torch.export.load(tmp_path / "export" / "export-torch" / "model.pt2").module()
    pixels = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert torch.allclose(program(input=pixels), model.module(pixels), atol=1e-6)
    features = model.objective.logits(model.objective.backbone.prepare(pixels))
    assert torch.allclose(model.module(pixels), features.sigmoid(), atol=1e-6)
    card = (tmp_path / "export" / "export-torch" / "README.md").read_text()
    assert f"(chosen on the validation split): blue {float(cuts[0]):.4g}" in card
    assert "pipeline_tag: image-classification" in card


def test_other_objectives_and_data_are_refused(listed, ptft, tmp_path):
    run = ("stage=pretrain", *DATA, *NET, *SMALL, "train.steps=2", "hydra.run.dir=run")
    refused(ptft(*run, "objective=classify"), 2, "an example may have several labels", "objective=multilabel")
    (tmp_path / "other.csv").write_text("path,label,split\n0.png,violet;red,test\n")
    assert ptft(*run, "train.every.evaluate=2").code == 0
    evaluated = ptft("stage=evaluate", "ckpt=run", "dataset.root=other.csv", "hydra.run.dir=other")
    refused(evaluated, 3, "classes that the checkpoint has not: violet")
    narrowed = ("dataset.root=other.csv", "dataset.classes=[red]", "split_overlap=allow", "hydra.run.dir=narrow")
    done = ptft("stage=evaluate", "ckpt=run", *narrowed)
    assert done.code == 0, done.text
    assert "2 of the checkpoint's 3 classes have no example here" in " ".join(done.out.split())
    made = ("stage=pretrain", "objective=simclr", *DATA[:-1], *NET, *SMALL, "train.steps=2", "hydra.run.dir=pre")
    done = ptft(*made)
    assert done.code == 0, done.text
    assert "dataset.label_separator=;" in done.out
    assert "objective=multilabel" in done.out
