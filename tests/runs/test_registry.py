"""Runs found again by a part of their name, and the newest that was cut."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ptft.runs import registry
from tests.conftest import FEW, command, refused, status
from tests.helpers.processes import Process

NET = ("model.width=8", "model.channels=[4,8]")
RUN = ("stage=pretrain", *FEW, "train.batch_size=16", *NET)
FIRST = "outputs/2026-01-01/10-00-00-pretrain-cnn-glyphs-1e23"
SECOND = "outputs/2026-01-01/11-00-00-pretrain-cnn-glyphs-00b7"


@pytest.fixture
def two(ptft):
    for folder in (FIRST, SECOND):
        assert ptft(*RUN, "train.steps=1", f"hydra.run.dir={folder}").code == 0


def test_the_last_characters_of_a_folder_or_a_part_of_its_name_mean_a_run(ptft, two):
    tuned = ptft("stage=finetune", "ckpt=1e23", "train.steps=1", "dataset.limit=20", "hydra.run.dir=outputs/tuned")
    assert tuned.code == 0, tuned.text
    assert f"ckpt=1e23 is {FIRST}" in tuned.out
    assert json.loads(Path("outputs/tuned/summary.json").read_text())["parent"]["run"] == str(Path(FIRST).absolute())
    done = ptft("resume=11-00", "train.steps=2")
    assert done.code == 0, done.text
    assert f"resume=11-00 is {SECOND}" in done.out
    refused(ptft("stage=finetune", "ckpt=cnn-glyphs"), 4, FIRST, SECOND, "type more of its name")
    refused(ptft("resume=glyphs"), 4, "resume=glyphs", FIRST, SECOND)
    refused(ptft("stage=finetune", "ckpt=0b7"), 4, "there is no file")
    refused(ptft("resume=1e24"), 4, "there is no file")
    Path("1e23").mkdir()
    refused(ptft("stage=finetune", "ckpt=1e23"), 4, "no checkpoint in")


def test_resume_latest_is_the_newest_run_that_was_cut_or_killed(ptft, two, tmp_path):
    refused(ptft("resume=latest"), 4, "resume=latest", "no interrupted run below", "resume=RUN")
    (Path(FIRST) / "status.json").write_text(json.dumps({**status(tmp_path / FIRST), "status": "interrupted"}))
    (Path(SECOND) / "status.json").write_text(json.dumps({**status(tmp_path / SECOND), "status": "running"}))
    done = ptft("resume=latest", "train.steps=2")
    assert done.code == 0, done.text
    assert f"resume=latest is {SECOND}" in done.out
    assert f"resume=latest is {FIRST}" in ptft("resume=latest", "train.steps=2").out
    refused(ptft("resume=latest"), 4, "no interrupted run")


def test_resume_latest_and_a_short_name_finish_a_sweep(ptft, tmp_path):
    folder = tmp_path / "outputs" / "sweeps" / "2026-01-01" / "10-00-00-abcd"
    sweep = ("-m", *RUN, "train.steps=1,100000", f"hydra.sweep.dir={folder}")
    with Process(command(*sweep), stdout=subprocess.DEVNULL) as running:
        until = time.monotonic() + 120
        while time.monotonic() < until and not (folder / "1" / "checkpoints" / "last.pt").exists():
            time.sleep(0.01)
        refused(ptft("resume=abcd"), 5, "in use by another process", "hydra.sweep.dir")
        running.send_signal(signal.SIGKILL)
    (folder / ".sweep" / "command.json").write_text(
        (folder / ".sweep" / "command.json").read_text().replace("100000", "3")
    )
    (folder / "1" / "checkpoints" / "last.pt").unlink()
    done = ptft("resume=latest")
    assert done.code == 0, done.text
    assert f"resume=latest is {folder.relative_to(tmp_path)}" in done.out
    assert [status(folder / str(number))["status"] for number in range(2)] == ["finished"] * 2
    assert ptft("resume=abcd").out.count("finished before") == 2
    assert ptft("stage=evaluate", "ckpt=abcd/1", "hydra.run.dir=measured").code == 0


def test_runs_are_as_new_as_they_say_and_not_as_their_copies(tmp_path):
    says = {"old": "2026-01-01T12:00:00+0000", "new": "2026-01-01T12:30:00+0100", "mute": None, "odd": "yesterday"}
    says |= {"newest": "2026-01-01T12:00:00-0100"}
    for second, (name, when) in enumerate(says.items()):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text(json.dumps({"time": when} if when else {}))
        os.utime(tmp_path / name / "status.json", (1000 - second, 1000 - second))
    assert [folder.name for folder in registry.folders_below(tmp_path)] == ["newest", "old", "new", "mute", "odd"]
