"""`stage=export`: a folder that is whole or not there, refusals, and exports that ptft opens again."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ptft as package
from ptft.checkpoint.load import open_checkpoint
from ptft.errors import CheckpointError
from tests.conftest import GLYPHS, SMALL, contents, refused, summary


@pytest.fixture(scope="module")
def exported(pretrained, tmp_path_factory):
    """The pretrained run as safetensors; read it, don't change it."""
    folder = tmp_path_factory.mktemp("exported") / "weights"
    where = f"hydra.run.dir={folder.parent / 'run'}"
    package.run("stage=export", f"ckpt={pretrained}", "format=safetensors", f"output={folder}", where)
    return folder


def export(ptft, *typed):
    return ptft("stage=export", "format=safetensors", *typed)


def test_the_weights_are_those_of_the_checkpoint(exported, pretrained):
    checkpoint = open_checkpoint(str(pretrained))
    weights = load_file(exported / "model.safetensors")
    assert weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in checkpoint.weights.items())
    says = json.loads((exported / "config.json").read_text())
    assert says["checkpoint"]["sha256"] == checkpoint.sha256
    assert says["spec"]["classes"] == list("0123456789")
    assert says["config"]["names"]["model"] == "cnn"
    assert says["parent"] is None
    assert sorted(says["files"]) == sorted(path.name for path in exported.iterdir())
    found = summary(exported.parent / "run")
    assert (found["status"], found["format"], found["output"]) == ("finished", "safetensors", str(exported))


def test_an_export_is_opened_as_its_checkpoint(exported, pretrained, ptft):
    ours, theirs = package.load(exported, device="cpu"), package.load(pretrained, device="cpu")
    images = torch.randint(0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert ours(list(images)) == theirs(list(images))
    assert torch.equal(ours.features(list(images)), theirs.features(list(images)))
    card, before = ours.card, theirs.card
    assert {key: card[key] for key in card if key != "path"} == {key: before[key] for key in before if key != "path"}
    kept, original = open_checkpoint(str(exported)), open_checkpoint(str(pretrained))
    assert kept.parent == {**original.parent, "path": kept.path}
    data = ("dataset=glyphs", *GLYPHS, "train.steps=1")
    done = ptft("stage=finetune", f"ckpt={exported}", *data, "hydra.run.dir=finetuned")
    assert done.code == 0, done.text
    assert summary(Path("finetuned"))["parent"]["sha256"] == original.sha256
    done = ptft("lineage", "finetuned")
    assert done.code == 0
    assert str(pretrained) in done.out
    for made in (exported, pretrained / "checkpoints" / "best.safetensors"):
        told = ptft("lineage", str(made))
        assert told.code == 0, told.text
        assert any(str(pretrained) in line and line.endswith("◀") for line in told.out.splitlines())


def test_what_it_was_trained_on_stays_known(ptft):
    rows = [f"a {kind} day number {i},{kind}" for i in range(20) for kind in ("good", "bad")]
    for name, part in {"train": rows[:30], "val": rows[30:]}.items():
        Path("data").mkdir(exist_ok=True)
        Path("data", name).with_suffix(".csv").write_text("\n".join(["text,label", *part]))
    data = ("dataset=table", "dataset.root=data", "dataset.tokenizer=bytes", "objective=classify")
    net = ("model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=1", "train.steps=1", "train.batch_size=8")
    assert ptft("stage=pretrain", *data, *net, "hydra.run.dir=run").code == 0
    assert export(ptft, "ckpt=run", "output=weights").code == 0
    kept, original = open_checkpoint("weights"), open_checkpoint("run")
    assert len(original.trained_on) == 30
    assert torch.equal(kept.trained_on, original.trained_on)


def test_a_run_ends_with_its_weights_as_others_read_them(pretrained, ptft, tmp_path):
    best = pretrained / "checkpoints" / "best.safetensors"
    original = open_checkpoint(str(pretrained))
    assert load_file(best).keys() == original.weights.keys()
    again = open_checkpoint(str(best))
    assert (again.sha256, again.run, again.spec) == (original.sha256, original.run, original.spec)
    assert package.load(best, device="cpu").card["metrics"] == package.load(pretrained, device="cpu").card["metrics"]
    assert ptft("stage=pretrain", *SMALL, "train.steps=1", "train.safetensors=false", "hydra.run.dir=run").code == 0
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.pt", "last.pt"]


def test_changed_weights_are_noticed(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="the digest differs"):
        open_checkpoint(str(tmp_path / "copy"))


def test_what_is_there_is_not_replaced_unless_it_is_an_export(exported, pretrained, ptft, tmp_path):
    mine, ckpt = tmp_path / "mine", f"ckpt={pretrained}"
    mine.mkdir()
    assert export(ptft, ckpt, f"output={mine}").code == 0, "an empty folder is free"
    before = contents(mine)
    refused(export(ptft, ckpt, f"output={mine}"), 2, "is an export already; overwrite=true")
    assert contents(mine) == before
    assert export(ptft, ckpt, f"output={mine}", "overwrite=true").code == 0
    assert contents(mine).keys() == before.keys()
    (mine / "notes.txt").write_text("mine")
    refused(export(ptft, ckpt, f"output={mine}", "overwrite=true"), 2, "notes.txt, which no export wrote")
    assert (mine / "notes.txt").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("mine")
    refused(export(ptft, ckpt, f"output={tmp_path / 'data'}", "overwrite=true"), 2, "a.txt, which no export wrote")
    (tmp_path / "file").write_text("mine")
    refused(export(ptft, ckpt, "output=file", "overwrite=true"), 2, "output=file: is no folder")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".mine")], "leftovers"


