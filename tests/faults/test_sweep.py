"""Sweeps that are cut, odd, absurd or of several kinds: rows of the table of faults, each injected for real."""

import csv
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.config.overrides import Overrides
from ptft.errors import StorageError
from ptft.launch.sweep import claimed
from tests.conftest import FEW, command, contents, refused, status
from tests.helpers.processes import Process

DATA = ("stage=pretrain", *FEW, "train.batch_size=16")
SIZES = ("model.width=8", "model.channels=[4,8]")
TINY = (*DATA, *SIZES)


def weights(folder):
    return checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["weights"]


def progress(checkpoint):
    return checkpoint_file.read(checkpoint)[0]["progress"]


def test_row_52_a_sweep_that_was_cut_goes_on_where_it_is_started_again(ptft, tmp_path):
    """The second of three is killed in its training; the first is not repeated, the second ends as if nothing was."""
    long = (*TINY, "train.every.save=10", "train.every.evaluate=1000", "train.layout=contiguous", "precision=fp32")
    sweep = ("-m", *long, "train.steps=10,200,11")
    folder = tmp_path / "all"
    typed = command(*sweep, "hydra.sweep.dir=all")
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with Process(typed, **said) as running:
        last, until = folder / "1" / "checkpoints" / "last.pt", time.monotonic() + 120
        while time.monotonic() < until and not (last.exists() and progress(last)["step"] > 0):
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out = running.communicate(timeout=60)[0]
        assert running.returncode == 130
    assert "continue  ptft resume=all\n" in out, out
    assert re.search(r"^ *2 +11 +not started$", out, re.MULTILINE), out
    with (folder / "results.csv").open(newline="") as file:
        jobs = list(csv.DictReader(file))
    assert [job["status"] for job in jobs] == ["finished", "interrupted", "not started"]
    assert [job["train.steps"] for job in jobs] == ["10", "200", "11"]
    assert [status(folder / str(n))["status"] for n in (0, 1)] == ["finished", "interrupted"]
    assert not (folder / "2").exists()
    cut = progress(last)["step"]
    assert 0 < cut < 200
    before = contents(folder / "0")
    refused(ptft(*sweep[:-1], "train.steps=10,200,32", "hydra.sweep.dir=all"), 5, str(folder), "train.steps=10,200,11")
    done = ptft("resume=all")
    assert done.code == 0, done.text
    assert contents(folder / "0") == before
    assert f"continues at step {cut}:" in (folder / "1" / "run.log").read_text()
    assert "[1/3] train.steps=10  finished before, in" in done.out
    with (folder / "results.csv").open(newline="") as file:
        jobs = list(csv.DictReader(file))
    assert [job["status"] for job in jobs] == ["finished"] * 3
    assert [job["train.steps"] for job in jobs] == ["10", "200", "11"]
    assert all("hydra.sweep.dir" not in job["overrides"] for job in jobs)
    assert ptft(*long, "train.steps=200", "hydra.run.dir=whole").code == 0
    assert all(torch.equal(value, weights(folder / "1")[name]) for name, value in weights(tmp_path / "whole").items())


def test_a_sweep_that_was_cut_while_it_planned_or_between_jobs_ends_with_130_and_goes_on(ptft, tmp_path):
    """Every job after the first two is not there yet, with its keys, when the signal comes in the first of them."""
    sweep = ("-m", *TINY, "train.steps=2,100000", "seed=0,1", "hydra.sweep.dir=all", "train.every.log=1")
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Process(command(*sweep), **said) as running:
        until = time.monotonic() + 120
        while time.monotonic() < until and not (tmp_path / "all" / "1" / "status.json").exists():
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert re.search(r"^ *2 +100000 +0 +not started$", out, re.MULTILINE), out
    assert re.search(r"^ *3 +100000 +1 +not started$", out, re.MULTILINE), out
    lines = [line for line in out.splitlines() if line.startswith("[")]
    assert len(lines) == 2, out
    assert re.match(r"\[1/4\] train.steps=2 seed=0  val/accuracy \d\.\d{4}, [\d.]+ s$", lines[0])
    assert "train loss" in (tmp_path / "all" / "0" / "run.log").read_text()
    assert "Traceback" not in (tmp_path / "all" / "1" / "run.log").read_text()


def test_what_a_sweep_s_folder_can_not_say_itself_is_typed_again(ptft, monkeypatch):
    monkeypatch.setenv("NUMBERS", "fp32")
    asked = "precision=${oc.env:NUMBERS}"
    begun = ptft("-m", *TINY, "train.steps=2", asked, "optimizer.lr=1e-3,1e20", "hydra.sweep.dir=all")
    assert begun.code == 1, begun.text
    assert f"continue  ptft resume=all '{asked}'" in begun.out
    refused(ptft("resume=all"), 2, f"type '{asked}' again")
    refused(ptft("resume=all", asked, "train.steps=3"), 2, "train.steps=3", "start a new one")
    assert "finished before, in" in ptft("resume=all", asked).out
    assert "ptft plan of a sweep" in ptft("resume=all", asked, "dry_run=true", "hydra.sweep.dir=all", "-m").out


