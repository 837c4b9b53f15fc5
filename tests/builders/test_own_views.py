"""Views of the user's own, through commands: they train, are stored and resumed, and must be trusted and used."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ptft.augment.own import OwnViews
from ptft.builders.parts import spread
from ptft.builders.parts.own_views import capturable
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from tests.conftest import FEW, NET, refused, summary

VIEWS = """
import torch
from torch import nn


class Noise(nn.Module):
    def __init__(self, sigma: float = 0.5, flip=False):
        super().__init__()
        self.sigma = sigma
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return x + self.sigma * torch.randn_like(x)


class Plain:
    pass


class Narrow(nn.Module):
    def forward(self, x):
        return x[..., 1:]


class Picky(nn.Module):
    def __init__(self, size):
        raise OSError(f"no tables of {size}")
"""
RUN = ("stage=pretrain", "dataset=glyphs", *FEW, *NET, "precision=fp32", "train.layout=contiguous", "schedule=constant")
V2 = "torchvision.transforms.v2"


@pytest.fixture
def mine():
    """The name of a module in the working folder, and how it is trusted."""
    Path("my_views.py").write_text(VIEWS)
    return "my_views"


def weights(folder):
    return checkpoint_file.read(Path(folder) / "checkpoints" / "last.pt")[0]["weights"]


def resolved(*typed):
    config = resolve(["stage=pretrain", *typed]).config.plain()
    return config["dataset"]["views"], config["objective"]["views"]


@pytest.mark.parametrize("each", ["false", "true"])
def test_a_resumed_run_equals_the_whole_one(each, mine, ptft):
    trusted = f"trusted=[{mine}]"
    views = (f"objective.views._target_={mine}.Noise", f"objective.views._each_={each}", trusted)
    typed = (*RUN, "objective=simclr", *views, "train.batch_size=16", "train.every.evaluate=3", "predictions=none")
    assert ptft(*typed, "train.steps=9", "hydra.run.dir=whole").code == 0
    assert ptft(*typed, "train.steps=6", "hydra.run.dir=run").code == 0
    refused(ptft("resume=run", "train.steps=9"), 2, f"objective.views._target_={mine}.Noise: refused", trusted)
    done = ptft("resume=run", "train.steps=9", trusted)
    assert done.code == 0, done.text
    whole, run = weights("whole"), weights("run")
    assert int(whole["views.module.calls"]) > 0
    assert whole.keys() == run.keys()
    assert all(torch.equal(value, run[name]) for name, value in whole.items())


def test_it_is_measured_again_where_it_is_trusted_again_and_handed_over_without(mine, ptft):
    trusted = f"trusted=[{mine}]"
    typed = (f"dataset.views._target_={mine}.Noise", "dataset.views.sigma=0.2", "train.steps=4", "hydra.run.dir=run")
    done = ptft(*RUN, *typed, trusted)
    assert done.code == 0, done.text
    assert int(weights("run")["views.module.calls"]) == 4  # never in an evaluation
    refused(ptft("stage=evaluate", "ckpt=run"), 2, f"objective.views._target_={mine}.Noise: refused", trusted)
    assert ptft("stage=evaluate", "ckpt=run", trusted, "hydra.run.dir=measured").code == 0
    assert summary(Path("measured"))["metrics"]["test"] == summary(Path("run"))["metrics"]["test"]
    assert ptft("stage=finetune", "ckpt=run", "dataset=glyphs", *FEW, "train.steps=2").code == 0


def test_a_class_leaves_no_key_of_the_views_whose_place_it_takes(mine):
    trusted, own = f"trusted=[{mine}]", {"_target_": f"{mine}.Noise", "flip": True}
    node = f"{{_target_: {mine}.Noise, flip: true}}"
    assert resolved("dataset=cifar10", f"dataset.views={node}", trusted) == (own, own)
    of_dataset, of_task = resolved("dataset=cifar10", "objective=simclr", f"objective.views={node}", trusted)
    assert of_dataset["shift"] == 4
    assert of_task == own
    Path("conf/experiment").mkdir(parents=True)
    said = "# @package _global_\ndefaults: [{override /dataset: cifar10}]\n"
    Path("conf/experiment/noisy.yaml").write_text(f"{said}dataset: {{views: {node}}}\n")
    assert resolved("experiment=noisy", trusted) == (own, own)
    assert resolved("experiment=noisy", "dataset.views.flip=false", trusted)[1] == {**own, "flip": False}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("dataset.views._target_=MINE.Plain",), ("no torch.nn.Module",)),
        (("dataset.views._target_=ptft.augment.image.Views",), ("no torch.nn.Module of a package of yours",)),
        (("dataset.views._target_=MINE.Absent",), ("there is no such class",)),
        (("dataset.views._target_=MINE.Noise", "dataset.views.erase=1"), ("dataset.views.erase", "ptft's own views")),
        (("dataset.views._target_=MINE.Noise", "dataset.views.sgima=1"), ("did you mean sigma",)),
        (("dataset.views._target_=MINE.Noise", "dataset.views.sigma=x"), ("dataset.views.sigma=x", "a number")),
        (("dataset.views._target_=MINE.Noise", "dataset.views._each_=3"), ("dataset.views._each_=3: true or false",)),
        (("dataset.views._target_=MINE.Picky",), ("can't be built (TypeError", "dataset.views.KEY=…")),
        (("dataset.views._target_=MINE.Picky", "dataset.views.size=2"), ("OSError: no tables of 2",)),
        (("dataset.views._target_=MINE.Narrow", "train.steps=2"), ("[60, 1, 28, 27]", "[60, 1, 28, 28]")),
        (("objective=simclr", "dataset.views._target_=MINE.Noise"), ("objective.views._target_=…",)),
        (("objective=dino", "dataset.views._target_=MINE.Noise"), ("objective.views._target_=…",)),
        (("objective=detect", "objective.views._target_=MINE.Noise"), ("objective=detect, whose boxes or masks",)),
        (("objective=segment", "dataset.views._target_=MINE.Noise"), ("objective=segment, whose boxes or masks",)),
        ((f"dataset.views._target_={V2}.ColorJitter",), ("dataset.views._unit_=true",)),
        (
            (f"dataset.views={{_target_: {V2}.Compose, transforms: [{{_target_: {V2}.RandomInvert}}]}}",),
            ("RandomInvert takes values", "dataset.views._unit_=true"),
        ),
        (
            (f"dataset.views={{_target_: {V2}.Compose, transforms: [{{_target_: os.system}}]}}",),
            ("dataset.views.transforms[0]._target_=os.system: refused",),
        ),
    ],
)
def test_what_can_not_be_is_said_in_one_line(typed, said, mine, ptft):
    done = ptft(*RUN, *(text.replace("MINE", mine) for text in typed), f"trusted=[{mine},torchvision]")
    refused(done, 2, *said)


def test_recordings_have_no_values_from_0_to_1(mine, ptft):
    data = ("dataset=tones", "dataset.count=8", "dataset.held_out=8", "model=audio_cnn", "stage=pretrain")
    views = (f"dataset.views._target_={mine}.Noise", "dataset.views._unit_=true")
    refused(ptft(*data, *views, f"trusted=[{mine}]"), 2, "dataset.views._unit_=true: is for images")


def test_values_from_0_to_1_need_a_model_that_normalises_as_the_dataset_says(mine, ptft):
    Path(f"{mine}.py").write_text(
        f"{VIEWS}\n\nfrom ptft.models.image.cnn import CNN\n\n\nclass Other(CNN):\n"
        "    def prepare(self, raw):\n        return super().prepare(raw) / 2\n"
    )
    views = (f"dataset.views._target_={mine}.Noise", "dataset.views._unit_=true", f"trusted=[{mine}]")
    said = ("dataset.views._unit_=true: Other does not normalise", "leave it out")
    refused(ptft("stage=pretrain", "dataset=glyphs", *FEW, f"model._target_={mine}.Other", *views), 2, *said)


def test_what_several_processes_draw_otherwise_is_said_and_no_step_is_recorded():
    train = {"save": "whole", "parallel": "ddp", "processes": 2, "accumulate": 1, "sync_batchnorm": False}

    class Task(nn.Sequential):
        capturable = True

    for each in (False, True):
        task = Task(OwnViews(nn.Identity(), "objective.views._target_=mine.Views", each=each))
        notes = spread.decisions(task, train, torch.device("cpu"))
        assert any(note.startswith("views of your own: each process draws its own") for note in notes) != each
        assert not capturable(task)
    assert capturable(Task())


def test_transforms_of_torchvision_are_views(mine, ptft):
    parts = f"{{_target_: {V2}.ColorJitter, brightness: 0.4}}, {{_target_: {V2}.RandomRotation, degrees: 9}}"
    node = f"{{_target_: {V2}.Compose, _unit_: true, transforms: [{parts}]}}"
    done = ptft(*RUN, "objective=byol", f"objective.views={node}", "trusted=[torchvision]", "train.steps=2")
    assert done.code == 0, done.text
