"""A stranger's file is data: YAML, checkpoints and folders of runs that try to reach beyond what they are."""

import json
import os
import shutil
import subprocess

import pytest
import yaml
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.launch.pool import Worker
from tests.conftest import ROOT, SMALL, command, contents, refused, summary

RUN = ("stage=pretrain", *SMALL, "dataset.held_out=20")
LOGGING = "{version: 1, handlers: {e: {(): os.mkdir, path: marker}}, root: {handlers: [e]}}"


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("key", ["job_logging", "hydra_logging"])
@pytest.mark.parametrize("place", ["experiment/theirs", "config", "model/cnn", "hydra/job_logging/disabled"])
def test_a_yaml_can_not_configure_logging(ptft, tmp_path, key, place):
    inside = place == "config"
    text = f"hydra: {{{key}: {LOGGING}}}\n" if inside or "/" not in place or "model" in place else ""
    if place == "experiment/theirs":
        text = f"# @package _global_\nhydra: {{{key}: {LOGGING}}}\n"
    elif place.startswith("hydra/"):
        text = f"# @package hydra.{key}\n{LOGGING}\n"
    elif place == "model/cnn":
        text = f"# @package _global_\nhydra: {{{key}: {LOGGING}}}\nmodel: {{_target_: ptft.models.image.cnn.CNN}}\n"
    written(tmp_path / "conf" / f"{place}.yaml", text)
    typed = ["experiment=theirs"] if place.startswith("experiment") else []
    refused(ptft("-m", *RUN, *typed, "seed=0,1"), 2, f"{tmp_path / 'conf' / place}.yaml", "refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf"]


@pytest.mark.parametrize(
    "hydra",
    [
        "job: {env_set: {PTFT_DATA: elsewhere}}",
        "job: {chdir: true}",
        "searchpath: ['pkg://theirs']",
        "overrides: {hydra: ['hydra.job.chdir=true']}",
        "sweeper: {params: {seed: '0,1'}}",
        "launcher: {_target_: os.mkdir, path: marker}",
        "output_subdir: theirs",
    ],
)
def test_what_else_a_yaml_can_not_say_of_hydra(ptft, tmp_path, hydra):
    written(tmp_path / "conf" / "config.yaml", f"hydra: {{{hydra}}}\n")
    refused(ptft(*RUN), 2, str(tmp_path / "conf" / "config.yaml"), "hydra.", "refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf"]


def test_an_option_that_is_put_into_hydras_node_by_the_list_of_defaults(ptft, tmp_path):
    written(tmp_path / "conf" / "model" / "theirs.yaml", f"{LOGGING}\n")
    text = "# @package _global_\ndefaults: [{/model@hydra.job_logging: theirs}]\n"
    written(tmp_path / "conf" / "experiment" / "theirs.yaml", text)
    refused(ptft("-m", *RUN, "experiment=theirs", "seed=0,1"), 2, "hydra.job_logging", "refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf"]


@pytest.mark.parametrize(
    "typed",
    ["hydra.job.chdir=true", "hydra/job_logging=default", "+hydra.job.env_set.A=b", "hydra.searchpath=[file://x]"],
)
def test_what_may_not_be_typed_of_hydra(ptft, tmp_path, typed):
    refused(ptft("-m", *RUN, "seed=0,1", typed), 2, typed.lstrip("+").split("=")[0], "refused", "hydra.sweep.dir")
    assert not list(tmp_path.iterdir())


def test_a_yaml_does_not_say_what_is_trusted(ptft, tmp_path):
    written(tmp_path / "conf" / "experiment" / "theirs.yaml", "# @package _global_\ntrusted: [theirs]\n")
    refused(ptft(*RUN, "experiment=theirs"), 2, "trusted=[theirs]", "command line")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf"]


def stored_comparison(folder, ckpt, *typed, config=None):
    """The folder of a comparison that a stranger wrote by hand."""
    written(folder / "status.json", json.dumps({"stage": "compare", "status": "interrupted"}))
    known = {"stage": {"reuses": True}, "names": {"stage": "compare"}, "ckpt": ckpt}
    written(folder / ".hydra" / "config.yaml", yaml.dump({**known, **(config or {})}))
    small = ["compare.seeds=1", "compare.per_class=[1]", "compare.only=finetune", "train.steps=2"]
    written(folder / ".hydra" / "overrides.yaml", yaml.dump(["stage=compare", *small, *typed]))


