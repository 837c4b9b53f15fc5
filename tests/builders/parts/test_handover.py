"""A pretraining that goes on from another: what stands around the backbone comes along where it learned the same."""

from pathlib import Path

import pytest
import torch

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.errors import CheckpointError, ConfigError
from ptft.loggers.console import Console
from tests.conftest import refused
from tests.helpers.options import typed
from tests.helpers.self_supervised import DIGITS, FEW, train

NET = ("model=convnet", "model.channels=[8,16]")


def ready(*words):
    return build(resolve(["stage=pretrain", *words, *FEW, "train.steps=4"]), Console())


def kept_as(run):
    """parent.pt, a checkpoint of the run as it stands; its weights."""
    weights = {name: value.clone() for name, value in run.objective.state_dict().items()}
    spec = run.objective.describe(run.inputs.source.spec).to_dict()
    checkpoint_file.write(Path("parent.pt").absolute(), {"config": run.cfg.plain(), "spec": spec, "weights": weights})
    return weights


def of(objective):
    """What to type for it on small data, and the model of a first run."""
    words = typed(f"objective/{objective}")
    data = [word for word in words if not word.startswith("model")]
    models = [word for word in words if word.startswith("model")]
    return data if any("dataset=" in word for word in data) else (*DIGITS, *data), models or NET


@pytest.mark.parametrize("objective", ["simclr", "masked_lm", "best_rq"])
def test_an_objective_without_labels_keeps_what_it_had(objective):
    data, model = of(objective)
    before = kept_as(ready(f"objective={objective}", *data, *model))
    run = ready(f"objective={objective}", *data, "ckpt=parent.pt", "seed=1")
    own = run.objective.state_dict()
    assert own.keys() == before.keys()
    assert all(torch.equal(own[name], before[name]) for name in before)
    assert any(note.startswith("kept") for note in run.notes)
    assert run.transfer["reinitialised"]["tensors"] == {}


def test_classes_do_not_matter_where_none_are_learned():
    kept_as(ready("objective=simclr", *DIGITS, *NET))
    for head in ("auto", "keep"):
        words = ("objective=simclr", *DIGITS, "dataset.classes=['3','5']", "ckpt=parent.pt", f"finetune.head={head}")
        assert ready(*words).transfer["reinitialised"]["tensors"] == {}


def test_dino_begins_its_phases_anew():
    run = ready("objective=dino", *of("dino")[0], *NET)
    fresh = float(run.objective.teacher_temperature), float(run.objective.head.learns)
    train(run)
    before = kept_as(run)
    again = ready("objective=dino", *of("dino")[0], "ckpt=parent.pt")
    assert torch.equal(again.objective.head.prototypes, before["head.prototypes"])
    assert (float(again.objective.teacher_temperature), float(again.objective.head.learns)) == fresh
    assert float(before["teacher_temperature"]) > fresh[0]
    teacher = again.objective.teacher["head"].prototypes
    assert torch.equal(teacher, again.objective.head.prototypes)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("objective=rotation",), "the checkpoint learned by objective=simclr"),
        (("objective=simclr", "objective.out=32"), "those of the checkpoint are of other sizes (projector."),
        (("objective=simclr", "finetune.head=new"), "finetune.head=keep takes the checkpoint's"),
        (("objective=classify",), "finetune.head=keep takes the checkpoint's"),
    ],
    ids=["another", "sizes", "new", "labels"],
)
def test_what_is_new_is_said_with_the_reason(words, why):
    kept_as(ready("objective=simclr", *DIGITS, *NET))
    run = ready(*words, *DIGITS, "ckpt=parent.pt")
    assert [note for note in run.notes if note.startswith("new") and why in note], run.notes
    if "of other sizes" in why or "learned by" in why:
        with pytest.raises(CheckpointError, match=r"its head does not fit"):
            ready(*words, *DIGITS, "ckpt=parent.pt", "finetune.head=keep")


def test_the_pull_to_the_start_counts_in_a_pretraining(ptft):
    kept_as(ready("objective=simclr", *DIGITS, *NET))
    away = []
    for pull in ("null", "30"):
        run = ready("objective=simclr", *DIGITS, "ckpt=parent.pt", f"finetune.l2sp={pull}", "train.clip=null")
        start = [p.detach().clone() for p in run.objective.backbone.parameters()]
        train(run)
        after = run.objective.backbone.parameters()
        away.append(sum(float((p - old).detach().square().sum()) for p, old in zip(after, start, strict=True)))
    assert away[1] < 0.8 * away[0]
    refused(ptft("stage=pretrain", "finetune.l2sp=1"), 2, "finetune.l2sp and ckpt=null")
    with pytest.raises(ConfigError, match=r"finetune\.train"):
        resolve(["stage=pretrain", "ckpt=parent.pt", "finetune.train=head"])
