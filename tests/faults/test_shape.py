"""Configurations of another shape than ptft's, and values that lead nowhere; each typed or written for real."""

import re
import shutil

import pytest

from ptft.checkpoint import file as checkpoint_file
from ptft.config import yaml_files
from tests.conftest import SMALL, contents, refused, rows, summary

RUN = ("stage=pretrain", *SMALL, "dataset.held_out=20")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("train=null", ["train=null", "patience"]),
        ("train.every=3", ["train.every=3", "log, evaluate, save"]),
        ("finetune.lora=null", ["finetune.lora=null", "rank"]),
        ("objective.views=5", ["objective.views=5", "crop"]),
        ("model.width={a:1}", ["model.width", "not a group of keys"]),
        ("~train", ["~train: can't be left out; it is a group of keys"]),
        ("~train.steps", ["~train.steps: can't be left out; type train.steps=null"]),
        ("train.every={evaluat: 3}", ["train.every.evaluat: there is no such key; did you mean train.every.evaluate?"]),
        ("train={every: {logs: 3}}", ["train.every.logs: there is no such key; did you mean train.every.log?"]),
        (
            "dataset.views={flipp: true}",
            ["dataset.views.flipp: there is no such key; did you mean dataset.views.flip?"],
        ),
        ("train.monitor={metric: val/loss, mode: min, extra: 1}", ["train.monitor.extra: there is no such key"]),
        ("train.monitor={metric: 3, mode: min}", ["must be {metric: val/NAME, mode: min or max}"]),
        ("~optimizer", ["optimizer: needs an option", "adamw"]),
        ("~logger", ["~logger"]),
        ("optimizer=null", ["optimizer=null", "adamw"]),
    ],
)
def test_a_value_where_keys_are_meant_and_the_other_way_round(ptft, tmp_path, typed, said):
    refused(ptft(*RUN, typed), 2, *said)
    assert not list(tmp_path.iterdir())


