"""Run folders: claimed by one process, named plainly, and found again."""

import os
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from PIL import Image

from ptft.errors import CheckpointError, StorageError
from ptft.runs import folder as folder_module
from ptft.runs.folder import RunFolder, new_name, slug, write_json
from ptft.runs.registry import latest
from tests.conftest import NET, ROOT, SMALL, contents, refused, status


def test_a_claim_makes_the_folder_and_says_who_holds_it(tmp_path):
    folder = RunFolder.claim(tmp_path / "a" / "b")
    found = status(tmp_path / "a" / "b")
    assert (found["status"], found["pid"]) == ("running", os.getpid())
    folder.release()
    with pytest.raises(StorageError, match="holds a run already"):
        RunFolder.claim(tmp_path / "a" / "b")


def test_a_folder_that_is_held_is_refused_in_the_same_process_too(tmp_path):
    folder = RunFolder.claim(tmp_path / "run")
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()} on "):
        RunFolder.reopen(tmp_path / "run")
    folder.release()
    RunFolder.reopen(tmp_path / "run").release()


HOLD = """
import sys
from pathlib import Path
from ptft.runs.folder import RunFolder
folder = RunFolder.claim(Path("run"))
print("held", flush=True)
sys.stdin.read()
"""


def test_row_35_a_folder_held_by_another_process(ptft, tmp_path):
    """The lock goes with the process that held it, however that ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=tmp_path, env=environment, **pipes) as owner:
        assert owner.stdout.readline() == b"held\n"
        before = contents(tmp_path / "run")
        result = ptft("stage=pretrain", *SMALL, "hydra.run.dir=run")
        refused(result, 5, str(tmp_path / "run"), f"in use by process {owner.pid} on ", "hydra.run.dir")
        assert contents(tmp_path / "run") == before
        owner.kill()
    RunFolder.reopen(tmp_path / "run").release()


def test_a_run_that_failed_before_its_first_checkpoint_begins_anew_by_the_same_command_alone(ptft, tmp_path):
    """Its data were not there yet; and what else lies in the folder stays."""
    typed = ("stage=pretrain", "dataset=image_folder", "dataset.root=pictures", "dataset.size=8", *NET)
    typed += ("hydra.run.dir=run", "train.steps=1", "report=false", "predictions=none", "precision=fp32")
    assert ptft(*typed).code == 3
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / ".last.pt.part").touch()
    before = contents(tmp_path / "run")
    refused(ptft(*typed, "seed=1"), 5, "ended before its first checkpoint", "type its command", "ptft rm run")
    refused(ptft("resume=run"), 4, "no checkpoint in", "type its command again")
    assert contents(tmp_path / "run") == before
    for label in ("dark", "light"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (8, 8), i + 99 * (label == "light")).save(tmp_path / "pictures" / label / f"{i}.png")
    done = ptft(*typed)
    assert done.code == 0, done.text
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert "does not exist" not in (tmp_path / "run" / "run.log").read_text()
    refused(ptft(*typed), 5, "holds a run already; continue it with resume=…")


def test_a_run_that_was_killed_before_it_saved_anything_is_taken_over(tmp_path):
    for ended in ("running", "interrupted", "failed", "finished"):
        folder = RunFolder.claim(tmp_path / ended, command=["seed=1"])
        folder.status(status=ended, overrides=["seed=1"])
        folder.release()
        for command in (None, ["seed=2"], ["seed=1"]):
            if command == ["seed=1"] and ended != "finished":
                RunFolder.claim(folder.path, command=command).release()
                assert "overrides" not in status(folder.path)
            else:
                with pytest.raises(StorageError, match="holds a run already"):
                    RunFolder.claim(folder.path, command=command)


def test_answers_that_were_begun_are_not_begun_anew(tmp_path):
    folder = RunFolder.claim(tmp_path / "run")
    folder.status(status="interrupted", stage="predict", overrides=[])
    write_json(folder.path / "predict.json", {})
    folder.release()
    with pytest.raises(StorageError, match="holds a run already; continue it with resume="):
        RunFolder.claim(folder.path, command=[])


def test_without_locks_a_run_that_says_it_runs_may_be_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "fcntl", None)
    for ended, taken in (("running", False), ("failed", True)):
        folder = RunFolder.claim(tmp_path / ended)
        folder.status(status=ended, overrides=[])
        folder.release()
        with nullcontext() if taken else pytest.raises(StorageError, match="holds a run already"):
            RunFolder.claim(folder.path, command=[]).release()


def test_a_discarded_claim_leaves_what_was_there(tmp_path):
    (tmp_path / "mine").mkdir()
    for inside in ("mine", "new/deep"):
        folder = RunFolder.claim(tmp_path / inside)
        (folder.path / ".hydra").mkdir()
        folder.release()
        folder.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_a_discarded_claim_keeps_files_of_others(tmp_path):
    folder = RunFolder.claim(tmp_path / "run")
    (folder.path / ".hydra").mkdir()
    (folder.path / "notes.txt").touch()
    folder.release()
    folder.discard()
    assert list(contents(tmp_path / "run")) == ["notes.txt"]


@pytest.mark.parametrize("name", ["cnn", "a b=c,(1)[2]{3}#", "данные", "é/../x", "-.-", "", "x" * 99])
def test_names_are_plain(name):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", slug(name))
    made = str(new_name(Path("outputs"), "pretrain", name, "glyphs"))
    assert re.fullmatch(r"outputs/[\d-]{10}/[\d-]{8}-pretrain-([\w.-]+-)?glyphs-[0-9a-f]{4}", made)
    assert made.isascii()


def test_two_names_of_one_second_differ(tmp_path):
    assert len({new_name(tmp_path, "pretrain") for _ in range(20)}) > 15


@pytest.fixture
def made(tmp_path):
    """`made(path, **status)` writes a run's status below outputs, each newer than the one before."""
    clock = iter(range(1_700_000_000, 1_800_000_000))

    def make(path, **fields):
        folder = tmp_path / "outputs" / path
        folder.mkdir(parents=True)
        write_json(folder / "status.json", fields)
        now = next(clock)
        os.utime(folder / "status.json", (now, now))
        return folder

    return make


