"""A prediction or an embedding that is cut goes on where it was, and an output that exists is left alone."""

import contextlib
import csv
import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.data.text import conll
from ptft.runs.folder import read_json
from tests.conftest import command, refused
from tests.helpers.processes import Process, together
from tests.launch.test_ranks import ranks

TAGS = ("stage=pretrain", "model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "device=cpu")
PARTS = ("dataset=conll", "dataset.root=w", "dataset.tokenizer=bytes", "dataset.length=32", "objective=tag")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the files lie that tests share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def images(kept):
    """A thousand small images, one of which can't be read; read them, don't change them."""
    folder = kept / "images"
    if not folder.exists():
        folder.mkdir()
        values = np.random.default_rng(0).integers(0, 256, (1000, 8, 8), np.uint8)
        for i, value in enumerate(values):
            Image.fromarray(value).save(folder / f"{i:04d}.png")
        (folder / "0500.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def words(ptft, tmp_path):
    """A tagger, and sentences that take several examples each, so that a part of work ends within one."""
    conll.sample(tmp_path / "w")
    typed = (*TAGS, *PARTS, "precision=fp32", "train.batch_size=8", "train.steps=2", "hydra.run.dir=tags")
    assert ptft(*typed).code == 0
    lines = [f"{i} " + " ".join(f"word{i * j % 97}" for j in range(5 + i % 30)) for i in range(200)]
    (tmp_path / "in.txt").write_text("\n".join(lines))
    return "ckpt=tags", "input=in.txt"


def cut(typed, by, until=4, stage="predict"):
    """What a process said that got a signal when it had kept so many parts of its work.

    by: the signal, or what is done to the process and to those that it started.
    """
    part = Path(f"{dict(word.split('=', 1) for word in typed)['output']}.part")
    running = Process(command(f"stage={stage}", *typed), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    others = both(running) if callable(by) else []
    end = time.monotonic() + 60
    while time.monotonic() < end and running.poll() is None:
        with contextlib.suppress(OSError):
            if part.read_bytes().count(b"\n") > until:
                by(running, others) if others else running.send_signal(by)
                break
        time.sleep(0.002)
    return running.communicate(timeout=60)[1], running.returncode, part


def both(process):
    """The ids of the two that this one starts, in order, long before they answer anything."""
    found = []
    while len(found) < 2 and process.poll() is None:
        time.sleep(0.1)
        listed = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()
        found = [
            int(line.split()[0]) for line in listed if "launch.rank" in line and int(line.split()[1]) == process.pid
        ]
    return sorted(found)


def test_a_killed_prediction_goes_on_to_the_same_file(ptft, pretrained, images):
    typed = (f"ckpt={pretrained}", f"input={images}")
    whole = ptft("stage=predict", *typed, "output=whole.csv")
    assert whole.code == 0
    assert "999 predicted, 1 unreadable" in whole.out
    _, code, part = cut((*typed, "output=out.csv", "hydra.run.dir=cut"), signal.SIGKILL)
    assert code == -signal.SIGKILL
    had = part.read_bytes()
    assert not Path("out.csv").exists()
    refused(ptft("resume=cut"), 2, "type 'output=out.csv' again")
    done = ptft("resume=cut", "output=out.csv")
    assert done.code == 0, done.text
    assert "continued after " in done.out
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not part.exists()
    assert [line for line in done.out.splitlines() if "left out" in line or "predicted" in line] == [
        line for line in whole.out.splitlines() if "left out" in line or "predicted" in line
    ]
    assert read_json(Path("cut/summary.json"))["classes"] == answered("whole.csv")
    ends = random.Random(0).sample(range(len(had)), 3)
    for i, size in enumerate((*ends, had.index(b"\n") + 1, 0)):  # the same command again, whatever was torn
        Path("out.csv").unlink()
        part.write_bytes(had[:size])
        assert ptft("stage=predict", *typed, "output=out.csv", f"hydra.run.dir=again{i}").code == 0
        assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes(), size


def test_several_processes_answer_what_one_does(ptft, pretrained, images, words):
    """An unreadable file, a last block that is not full, rows of several items."""
    for name, typed in (("images", (f"ckpt={pretrained}", f"input={images}")), ("words", words)):
        one = ptft("stage=predict", *typed, f"output={name}1.jsonl")
        first, other = together(command("stage=predict", *typed, f"output={name}2.jsonl", f"hydra.run.dir={name}"))
        assert (first.returncode, other.returncode, other.stdout + other.stderr) == (0, 0, ""), first.stderr
        assert Path(f"{name}2.jsonl").read_bytes() == Path(f"{name}1.jsonl").read_bytes()
        said = [
            [line for line in out.splitlines() if "left out" in line or "predicted" in line]
            for out in (one.out, first.stdout)
        ]
        assert said[0] == said[1]
        assert not Path(f"{name}2.jsonl.part").exists()


def test_what_several_processes_began_one_goes_on_with_and_several_again(ptft, pretrained, images):
    typed = (f"ckpt={pretrained}", f"input={images}", "output=out.csv")
    assert ptft("stage=predict", *typed[:2], "output=whole.csv").code == 0
    said, code, part = cut((*typed, "train.processes=2", "hydra.run.dir=cut"), signal.SIGINT, until=2)
    assert code == 130, said
    assert "are left; what was answered is kept, continue with: ptft resume=cut output=out.csv" in said
    assert "Traceback" not in said
    had = part.read_bytes()
    done = ptft("resume=cut", "output=out.csv", "train.processes=1")
    assert done.code == 0, done.text
    assert "continued after " in done.out
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
    Path("out.csv").unlink()
    part.write_bytes(b"".join(had.splitlines(keepends=True)[:2]))
    for again in (("stage=predict", *typed, "hydra.run.dir=again"), ("resume=again", "output=out.csv")):
        first, other = together(command(*again))
        assert (first.returncode, other.returncode) == (0, 0), first.stderr
        assert ("device     2 processes, each on cpu" in first.stdout) == ("stage=predict" in again)
    assert "out.csv: complete" in first.stdout
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_an_embedding_that_is_cut_goes_on_to_the_same_file_in_one_process_or_several(ptft, pretrained, images):
    typed = (f"ckpt={pretrained}", f"input={images}")
    whole = ptft("stage=embed", *typed, "output=whole.npz")
    assert "999 embedded, 1 unreadable" in whole.out, whole.text
    expected = Path("whole.npz").read_bytes()
    said, code, part = cut((*typed, "output=out.npz", "hydra.run.dir=cut"), signal.SIGINT, 2, "embed")
    assert code == 130, said
    assert "are left; what was answered is kept, continue with: ptft resume=cut output=out.npz" in said
    had = part.read_bytes()
    assert not Path("out.npz").exists()
    done = ptft("resume=cut", "output=out.npz")
    assert done.code == 0, done.text
    assert "continued after " in done.out
    assert "left out, its row is empty: " in done.out
    assert Path("out.npz").read_bytes() == expected
    assert not part.exists()
    assert "out.npz: complete" in ptft("resume=cut", "output=out.npz").out
    assert read_json(Path("cut/summary.json"))["unreadable"] == 1
    for folder, size in (("torn", len(had) - 7), ("begun", had.index(b"\n") + 1)):
        Path("out.npz").unlink()
        part.write_bytes(had[:size])
        first, other = together(command("stage=embed", *typed, "output=out.npz", f"hydra.run.dir={folder}"))
        assert (first.returncode, other.returncode, other.stdout + other.stderr) == (0, 0, ""), first.stderr
        assert "999 embedded, 1 unreadable" in first.stdout
        assert Path("out.npz").read_bytes() == expected
    part.write_bytes(had)
    others = ("stage=embed", f"ckpt={pretrained}", f"input={images / '00*'}", "output=out.npz")
    refused(ptft(*others), 2, "exists")
    Path("out.npz").unlink()
    refused(ptft(*others), 2, "other files")
    assert part.read_bytes() == had


def test_a_continuation_that_is_refused_leaves_the_status_of_what_is_done(ptft, pretrained, images):
    typed = (f"ckpt={pretrained}", f"input={images}", "output=out.csv", "hydra.run.dir=run")
    assert ptft("stage=predict", *typed).code == 0
    assert read_json(Path("run/status.json"))["status"] == "finished"
    next(Path(images).iterdir()).unlink()
    refused(ptft("resume=run", "output=out.csv"), 2, "has changed since")
    after = read_json(Path("run/status.json"))
    assert (after["status"], after.get("message")) == ("finished", None)


def kill_one(process, ids):
    os.kill(ids[1], signal.SIGKILL)


def kill_who_started_them(process, ids):
    """With its group; each of them has its own. They stand still meanwhile, or might be done before they know."""
    for pid in ids:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    time.sleep(0.3)  # they look five times a second
    for pid in ids:
        os.kill(pid, signal.SIGCONT)


def test_several_processes_that_are_killed_leave_what_the_same_command_goes_on_with(ptft, pretrained, images):
    typed = (f"ckpt={pretrained}", f"input={images}", "output=out.csv", "train.processes=2")
    assert ptft("stage=predict", *typed[:2], "output=whole.csv").code == 0
    said, code, part = cut(typed, kill_one, until=2)
    assert code == 7
    assert said.startswith("ptft: process 1 of 2 was killed (SIGKILL)")
    before = part.read_bytes()
    assert before.count(b"\n") > 2
    _, code, _ = cut(typed, kill_who_started_them, until=before.count(b"\n"))
    assert code == -signal.SIGKILL
    began = time.monotonic()
    while ranks():
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    had = part.read_bytes()
    assert had.startswith(before)
    assert len(had) > len(before)
    first, other = together(command("stage=predict", *typed))
    assert (first.returncode, other.returncode) == (0, 0), first.stderr
    assert "continued after " in first.stdout
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def full(ptft, size, *typed):
    """What is said where a file has room for so many bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        return ptft(*typed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_full_disk_keeps_what_was_answered_in_the_folder_of_the_files_too(ptft, pretrained, images):
    shutil.copytree(images, "in")
    typed = ("stage=predict", f"ckpt={pretrained}", "input=in")
    refused(full(ptft, 60_000, *typed, "output=in/out.csv", "hydra.run.dir=run"), 5, "out.csv.part: can't be written")
    assert not Path("in/out.csv").exists()
    done = ptft("resume=run", "output=in/out.csv")
    assert done.code == 0, done.text
    assert "continued after " in done.out
    assert ptft(*typed, "output=whole.csv").code == 0
    assert Path("in/out.csv").read_bytes() == Path("whole.csv").read_bytes()
    refused(ptft(*typed, "output=whole.csv", "dry_run=true"), 2, "whole.csv: exists")


def test_answers_to_one_column_are_none_to_another(ptft, words):
    Path("in.csv").write_text("a,b\n" + "Ada saw Leiden .,Alan saw Delft .\n" * 300)
    typed = ("stage=predict", words[0], "input=in.csv", "output=out.csv")
    refused(full(ptft, 12_000, *typed, "input_text=a"), 5, "out.csv.part: can't be written")
    refused(ptft(*typed, "input_text=b"), 2, "out.csv.part is what was answered of other")
    assert ptft(*typed, "input_text=a").code == 0


def answered(file):
    """How often each class is the answer."""
    with open(file, newline="") as rows:
        names = [row["class"] for row in csv.DictReader(rows) if row["class"]]
    return {name: names.count(name) for name in names}


def test_a_stopped_prediction_says_how_it_goes_on_and_keeps_whole_rows(ptft, words):
    assert ptft("stage=predict", *words, "output=whole.jsonl").code == 0
    assert Path("whole.jsonl").read_bytes().count(b"\n") == 200, "a row each"
    said, code, part = cut((*words, "output=out.jsonl", "hydra.run.dir=outputs/cut"), signal.SIGINT, until=2)
    assert code == 130
    assert "are left; what was answered is kept, continue with: ptft resume=outputs/cut output=out.jsonl" in said
    had = part.read_bytes()
    done = ptft("resume=latest", "output=out.jsonl")
    assert done.code == 0, done.text
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    for lines in (2, 3):
        Path("out.jsonl").unlink()
        part.write_bytes(b"".join(had.splitlines(keepends=True)[:lines]))
        assert ptft("stage=predict", *words, "output=out.jsonl").code == 0
        assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes(), lines


def test_a_prediction_that_is_resumed_names_what_has_changed_since(ptft, words):
    _, _, part = cut((*words, "output=out.jsonl", "hydra.run.dir=run"), signal.SIGKILL, until=2)
    lines, had, again = Path("in.txt").read_text(), part.read_bytes(), ("resume=run", "output=out.jsonl")
    Path("in.txt").write_text(f"{lines}\none more")
    changed = "input=in.txt has changed since its first answers were made; overwrite=true begins again"
    refused(ptft(*again), 2, "run: ", changed)
    assert part.read_bytes() == had
    done = ptft(*again, "overwrite=true")
    assert done.code == 0, done.text
    assert Path("out.jsonl").read_bytes().count(b"\n") == 201
    content = checkpoint_file.read(Path("tags/checkpoints/best.pt"))[0]
    weights = {name: value / 2 if value.is_floating_point() else value for name, value in content["weights"].items()}
    checkpoint_file.write(Path("other.pt"), {**content, "weights": weights})
    refused(ptft(*again, "ckpt=other.pt"), 2, "by other weights than ckpt=", "other.pt has now; overwrite=true")


def test_what_was_answered_of_something_else_is_neither_used_nor_lost(ptft, pretrained, images, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for i in range(130):
        shutil.copy2(images / f"{i:04d}.png", few)
    typed = (f"ckpt={pretrained}", "input=few", "output=out.csv")
    _, _, part = cut(typed, signal.SIGKILL, until=1)
    had = part.read_bytes()
    others = [(*typed, "predict.top=2"), (typed[0], "input=few/00*.png", typed[2])]
    for other in others:
        refused(ptft("stage=predict", *other), 2, f"{part.absolute()} is what was answered of other", "overwrite=true")
    Image.new("L", (8, 8), 3).save(few / "0003.png")
    refused(ptft("stage=predict", *typed), 2, "overwrite=true begins again")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(ptft("stage=predict", *typed), 5, "out.csv.part: another process is at it")
    assert part.read_bytes() == had
    assert ptft("stage=predict", *typed, "overwrite=true").code == 0
    assert not part.exists()
    assert sum(answered("out.csv").values()) == 130


@pytest.mark.parametrize(("stage", "output"), [("predict", "out.csv"), ("embed", "out.npz")])
def test_an_output_that_exists_is_replaced_on_request(stage, output, ptft, pretrained, images):
    Path(output).write_text("mine")
    typed = (f"stage={stage}", f"ckpt={pretrained}", f"input={images / '0001.png'}", f"output={output}")
    refused(ptft(*typed), 2, f"output={output}: exists; overwrite=true replaces it")
    assert Path(output).read_text() == "mine"
    assert ptft(*typed, "overwrite=true").code == 0
    assert Path(output).read_bytes() != b"mine"


def test_a_finished_prediction_is_complete_and_its_folder_is_taken(ptft, pretrained, images):
    typed = ("stage=predict", f"ckpt={pretrained}", f"input={images / '0001.png'}", "hydra.run.dir=run")
    assert ptft(*typed).code == 0
    before = Path("run/predictions.csv").read_bytes()
    done = ptft("resume=run")
    assert done.code == 0
    assert "predictions.csv: complete" in done.out
    refused(ptft("resume=run", "predict.top=2"), 2, "goes on as it was typed")
    refused(ptft(*typed), 5, "holds a run already")
    assert Path("run/predictions.csv").read_bytes() == before


def test_a_cut_embedding_is_what_latest_means_and_is_removed_whole(ptft, pretrained, images):
    folder = Path("outputs/cut")
    _, code, part = cut(
        (f"ckpt={pretrained}", f"input={images}", "output=out.npz", f"hydra.run.dir={folder}"),
        signal.SIGINT,
        2,
        "embed",
    )
    assert code == 130
    done = ptft("resume=latest", "output=out.npz")
    assert done.code == 0, done.text
    assert "continued after " in done.out
    assert not part.exists()
    assert ptft("rm", str(folder), "--yes").code == 0
    assert not folder.exists()