def test_a_key_in_a_group_that_a_checkpoint_brings_is_looked_at_too(ptft, pretrained):
    for run in (f"resume={pretrained}", "train.steps=30"), ("stage=finetune", f"ckpt={pretrained}"):
        refused(ptft(*run, "train.every={evaluat: 3}"), 2, "did you mean train.every.evaluate?")
    own = ("stage=pretrain", f"ckpt={pretrained}", "dataset=from_ckpt", "dry_run=true")
    refused(ptft(*own, "dataset.views={flipp: true}"), 2, "did you mean dataset.views.flip?")
    assert ptft(*own, "dataset.views={flip: true}").code == 0


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("train:", "train=null"),
        ("train: -1", "train=-1"),
        ("train: {every: 3, average_last: 2}", "train.every=3"),
        ("finetune: {lora: 1}", "finetune.lora=1"),
        ("stage: []", "experiment/theirs"),
    ],
)
def test_an_experiment_that_makes_values_of_groups_is_refused(ptft, tmp_path, written, said):
    path = tmp_path / "conf" / "experiment" / "theirs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{written}\n")
    refused(ptft(*RUN, "experiment=theirs"), 2, said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seed=${train.steps}", "train.steps=${seed}"], "seed"),
        (["model.width=${model.width}"], "model.width"),
        (["model.width=???"], "model.width"),
        (["hydra.run.dir=???"], "hydra.run.dir"),
        (["hydra.run.dir=null"], "hydra.run.dir"),
        (["hydra.run.dir=${oc.env:NOT_SET}/run"], "NOT_SET"),
    ],
)
def test_row_61_what_leads_nowhere_is_named_by_its_key(ptft, tmp_path, typed, said):
    refused(ptft("stage=pretrain", *typed), 2, said)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_named_by_what_hydra_would_make_of_it(ptft, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    assert ptft(*RUN, "train.steps=2", "hydra.run.dir=${oc.env:SCRATCH}/${seed}-${hydra:job.name}", "seed=7").code == 0
    assert summary(tmp_path / "scratch" / "7-ptft")["steps"] == 2
    monkeypatch.setenv("CKPT", "scratch/7-ptft")
    assert ptft("stage=evaluate", "ckpt=${oc.env:CKPT}").code == 0


def test_an_older_config_yaml_of_the_users_has_what_it_lacks(ptft, tmp_path):
    text = (yaml_files.conf_dir() / "config.yaml").read_text()
    for key in ("precision", "trusted", "resume", "dry_run", "logger"):
        text = re.sub(rf"(?m)^{key}: .*\n", "", text)
    for key in ("keep_memory", "clip", "patience", "monitor"):
        text = re.sub(rf"(?m)^  {key}: .*\n", "", text)
    text = re.sub(r"(?m)^  (every|lora|budget): .*\n(    .*\n)+|^  (every|lora|budget): +#.*\n(    .*\n)+", "", text)
    text = re.sub(r"(?m)^  - (schedule: onecycle|logger: .*|override hydra/job_logging: disabled)\n", "", text)
    text = text.replace("seed: 0 ", "seed: 5 ")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(text)
    result = ptft(*RUN, "train.steps=4", "train.every.evaluate=1", "train.patience=2", "hydra.run.dir=run")
    assert result.code == 0, result.text
    assert summary(tmp_path / "run")["seed"] == 5
    config = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")[0]["config"]
    assert config["train"]["clip"] == 1.0
    assert config["train"]["patience"] == 2
    assert config["schedule"]["_target_"].endswith("OneCycle")


SMALL_CHANGES = [
    (("weights",), None, "weights"),
    (("weights",), {"a": 1}, "weights"),
    (("config",), None, "configuration"),
    (("config", "names"), ["a"], "names"),
    (("config", "names", "model"), "../../x", "name"),
    (("config", "model"), 5, "model"),
    (("config", "model", "width"), "wide", "can't be used"),
    (("spec",), {}, "spec"),
    (("spec", "mean"), "bright", "spec"),
    (("spec", "shape", "channels"), "abc", "spec"),
    (("spec", "shape"), {}, ""),
    (("progress", "step"), [], "stood"),
]


@pytest.mark.parametrize(("path", "value", "said"), SMALL_CHANGES)
def test_a_whole_checkpoint_with_other_contents(ptft, tmp_path, pretrained, path, value, said):
    content, _ = checkpoint_file.read(pretrained / "checkpoints" / "best.pt")
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    file = tmp_path / "theirs.pt"
    checkpoint_file.write(file, content)
    refused(ptft("stage=evaluate", "ckpt=theirs.pt"), 4, str(file), said)
    assert contents(tmp_path).keys() <= {
        "theirs.pt",
        *(name for name in contents(tmp_path) if name.startswith("outputs")),
    }


def test_a_run_that_patience_ended_says_so_and_goes_on_with_more(ptft, tmp_path):
    typed = ("stage=pretrain", "dataset=digits", "dataset.limit=60", "model.width=8", "train.every.evaluate=2")
    typed = (*typed, "optimizer.lr=1e-12", "train.layout=contiguous", "precision=fp32", "model.channels=[4,8]")
    assert ptft(*typed, "train.steps=12", "train.patience=2", "hydra.run.dir=run").code == 0
    ended = summary(tmp_path / "run")["steps"]
    assert ended < 12
    before = contents(tmp_path / "run")
    result = ptft("resume=run", "train.steps=20")
    assert result.code == 0
    assert f"train.patience=2 ended it at step {ended}" in result.out
    assert contents(tmp_path / "run") == before
    result = ptft("resume=run", "train.patience=null")
    assert result.code == 0, result.text
    assert summary(tmp_path / "run")["steps"] == 12
    assert ptft(*typed, "train.steps=12", "hydra.run.dir=whole").code == 0
    assert measured(tmp_path / "run") == measured(tmp_path / "whole")


def measured(folder):
    """The evaluations of a run, without the time they were made at."""
    found = [row for row in rows(folder) if row["split"] == "val"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def test_a_finished_run_without_its_summary_is_complete_all_the_same(ptft, tmp_path, pretrained):
    shutil.copytree(pretrained, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{}")
    result = ptft("resume=run")
    assert result.code == 0, result.text
    assert "complete at step 20" in result.out
