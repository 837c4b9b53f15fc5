"""`train.parallel=fsdp`: parts of a model take the steps of the whole one, and their saves go on in any other way."""

import json
import shutil
import sys

import pytest
import torch

from ptft.builders.parts import cut
from ptft.errors import ConfigError
from tests.conftest import refused
from tests.distributed.test_equal import COMMON, TEXT, same
from tests.gpu.setting import built
from tests.helpers.processes import run, together

GPT = (
    *COMMON,
    *("objective=causal_lm", "model=gpt_tiny", "model.width=16", "model.depth=2", "model.heads=2", "model.dropout=0"),
    *("train.batch_size=32", *TEXT, "schedule=constant", "train.every.save=3", "train.ema=0.5", "train.steps=12"),
)
VIT = (
    *(
        *COMMON,
        "model=vit_tiny",
        "model.width=16",
        "model.depth=2",
        "model.heads=2",
        "model.patch=4",
        "model.dropout=0",
    ),
    *(
        "dataset.images=71",
        "dataset.held_out=33",
        "dataset.size=12",
        "train.batch_size=35",
        "optimizer=sgd",
        "train.accumulate=3",
    ),
)
"""The last of its batches has one image, so one of two processes has none."""
MAE = (
    *VIT,
    "train.accumulate=1",
    "objective=mae",
    "objective.decoder_width=16",
    "objective.decoder_depth=1",
    "train.steps=2",
)
FSDP = "train.parallel=fsdp"
DIES = """
import os, sys
from ptft.checkpoint import file
from ptft.cli.main import main

write = file.write

def dies(path, state):
    if path.name == "last.pt" and state["progress"]["step"] == 9:
        os._exit(1)
    return write(path, state)

file.write = dies
main(sys.argv[1:])
"""


SLOW = """
import os, sys, time
from ptft.checkpoint import file
from ptft.cli.main import main

write = file.write

def slow(path, state):
    time.sleep(0.3)
    write(path, state)
    if path.name == "last.pt" and state["progress"]["step"] == 3:
        os._exit(1)

file.write = slow
main(sys.argv[1:])
"""
SEVERAL = """
import json, sys
from ptft.cli.main import _run
from ptft.launch import rank

def commands():
    return max([_run(typed) for typed in json.loads(sys.argv[1])])

sys.exit(rank.joined(commands) if rank.is_one() else commands())
"""
"""Several commands in one process, or in each of those that train together."""
TARGET = (
    *("stage=finetune", "ckpt=vit-two", "dataset=digits", "dataset.limit=60", "device=cpu", "precision=fp32"),
    *("train.layout=contiguous", "optimizer=sgd", "train.every.log=1", "train.every.evaluate=2", "train.batch_size=59"),
    "train.steps=4",
)
PHASES = ("train.average_last=2", "finetune.train=[{until: 0.5, train: head}, {until: 1.0, train: all}]")
LORA = ("finetune.lora.rank=2", "finetune.lora.targets=all", "train.ema=0.5", "train.checkpoint_activations=true")


def arguments(*commands):
    return [sys.executable, "-c", SEVERAL, json.dumps(commands)]