def test_latest_is_the_newest_finished_run_of_the_stage(made):
    made("2026-01-01/old", stage="pretrain", status="finished")
    newest = made("sweeps/2026-01-02/all/3", stage="pretrain", status="finished")
    made("2026-01-03/tuned", stage="finetune", status="finished")
    made("2026-01-03/measured", stage="evaluate", status="finished")
    assert latest(("pretrain",)) == (newest.relative_to(Path.cwd()), None)
    assert latest(("pretrain", "finetune"))[0].name == "tuned"


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_latest_tells_of_a_newer_unfinished_run(made, state):
    made("2026-01-01/older", stage="pretrain", status=state)
    good = made("2026-01-01/good", stage="pretrain", status="finished")
    newer = made("2026-01-02/newer", stage="pretrain", status=state)
    found = latest(("pretrain",))
    assert [path.absolute() for path in found] == [good, newer]


def test_latest_skips_a_status_that_is_cut(made):
    good = made("2026-01-01/good", stage="pretrain", status="finished")
    (made("2026-01-02/cut") / "status.json").write_text('{"stage": "pre')
    assert latest(("pretrain",))[0].absolute() == good


def test_no_run_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=re.escape(f"no finished pretrain run below {tmp_path / 'outputs'}")):
        latest(("pretrain",))


def test_ckpt_latest_says_which_and_warns(ptft, tmp_path):
    small = (*SMALL, "dataset.held_out=20", "train.steps=2")
    refused(ptft("stage=finetune", "ckpt=latest"), 4, "ckpt=latest", "ptft stage=pretrain")
    assert ptft("stage=pretrain", *small).code == 0
    (good,) = (path.parent for path in tmp_path.glob("outputs/*/*/status.json"))
    time.sleep(0.02)
    assert ptft("stage=pretrain", *small, "optimizer.lr=1e20", "train.steps=20").code == 6
    (bad,) = {path.parent for path in tmp_path.glob("outputs/*/*/status.json")} - {good}
    result = ptft("stage=finetune", "ckpt=latest", "train.steps=2", "dataset.limit=40", "hydra.run.dir=tuned")
    assert result.code == 0, result.text
    relative = good.relative_to(tmp_path)
    assert f"ckpt=latest is {relative}; a newer run did not finish: {bad.relative_to(tmp_path)}" in result.out
    assert str(good / "checkpoints" / "best.pt") in (tmp_path / "tuned" / ".hydra" / "config.yaml").read_text()


def test_a_dry_run_leaves_nothing(ptft, tmp_path, pretrained):
    result = ptft("stage=pretrain", *SMALL, "dataset.held_out=20", "dry_run=true")
    assert result.code == 0, result.text
    assert "parameters and their rates" in result.out
    for stage in ("finetune", "evaluate"):
        assert ptft(f"stage={stage}", f"ckpt={pretrained}", "dry_run=true").code == 0
    assert not list(tmp_path.iterdir())
