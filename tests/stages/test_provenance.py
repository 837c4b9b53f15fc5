"""How a run was made, as its summary says it."""

import json
import shlex
from pathlib import Path

import numpy
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.stages.provenance import commit
from tests.conftest import summary

RUN = ("stage=pretrain", "dataset=digits", "dataset.limit=60", "model.width=8", "model.channels=[4,8]", "train.steps=2")


def weights(folder):
    return checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["weights"]


def test_the_command_of_a_run_makes_it_again_and_its_data_libraries_and_commit_are_named(ptft, tmp_path):
    first = tmp_path / "a run, (1)"
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("0123abcd\n")
    assert ptft(*RUN, f"hydra.run.dir={first}").code == 0
    folder = tmp_path / "outputs" / "1-2-3-cafe"
    typed = ("stage=finetune", f"ckpt={first}", "optimizer.lr=1e-4", "train.steps=2", "dataset.limit=50")
    assert ptft(*typed, f"hydra.run.dir={folder}").code == 0
    made = summary(folder)
    assert made["command"] == shlex.join(["ptft", *typed])
    assert made["cwd"] == str(tmp_path)
    assert made["git_commit"] == "0123abcd"
    assert made["versions"]["torch"] == torch.__version__
    assert made["versions"]["numpy"] == numpy.__version__
    assert made["data"]["examples"]["train"] == 50
    assert made["data"]["fingerprint"] == checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["fingerprint"]
    assert isinstance(made["transfer"]["loaded"]["tensors"], int)
    assert json.loads((folder / "transfer.json").read_text())["loaded"]["tensors"]
    assert ptft(*shlex.split(made["command"])[1:], "hydra.run.dir=again").code == 0
    assert all(torch.equal(value, weights(folder)[name]) for name, value in weights(Path("again")).items())
    assert ptft(f"resume={folder}", "train.steps=3").code == 0
    assert summary(folder)["command"] == made["command"]
    assert ptft("stage=evaluate", "ckpt=cafe", "split=val", "hydra.run.dir=measured").code == 0
    best = folder / "checkpoints" / "best.pt"
    assert summary(Path("measured"))["command"] == f"ptft stage=evaluate ckpt={best} split=val"


def test_the_commit_is_read_wherever_git_keeps_it(tmp_path):
    assert commit(Path("/proc")) is None
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "below").mkdir()
    assert commit(tmp_path / "below") is None
    (git / "packed-refs").write_text("# pack-refs with: peeled\nfeed refs/heads/main\nbeef refs/heads/other\n")
    assert commit(tmp_path / "below") == "feed"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("cafe\n")
    assert commit(tmp_path / "below") == "cafe"
    own = git / "worktrees" / "one"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/other\n")
    (own / "commondir").write_text("../..\n")
    (tmp_path / "below" / ".git").write_text(f"gitdir: {own}\n")
    assert commit(tmp_path / "below") == "beef"