def test_without_an_output_it_is_in_the_runs_folder(pretrained, ptft, tmp_path):
    done = export(ptft, f"ckpt={pretrained}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert (tmp_path / "run" / "export-safetensors" / "README.md").exists()
    assert "ptft stage=predict ckpt=run/export-safetensors input=FILES" in done.out
    done = export(ptft, f"ckpt={pretrained}", "dry_run=true", "output=planned")
    assert done.code == 0
    assert not (tmp_path / "planned").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["format=tflite"], "format=tflite: must be one of onnx, torch, safetensors, huggingface, peft"),
        (["format=torch", "quantize=dynamic"], "quantize=dynamic: is for format=onnx"),
        (["format=safetensors", "dataset.root=data"], "dataset.root: is read for quantize=dynamic alone"),
        (["format=safetensors", "device=cuda"], "device: for stage="),
        ([], "format: stage=export needs it"),
    ],
)
def test_what_can_not_be_asked_is_refused(typed, said, pretrained, ptft):
    refused(ptft("stage=export", f"ckpt={pretrained}", *typed), 2, said)


def test_a_package_that_is_missing_is_named_with_its_command(pretrained, ptft, monkeypatch, tmp_path):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    done = ptft("stage=export", f"ckpt={pretrained}", "format=onnx", "output=out")
    refused(done, 2, "format=onnx: needs the package onnxruntime: pip install 'ptft[onnx]'")
    assert not (tmp_path / "out").exists()


def test_no_room_for_safetensors_costs_them_and_not_the_run(ptft, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if ".best.safetensors" in path.name:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = ptft("stage=pretrain", *SMALL, "train.steps=1", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "best.safetensors: can't be written (No space left on device)" in done.text
    assert "the run goes on without it, and best.pt holds the same" in done.text
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    assert summary(tmp_path / "run")["status"] == "finished"


def test_an_export_that_is_cut_leaves_the_one_before(exported, ptft, tmp_path, pretrained, monkeypatch):
    shutil.copytree(exported, tmp_path / "mine")
    before = contents(tmp_path / "mine")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "README.md")

    monkeypatch.setattr("ptft.export.card.write", full)
    done = export(ptft, f"ckpt={pretrained}", "output=mine", "overwrite=true", "hydra.run.dir=run")
    refused(done, 5, "can't be written (No space left on device)", "choose another output")
    assert contents(tmp_path / "mine") == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".mine")]
