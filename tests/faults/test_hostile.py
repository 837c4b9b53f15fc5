"""Row 60 of the table of faults: a configuration names what to build, and must not run anything else."""

import shutil

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.config import instantiate
from ptft.core import Backbone, Objective, Source
from ptft.errors import ConfigError
from ptft.optim.schedules import Schedule
from tests.conftest import SMALL, contents, refused

RUN = ("stage=pretrain", *SMALL, "dataset.held_out=20")
BASES = {
    "model": Backbone,
    "dataset": Source,
    "objective": Objective,
    "optimizer": torch.optim.Optimizer,
    "schedule": Schedule,
}

HOSTILE = [
    "os._exit",
    "os.system",
    "builtins.open",
    "builtins.eval",
    "posix._exit",
    "subprocess.Popen",
    "torch.load",
    "torchvision.datasets.utils.extract_archive",
    "ptft",
    "ptftx.models.CNN",
    "torch.optimizer.SGD",
    "null",
    "ptft.cli.main.os._exit",
    "ptft.cli.main.shutil",
    "ptft.cli.main.main",
    "ptft.__main__.main",
    "ptft.runs.folder.socket.socket",
    "ptft.checkpoint.file.write",
    "ptft.checkpoint.file.zipfile",
    "ptft.data.workers.DataLoader",
    "ptft.stages.train.run.__globals__",
    "ptft.stages.summary.write_tables",
    "ptft.stages.train.checkpoint",
    "ptft.core.Backbone",
    "ptft.core.Source",
    "ptft.core.Objective",
    "ptft.optim.schedules.Schedule",
    "ptft.data.image.source.ImageSource",
    "torch.optim.Optimizer",
    "torch.optim.Optimizer.load_state_dict",
    "torch.optim.lr_scheduler.StepLR",
    "ptft.models.image.cnn.Nothing",
    "ptft..cnn",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_row_60_a_target_that_is_not_of_its_group(target):
    node = {"_target_": None if target == "null" else target}
    for group, base in BASES.items():
        with pytest.raises(ConfigError, match=rf"{group}\._target_="):
            instantiate.find(group, node, base)
    with pytest.raises(ConfigError, match=r"stage\._target_="):
        instantiate.stage(node)


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("model", "os._exit"),
        ("dataset", "builtins.open"),
        ("objective", "ptft.cli.main.shutil"),
        ("optimizer", "torch.optim.Optimizer.load_state_dict"),
        ("schedule", "ptft.checkpoint.file.write"),
        ("stage", "os.system"),
        ("model", "ptft.data.image.digits.Digits"),
        ("dataset", "ptft.models.image.cnn.CNN"),
        ("objective", "torch.optim.SGD"),
        ("optimizer", "ptft.objectives.supervised.classify.Classify"),
        ("schedule", "ptft.stages.train.run"),
        ("stage", "ptft.optim.schedules.Cosine"),
    ],
)
def test_row_60_a_target_on_the_command_line(ptft, tmp_path, group, target):
    refused(ptft(*RUN, f"{group}._target_={target}"), 2, f"{group}._target_={target}: ")
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        "+model.extra={_target_:os._exit}",
        "model.width={_target_:os._exit}",
        "+dataset.like={_target_:os._exit}",
        "+objective.views.x={_target_:os._exit}",
        "optimizer.betas={_target_:os._exit}",
        "+schedule.curve={_target_:os._exit}",
    ],
)
def test_row_60_a_nested_target(ptft, tmp_path, typed):
    refused(ptft(*RUN, typed), 2, typed.lstrip("+").split("=")[0].split(".", 1)[1])
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        "+hydra.callbacks.x={_target_:os.mkdir,path:marker}",
        "hydra.launcher._target_=os.mkdir",
        "hydra.sweeper._target_=os.mkdir",
    ],
)
def test_row_60_what_hydra_itself_would_build(ptft, tmp_path, typed):
    result = ptft("-m", *RUN, "train.steps=1", "seed=0,1", typed)
    refused(result, 2, "hydra.", "._target_=os.mkdir: refused")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def package(tmp_path):
    """A package in the folder the user stands in; when it is imported it leaves a marker."""
    source = f"""
from pathlib import Path
Path({str(tmp_path / "marker")!r}).touch()
import os
from ptft.data.image.digits import Digits
from ptft.models.image.cnn import CNN
from ptft.objectives.supervised.classify import Classify
class Net(CNN): ...
class Data(Digits): ...
class Task(Classify): ...
leave = os._exit
"""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "__init__.py").write_text(source)
    return tmp_path


OWN = ("model._target_=mypkg.Net", "dataset=digits", "dataset._target_=mypkg.Data", "objective._target_=mypkg.Task")


def test_row_60_a_package_is_not_even_imported_before_it_is_trusted(ptft, package, monkeypatch):
    monkeypatch.syspath_prepend(package)
    for typed in OWN:
        if "_target_" in typed:
            refused(ptft(*RUN, typed), 2, typed, "refused", "trusted=[package]")
    assert not (package / "marker").exists()


def test_row_60_the_users_own_package_when_it_is_trusted(ptft, package):
    own = ("stage=pretrain", *OWN, "trusted=[mypkg]", "train.steps=2", "dataset.limit=40", "model.width=16")
    result = ptft(*own, "hydra.run.dir=run")
    assert result.code == 0, result.text
    for stage, more in (("finetune", ("train.steps=2", "dataset.limit=40")), ("evaluate", ())):
        refused(ptft(f"stage={stage}", "ckpt=run"), 2, "mypkg.", "refused", "trusted=[package]")
        assert ptft(f"stage={stage}", "ckpt=run", "trusted=[mypkg]", *more).code == 0
    refused(ptft(*own, "model._target_=mypkg.leave"), 2, "model._target_=mypkg.leave", "not a Backbone")


def test_row_60_a_checkpoint_does_not_say_what_is_trusted(ptft, package, pretrained):
    content, _ = checkpoint_file.read(pretrained / "checkpoints" / "last.pt")
    config = {**content["config"], "trusted": ["mypkg"], "model": {"_target_": "mypkg.Net", "width": 16}}
    shutil.copytree(pretrained, package / "bad")
    for name in ("best.pt", "last.pt"):
        checkpoint_file.write(package / "bad" / "checkpoints" / name, {**content, "config": config})
    for typed in (["stage=finetune", "ckpt=bad"], ["stage=evaluate", "ckpt=bad"], ["resume=bad", "train.epochs=9"]):
        refused(ptft(*typed), 2, "mypkg.Net", "refused")
    assert not (package / "marker").exists()