def into(folder, *typed):
    return [*typed, f"hydra.run.dir={folder}"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with runs of one process and of two in parts, as few processes as that takes."""
    base, parts = tmp_path_factory.mktemp("fsdp"), (FSDP, "train.save=parts")
    began = run(
        arguments(
            into("one", *GPT), into("began", *GPT, "train.steps=6"), into("vit-one", *VIT), into("mae-one", *MAE)
        ),
        cwd=base,
    )
    assert began.returncode == 0, began.stderr
    assert together([sys.executable, "-c", DIES, *into("cut", *GPT, *parts)], cwd=base)[0].returncode == 1
    for name in ("again", "damaged", "gone"):
        shutil.copytree(base / "cut", base / name)
    ended = together(
        arguments(
            ["resume=again"],
            ["resume=began", "train.steps=12", FSDP],
            into("vit-two", *VIT, FSDP),
            into("mae-two", *MAE, FSDP),
            into("phases-two", *TARGET, *PHASES, FSDP),
            into("lora-two", *TARGET, *LORA, FSDP),
        ),
        cwd=base,
    )
    assert [each.returncode for each in ended] == [0, 0], ended
    assert (ended[1].stdout, ended[1].stderr) == ("", "")
    assert "goes on with 2" in ended[0].stdout
    alone = run(
        arguments(
            into("phases-one", *TARGET, *PHASES),
            into("lora-one", *TARGET, *LORA),
            into("measured", "stage=evaluate", "ckpt=lora-two", "device=cpu", "precision=fp32"),
        ),
        cwd=base,
    )
    assert alone.returncode == 0, alone.stderr
    return base


def test_parts_take_the_steps_of_the_whole(base):
    for name in ("vit", "mae", "phases", "lora"):
        same(base / f"{name}-one", base / f"{name}-two")
    for name in ("mae", "lora"):
        summaries = [json.loads((base / f"{name}-{count}" / "summary.json").read_text()) for count in ("one", "two")]
        assert summaries[1]["flops"] == summaries[0]["flops"] > 0
    measured = json.loads((base / "measured" / "summary.json").read_text())["metrics"]["test"]
    assert measured == pytest.approx(summaries[1]["metrics"]["test"], rel=1e-5)


def test_what_one_process_began_two_go_on_with_in_parts(base):
    same(base / "one", base / "began")


def test_a_save_in_parts_that_was_cut_short_leaves_the_one_before_and_goes_on_in_any_way(ptft, base, monkeypatch):
    monkeypatch.chdir(base)
    state = torch.load(base / "damaged/checkpoints/last.pt", weights_only=True)
    assert sorted(path.name for path in (base / "damaged/checkpoints").glob("last-*")) == [
        "last-6.parts",
        "last-9.parts",
    ]
    assert state["progress"]["step"] == 6
    assert state["training"]["raw_weights"].keys() == state["weights"].keys()
    assert not [value for value in state["training"]["raw_weights"].values() if isinstance(value, torch.Tensor)]

    alone = ("train.processes=1", "train.parallel=ddp")
    done = ptft("resume=cut", *alone)
    assert done.code == 0, done.text
    assert "continues at step 6" in done.out
    assert "train.save=parts is without effect" in done.out
    for name, left in (("cut", []), ("again", ["last-12.parts"])):
        same(base / "one", base / name)
        assert [path.name for path in (base / name / "checkpoints").glob("last-*")] == left

    part = next((base / "damaged/checkpoints/last-6.parts").glob("__1_*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    refused(ptft("resume=damaged", *alone), 4, f"{part}: was changed or damaged")
    shutil.rmtree(base / "gone/checkpoints/last-6.parts")
    refused(ptft("resume=gone", *alone), 4, "last-6.parts, where")


def test_one_process_that_has_all_parts_draws_what_one_without_a_group_does(tmp_path):
    """Views and dropout, and after a stop from where they stood."""
    typed = (*VIT, "model.dropout=0.1", "schedule=constant")
    stopped = run(arguments(into("whole", *typed), into("one", *typed, FSDP, "train.steps=3")))
    assert stopped.returncode == 0, stopped.stderr
    resumed = run(arguments(["resume=one", "train.steps=6"]))
    assert resumed.returncode == 0, resumed.stderr
    same(tmp_path / "whole", tmp_path / "one")


def test_a_save_leaves_the_parts_of_the_next_one(tmp_path):
    """last.pt is written beside the training, and parts before it go when it is there: no others."""
    typed = (*VIT, FSDP, "train.save=parts", "train.every.save=1")
    assert together([sys.executable, "-c", SLOW, *into("run", *typed)])[0].returncode == 1
    resumed = run(arguments(["resume=run"], into("whole", *typed)))
    assert resumed.returncode == 0, resumed.stderr
    same(tmp_path / "whole", tmp_path / "run")


def test_what_can_not_be_cut(ptft, tmp_path):
    refused(ptft(*GPT, FSDP, "optimizer=muon"), 2, "train.parallel=fsdp: not with optimizer=muon", "type adamw")
    refused(ptft(*GPT, FSDP, "train.compile=true", "precision=fp16"), 2, "train.compile=True", "precision=fp16")
    refused(ptft(*GPT, FSDP, "train.cuda_graph=true"), 2, "train.cuda_graph=True")
    last = ("train.layout=channels_last", "train.steps=1", "hydra.run.dir=begun")
    assert ptft(*(word for word in VIT if "layout" not in word), *last).code == 0
    refused(ptft("resume=begun", "train.steps=2", FSDP), 2, "channels_last", "this run goes on with ddp")
    refused(ptft(*TARGET, "ckpt=null", FSDP, "finetune.train=head"), 2, "finetune.probe=auto", "type steps")
    compared = ("objective=simclr", "objective.norm=false", "train.accumulate=3", FSDP, "dry_run=true")
    refused(ptft(*VIT, *compared), 2, "train.parallel=fsdp, train.accumulate=3: objective=simclr", "=ddp")
    refused(ptft("stage=embed", "ckpt=x", FSDP), 2, "train.parallel", "stage=embed")
    run = built(torch.device("cpu"), *COMMON, "dataset.images=40", "dataset.held_out=9", "model=cnn")
    with pytest.raises(ConfigError, match=r"model=cnn has no blocks to be cut; type train\.parallel=ddp"):
        cut.divide(run.cfg, run.objective, run.training.phases, torch.device("cpu"))