@pytest.fixture
def evil(tmp_path):
    written(tmp_path / "evilpkg" / "__init__.py", f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    return tmp_path


def test_the_folder_of_a_comparison_does_not_say_what_is_trusted(ptft, evil, pretrained, monkeypatch):
    monkeypatch.syspath_prepend(evil)
    stored_comparison(evil / "theirs", str(pretrained), "trusted=[evilpkg]", "model._target_=evilpkg.Net")
    refused(ptft("resume=theirs"), 2, "trusted=[evilpkg]", "again")
    refused(ptft("resume=theirs", "trusted=[other]"), 2, "evilpkg.Net", "refused")
    arm = "++compare.arms.x=['trusted=[evilpkg]','model._target_=evilpkg.Net']"
    stored_comparison(evil / "theirs", str(pretrained), arm, "compare.only=x")
    refused(ptft("resume=theirs"), 2, "compare.arms.x", "trusted=[evilpkg]")
    assert not (evil / "marker").exists()


@pytest.mark.parametrize("text", ["dataset.root=${oc.env:SECRET}", "names.model=${oc.env:SECRET}"])
def test_the_folder_of_a_comparison_does_not_read_the_environment(ptft, tmp_path, pretrained, monkeypatch, text):
    monkeypatch.setenv("SECRET", "hunter2")
    stored_comparison(tmp_path / "theirs", str(pretrained), text)
    result = ptft("resume=theirs")
    refused(result, 2, text, "type")
    stored_comparison(tmp_path / "theirs", "${oc.env:SECRET}")
    other = ptft("resume=theirs")
    refused(other, 2, "ckpt=${oc.env:SECRET}", "type ckpt=")
    assert "hunter2" not in result.text + other.text + str(contents(tmp_path))


def test_the_folder_of_a_comparison_is_no_way_to_another_stage(ptft, tmp_path, pretrained):
    stored_comparison(tmp_path / "theirs", str(pretrained))
    typed = ["stage=predict", f"ckpt={pretrained}", f"input={pretrained}", f"output={tmp_path / 'mine.csv'}"]
    written(tmp_path / "theirs" / ".hydra" / "overrides.yaml", yaml.dump(typed))
    refused(ptft("resume=theirs"), 2, "output=", "a folder can't say where else to write")
    written(tmp_path / "theirs" / ".hydra" / "overrides.yaml", yaml.dump(typed[:-1]))
    refused(ptft("resume=theirs"), 2, "stage=predict", "is not the stage of this run")
    assert not (tmp_path / "mine.csv").exists()


def test_the_folder_of_a_prediction_neither_writes_elsewhere_nor_over_anything(ptft, tmp_path, pretrained):
    (tmp_path / "mine.csv").write_text("mine")
    typed = ["stage=predict", f"ckpt={pretrained}", f"input={tmp_path}/*.png"]
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert ptft(*typed, "hydra.run.dir=theirs").code == 0
    (tmp_path / "theirs" / "predictions.csv").write_text("mine")
    (tmp_path / "theirs" / "summary.json").unlink()
    before = contents(tmp_path)
    for more, said in (("overwrite=true", "predictions.csv: exists"), ("output=mine.csv", "where else to write")):
        written(tmp_path / "theirs" / ".hydra" / "overrides.yaml", yaml.dump([*typed, more]))
        refused(ptft("resume=theirs"), 2, said)
    changed = {name for name, held in contents(tmp_path).items() if before.get(name) != held}
    assert not {name for name in changed if name.endswith(".csv")}


def changed(pretrained, folder, **config):
    """A copy of a run whose checkpoints have another configuration, and the digests that belong to it."""
    shutil.copytree(pretrained, folder)
    for name in ("best.pt", "last.pt"):
        content, _ = checkpoint_file.read(pretrained / "checkpoints" / name)
        checkpoint_file.write(folder / "checkpoints" / name, {**content, "config": {**content["config"], **config}})
    return folder


def test_what_a_checkpoint_holds_is_never_interpolated(ptft, tmp_path, pretrained, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    config = checkpoint_file.read(pretrained / "checkpoints" / "last.pt")[0]["config"]
    names = {**config["names"], "model": "${oc.env:SECRET}", "dataset": "a${oc.env:SECRET}\\${b"}
    theirs = changed(pretrained, tmp_path / "theirs", names=names)
    typed = ("train.steps=2", "dataset.limit=40")
    for each in (["stage=finetune", "ckpt=theirs", *typed], ["stage=evaluate", "ckpt=theirs"], ["resume=theirs"]):
        result = ptft(*each, *(["train.steps=22"] if each == ["resume=theirs"] else []))
        assert result.code == 0, result.text
        assert "hunter2" not in result.text
    written_by = next(tmp_path.glob("outputs/*/*finetune*"))
    assert summary(written_by)["model"] == "${oc.env:SECRET}"
    assert yaml.safe_load((written_by / ".hydra" / "config.yaml").read_text())["names"]["model"] == "${oc.env:SECRET}"
    assert not any(b"hunter2" in held or "hunter2" in name for name, held in contents(tmp_path).items())
    assert (theirs / "summary.json").exists()


def test_a_checkpoint_does_not_propose_the_next_command(ptft, tmp_path, pretrained):
    config = checkpoint_file.read(pretrained / "checkpoints" / "last.pt")[0]["config"]
    changed(pretrained, tmp_path / "theirs", stage={**config["stage"], "next": "ls; rm -rf ~"})
    result = ptft("resume=theirs", "train.steps=22")
    assert result.code == 0, result.text
    assert "rm -rf" not in result.text


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.log", "checkpoints", ".hydra", "summary.json"])
def test_a_run_writes_through_no_link_out_of_its_folder(ptft, tmp_path, pretrained, name):
    """Row 59 of the table of faults: what a stranger's folder links to is the user's."""
    shutil.copytree(pretrained, tmp_path / "theirs")
    shutil.move(tmp_path / "theirs" / name, tmp_path / "mine")
    os.symlink(tmp_path / "mine", tmp_path / "theirs" / name)
    before = contents(tmp_path / "mine") if (tmp_path / "mine").is_dir() else (tmp_path / "mine").read_bytes()
    refused(ptft("resume=theirs", "train.steps=22"), 5, str(tmp_path / "theirs" / name), "link")
    after = contents(tmp_path / "mine") if (tmp_path / "mine").is_dir() else (tmp_path / "mine").read_bytes()
    assert after == before


def test_a_process_that_is_started_imports_nothing_from_the_users_folder(tmp_path):
    for name in ("queue", "json", "hydra_plugins/theirs"):
        written(tmp_path / f"{name}.py", f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.run(command("stage=pretrain", "seed=x"), cwd=tmp_path, env=environment, capture_output=True)
    assert started.returncode == 2
    worker = Worker(1)
    status = worker.run(["stage=pretrain", "seed=x"], {"identity": "a"}, tmp_path / "cell")
    worker.close()
    worker.end()
    assert status["exit_code"] == 2
    assert not (tmp_path / "marker").exists()