def test_the_folder_of_one_run_and_what_goes_on_alone_are_no_sweep_s(ptft, tmp_path):
    sweep = ("-m", *TINY, "seed=0,1")
    (tmp_path / "run").mkdir()
    refused(ptft(*sweep, "hydra.run.dir=a b"), 2, "hydra.run.dir=a b with -m: ", "type hydra.sweep.dir=a b")
    refused(ptft("-m", "resume=run", "hydra.sweep.dir=all"), 2, "hydra.sweep.dir=all: ", f"{tmp_path / 'run'}; drop it")
    refused(ptft("resume=run/checkpoints/last.pt", "hydra.run.dir=b"), 2, "hydra.run.dir=b: ", "run; drop it")
    for resumed in (["resume=run"], ["resume=run,other"], ["resume=run", "hydra.run.dir=run"]):
        refused(ptft("-m", *resumed), 2, "resume= with -m: a run goes on alone", "ptft resume=RUN")
    assert not contents(tmp_path)


def test_two_sweeps_at_once_in_one_folder_name_the_key_of_sweeps(tmp_path):
    with claimed(tmp_path / "all", ["seed=0,1"], []):
        said = "all: in use by another process; wait for it or choose another hydra.sweep.dir"
        with pytest.raises(StorageError, match=said), claimed(tmp_path / "all", ["seed=0,1"], []):
            pass


def test_a_sweep_goes_on_where_its_paths_mean_the_same(ptft, tmp_path, monkeypatch):
    for i in range(12):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(path)
    own = ("stage=pretrain", *SIZES, "dataset=image_folder", "dataset.root=photos", "train.steps=1")
    assert ptft("-m", *own, "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=all").code == 0
    other = tmp_path / "other"
    (other / "photos").mkdir(parents=True)
    monkeypatch.chdir(other)
    refused(ptft(f"resume={tmp_path / 'all'}"), 5, f"started in {tmp_path}, where dataset.root=photos lies")


def test_row_52_a_job_that_a_full_disk_ended_goes_on_from_its_last_save(ptft, tmp_path, monkeypatch):
    write, last = checkpoint_file.write, tmp_path / "all" / "1" / "checkpoints" / "last.pt"

    def full(path, state):
        if path == last and state["progress"]["step"] == 6:
            raise StorageError(f"{path}: can't be written (No space left on device)")
        write(path, state)

    sweep = (*TINY, "train.steps=4,8", "train.every.save=2", "train.every.evaluate=100", "hydra.sweep.dir=all")
    with monkeypatch.context() as filled:
        filled.setattr(checkpoint_file, "write", full)
        assert ptft("-m", *sweep).code == 1
    assert progress(last)["step"] == 4
    done = ptft("resume=all")
    assert done.code == 0, done.text
    assert "continues at step 4:" in (tmp_path / "all" / "1" / "run.log").read_text()


def test_row_52_a_job_that_failed_runs_again(ptft, tmp_path):
    sweep = ("-m", *TINY, "train.steps=2", "optimizer.lr=1e-3,1e20", "hydra.sweep.dir=all")
    assert ptft(*sweep).code == 1
    (tmp_path / "all" / "1" / "left").touch()
    done = ptft(*sweep)
    assert done.code == 1
    assert done.out.count("finished before, in") == 1
    assert not (tmp_path / "all" / "1" / "left").exists()
    assert status(tmp_path / "all" / "1")["exit_code"] == 6


def test_row_52_latest_means_what_it_meant_when_the_sweep_began(ptft, tmp_path):
    pretrain = (*TINY, "train.steps=2")
    assert ptft(*pretrain, "hydra.run.dir=outputs/a/first").code == 0
    tune = ("stage=finetune", "ckpt=latest", "dataset=glyphs", *DATA[1:], "train.steps=2")
    sweep = ("-m", *tune, "optimizer.lr=1e20", "hydra.sweep.dir=all")
    assert ptft(*sweep).code == 1
    assert ptft(*pretrain, "hydra.run.dir=outputs/a/second").code == 0
    assert ptft(*sweep).code == 1
    assert "outputs/a/first" in status(tmp_path / "all" / "0")["overrides"][1]


