"""A dry run of a sweep: all jobs planned, nothing trained and nothing written."""

import re
import signal
import subprocess

from PIL import Image

from tests.conftest import command, refused
from tests.helpers.processes import Process

RUN = ("stage=pretrain", "dataset=digits", "dataset.limit=60", "model.width=8", "model.channels=[4,8]", "train.steps=6")


def lines(out):
    """The table: a list of words for each job."""
    table = out.split("\njob ")[1].split("\ncost ")[0].splitlines()
    return [line.split() for line in table[1:] if line.strip()]


def test_every_job_has_a_line_and_what_is_equal_is_said_once(ptft, tmp_path):
    done = ptft("-m", *RUN, "seed=0,1", "optimizer.lr=1e-3,3e-3", "dry_run=true")
    assert done.code == 0, done.text
    assert [line[:3] for line in lines(done.out)] == [
        ["0", "0", "0.001"],
        ["1", "0", "0.003"],
        ["2", "1", "0.001"],
        ["3", "1", "0.003"],
    ]
    assert re.search(r"equal .*stage=pretrain .*dataset=digits .*train.steps=6", done.out)
    assert re.search(r"differs .*optimizer.lr", done.out)
    assert re.search(r"budget +6 steps of 64 examples", done.out)
    assert re.search(r"time +about .* of training, one job after another", done.out)
    assert "written    nothing" in done.out
    assert not list(tmp_path.iterdir())


def test_what_differs_is_in_the_jobs_lines_and_disk_adds_up(ptft):
    done = ptft("-m", *RUN[:-1], "train.steps=6,8", "model.width=8,64", "dry_run=true")
    assert done.code == 0, done.text
    sizes = [float(line[-2]) for line in lines(done.out)]
    total = float(re.search(r"disk +([\d.]+) MiB of checkpoints", done.out)[1])
    assert abs(sum(sizes) - total) <= 0.2
    assert sizes[0] < sizes[1]
    assert sizes[0] == sizes[2]
    assert [re.search(r"(\d) steps of 64", " ".join(line))[1] for line in lines(done.out)] == ["6", "6", "8", "8"]


def test_a_job_that_can_t_be_is_named_and_the_first_one_says_the_exit_code(ptft, tmp_path):
    for i in range(12):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(path)
    typed = ("-m", "stage=pretrain", "model.width=8", "train.steps=6", "dataset=image_folder")
    done = ptft(*typed, "dataset.root=photos,nowhere", "train.batch_size=16,-2", "dry_run=true")
    refused(done, 2, "job 1 can't be: train.batch_size=-2", "job 2 can't be: dataset.root", "job 3 can't be")
    assert [line[-1] for line in lines(done.out)[1:]] == ["be"] * 3
    done = ptft(*typed, "dataset.root=nowhere,photos", "dry_run=true")
    refused(done, 3, "job 0 can't be: dataset.root")
    assert "MiB" in [line[-1] for line in lines(done.out)], done.out
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_patience_is_looked_at_too(ptft):
    typed = (*RUN, "train.every.evaluate=1", "train.patience=1,9")
    refused(ptft("-m", *typed, "dry_run=true"), 2, "job 1 can't be: train.patience=9: can't end this run")


def test_a_yaml_can_say_it_and_some_jobs_alone_can_t(ptft, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "tried.yaml").write_text("# @package _global_\ndry_run: true\n")
    done = ptft("-m", *RUN, "experiment=tried", "seed=0,1")
    assert done.code == 0, done.text
    assert "ptft plan of a sweep" in done.out
    refused(ptft("-m", *RUN, "dry_run=true,false"), 2, "dry_run=true", "for all of them")
    (tmp_path / "conf" / "experiment" / "run.yaml").write_text("# @package _global_\nseed: 1\n")
    refused(ptft("-m", *RUN, "experiment=run,tried"), 2, "dry_run=true", "for all of them")
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_other_stages_are_planned_as_well(ptft, tmp_path, pretrained):
    before = sorted(tmp_path.iterdir())
    done = ptft("-m", "stage=evaluate", f"ckpt={pretrained}", "split=val,test", "dry_run=true")
    assert done.code == 0, done.text
    assert [line[1] for line in lines(done.out)] == ["val", "test"]
    refused(ptft("-m", "stage=evaluate", "ckpt=nowhere", "split=val,test", "dry_run=true"), 4, "job 0", "job 1")
    finetunes = ("stage=finetune", f"ckpt={pretrained}", "dataset.limit=60", "train.steps=2")
    done = ptft("-m", *finetunes, "finetune.train=all,head", "dry_run=true")
    assert done.code == 0, done.text
    assert "of them trained" in done.out
    assert re.search(rf"start +{re.escape(str(pretrained))}", done.out)
    assert sorted(tmp_path.iterdir()) == before


def test_each_job_is_said_as_it_is_planned_and_stays_where_a_signal_ends_the_plan(tmp_path):
    seeds = ",".join(map(str, range(500)))
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with Process(command("-m", *RUN, f"seed={seeds}", "train.clip=1", "dry_run=true"), **said) as running:
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert re.fullmatch(r"\[1/500\] seed=0  planned, about .* of training, [\d.]+ MiB\n", first)
    assert running.returncode == 130
    planned = int(re.search(r"(\d+) of 500 jobs were planned", errors)[1])
    assert abs(len(rest.splitlines()) + 1 - planned) <= 1, "a signal may come between the two"


def test_the_line_of_a_job_that_can_t_be_says_why(ptft):
    done = ptft("-m", *RUN, "train.clip=1,-1", "dry_run=true")
    assert "[1/2] train.clip=1  planned, about " in done.out
    assert "[2/2] train.clip=-1  can't be: train.clip=-1" in done.out