def test_jobs_that_start_from_what_a_checkpoint_became_are_named(ptft, pretrained, tmp_path):
    start = shutil.copytree(pretrained, tmp_path / "start")
    small = ("dataset.limit=20", "train.steps=1")
    sweep = ("-m", "stage=finetune", f"ckpt={start}", *small, "seed=0,1,2", "hydra.sweep.dir=swept")
    assert ptft(*sweep).code == 0
    shutil.rmtree("swept/2")
    Path("swept/.sweep/2.json").unlink()
    assert "changed since" not in ptft(*sweep).text
    assert ptft("stage=pretrain", f"ckpt={start}", *small, "hydra.run.dir=later").code == 0
    shutil.copy("later/checkpoints/best.pt", start / "checkpoints/best.pt")
    shutil.rmtree("swept/2")
    Path("swept/.sweep/2.json").unlink()
    assert "changed since the sweep was started: what it is now counts for job 2," in ptft(*sweep).out


def test_row_53_many_and_odd_overrides_make_short_plain_folders(ptft, tmp_path):
    root = tmp_path / "данные a,b (1)=#[2]"
    for i in range(12):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(root / "ab"[i % 2] / f"{i}.png")
    odd = [
        "dataset=image_folder",
        f"dataset.root='{root}'",
        *(f"train.every.{name}=1" for name in ("log", "save", "evaluate")),
    ]
    more = [
        "optimizer.weight_decay=0.01,0.02",
        "train.clip=0.5",
        "schedule.warmup=0.1",
        "device=cpu",
        "train.workers=0",
    ]
    result = ptft("-m", "stage=pretrain", *SIZES, "train.steps=1", *odd, *more, "hydra.sweep.dir=all")
    assert result.code == 0, result.text
    assert sorted(path.name for path in (tmp_path / "all").iterdir() if path.is_dir()) == [".sweep", "0", "1"]
    stored = status(tmp_path / "all" / "1")["overrides"]
    assert Overrides.parse(stored).typed["dataset.root"] == str(root)
    assert Overrides.parse(stored).typed["optimizer.weight_decay"] == 0.02
    assert (tmp_path / "all" / "1" / ".hydra" / "overrides.yaml").exists()


@pytest.mark.parametrize("subdir", ["${hydra.job.override_dirname}", "lr/${optimizer.lr}"])
def test_a_folder_that_hydra_was_told_is_where_a_job_is_looked_for(ptft, tmp_path, subdir):
    sweep = (
        "-m",
        *TINY,
        "train.steps=1",
        "optimizer.lr=1e-3,1e-4",
        "hydra.sweep.dir=a,b",
        f"hydra.sweep.subdir={subdir}",
    )
    result = ptft(*sweep)
    assert result.code == 0, result.text
    found = json.loads((tmp_path / "a,b" / "results.json").read_text())
    assert [job["status"] for job in found] == ["finished"] * 2
    assert all((Path(job["folder"]) / "summary.json").exists() for job in found)


@pytest.mark.parametrize(("subdir", "finished"), [("same", 1), ("../out", 0), (".", 0)])
def test_a_folder_that_is_none_of_a_job_costs_that_job_only(ptft, tmp_path, subdir, finished):
    sweep = ("-m", *TINY, "train.steps=1", "seed=0,1", "hydra.sweep.dir=all", f"hydra.sweep.subdir={subdir}")
    refused(ptft(*sweep), 1, "job 1 failed: ")
    found = json.loads((tmp_path / "all" / "results.json").read_text())
    assert [job["status"] for job in found].count("finished") == finished
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize("typed", ["seed=range(0,99999999)", "model.dropout=range(0,1,1e-9)", "seed=glob(*)"])
def test_a_sweep_that_can_not_be_meant_is_refused_before_it_is_made(ptft, tmp_path, typed):
    refused(ptft("-m", *TINY, typed), 2, typed)
    assert not list(tmp_path.iterdir())


def test_jobs_that_are_judged_by_different_metrics_are_ranked_apart(ptft, tmp_path):
    models = ("model=vit_tiny", "model.depth=1", "model.width=16", "model.heads=2")
    sweep = ("objective=classify,mae", "optimizer.lr=3e-3,1e-9", "hydra.sweep.dir=all")
    result = ptft("-m", *DATA, "train.steps=3", *models, *sweep)
    assert result.code == 0, result.text
    jobs = json.loads((tmp_path / "all" / "results.json").read_text())
    shown = result.out[result.out.index("2 of 4 jobs") :]
    order = [int(line.split()[0]) for line in shown.splitlines() if line.split()[3:4] == ["finished"]]
    best = {}
    for numbers in (order[:2], order[2:]):
        values = [jobs[n]["monitor"]["value"] for n in numbers]
        mode = jobs[numbers[0]]["monitor"]["mode"]
        assert values == sorted(values, reverse=mode == "max")
        assert len({jobs[n]["monitor"]["metric"] for n in numbers}) == 1
        best[numbers[0]] = mode
    assert set(best.values()) == {"max", "min"}
    following = [line for line in result.out.splitlines() if line.startswith("next")]
    assert [f"all/{number}/checkpoints/best.pt" in line for number, line in zip(best, following[-2:], strict=True)] == [
        True
    ] * 2
