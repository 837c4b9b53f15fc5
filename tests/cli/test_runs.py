"""`ptft runs` and `ptft rm`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ptft.checkpoint import file as checkpoint_file
from ptft.cli import runs
from ptft.runs.folder import RunFolder, write_json
from tests.conftest import refused
from tests.helpers.terminals import sent


def run(name, status="finished", accuracy=0.5, **fields):
    folder = Path("outputs/2026-01-01") / name
    held = RunFolder.claim(folder)
    held.status(status=status, stage="pretrain", overrides=[])
    held.release()
    (folder / ".hydra").mkdir()
    config = {"seed": 3, "optimizer": {"lr": 10 * accuracy}, "names": {"dataset": "digits", "model": "cnn"}}
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    if status == "finished":
        best = {"metric": "val/accuracy", "mode": "max", "value": accuracy}
        summary = {"stage": "pretrain", "model": "cnn", "dataset": "digits", "seed": 3, "seconds": 1.25, "best": best}
        metrics = {"test": {"accuracy": accuracy, "loss": accuracy}}
        write_json(folder / "summary.json", {**summary, "metrics": metrics, **fields})
    return folder


@pytest.fixture
def three():
    first = run("10-00-00-pretrain-cnn-digits-aaaa", accuracy=0.9)
    second = run(
        "11-00-00-pretrain-cnn-mnist-bbbb", accuracy=0.7, dataset="mnist", parent={"run": str(first.absolute())}
    )
    return first, second, run("12-00-00-pretrain-cnn-digits-cccc", "failed")


def names(out):
    return [line.split()[0] for line in out.splitlines()[1:]]


def test_runs_are_listed_newest_first_filtered_and_sorted(ptft, three):
    done = ptft("runs")
    assert done.code == 0, done.text
    assert names(done.out) == ["cccc", "bbbb", "aaaa"]
    assert "val/accuracy 0.9000" in done.out
    assert names(ptft("runs", "--sort", "test/accuracy").out) == ["aaaa", "bbbb", "cccc"]
    assert names(ptft("runs", "--sort=test/loss", "status=finished").out) == ["bbbb", "aaaa"]
    assert names(ptft("runs", "--sort=-test/loss", "status=finished").out) == ["aaaa", "bbbb"]
    assert "by a metric the best first, by anything else the least, and by -KEY the other" in ptft("runs", "--help").out
    assert names(ptft("runs", "dataset=digits").out) == ["cccc", "aaaa"]
    assert names(ptft("runs", "dataset=*n*", "optimizer.lr=7").out) == ["bbbb"]
    assert ptft("runs", "--columns", "run,optimizer.lr", "status=failed").out == "run   optimizer.lr\ncccc  5.0\n"
    rows = json.loads(ptft("runs", "--json", "dataset=mnist").out)
    assert [(row["run"], row["test/accuracy"], row["seconds"]) for row in rows] == [("bbbb", 0.7, 1.25)]
    refused(ptft("runs", "datset=mnist"), 2, "datset", "did you mean dataset")
    refused(ptft("runs", "lr=0.003"), 2, "lr: no run has it; type optimizer.lr")
    refused(ptft("runs", "--sort", "-batch_size"), 2, "batch_size: no run has it; type train.batch_size")
    refused(ptft("runs", "--srot", "x"), 2, "--srot", "--sort")


@pytest.mark.parametrize(
    ("metric", "mode", "first"),
    [
        ("bits_per_byte", "min", "aaaa"),
        ("discriminator_loss", None, "aaaa"),
        ("rotation_accuracy", None, "bbbb"),
        ("my_error", "min", "aaaa"),
        ("my_error", None, "bbbb"),
    ],
)
def test_the_best_is_first_by_what_the_runs_were_judged_by(metric, mode, first, ptft):
    for end, value in (("aaaa", 0.1), ("bbbb", 0.9)):
        best = {"metric": f"val/{metric}", "mode": mode, "value": value} if mode else {}
        run(f"10-00-00-pretrain-cnn-digits-{end}", best=best)
        file = next(Path("outputs").rglob(f"*{end}")) / "summary.json"
        summary = json.loads(file.read_text())
        write_json(file, {**summary, "metrics": {"test": {metric: value}}})
    assert names(ptft("runs", "--sort", f"test/{metric}").out)[0] == first


def test_a_terminal_shows_as_many_runs_and_columns_as_it_has_room_for(ptft, monkeypatch):
    for number in range(40):
        run(f"10-00-{number:02}-pretrain-cnn-digits-{number:04}")
    lines = sent(ptft, monkeypatch, 160, "runs").splitlines()
    assert lines[0].split() == ["run", "status", "stage", "model", "dataset", "best", "seconds", "when"]
    assert (len(lines), lines[-1]) == (29, "and 13 more: --all shows them, KEY=VALUE chooses some")
    lines = sent(ptft, monkeypatch, 80, "runs", "--all").splitlines()
    assert len(lines) == 41
    assert lines[0].split() == ["run", "status", "stage", "model", "dataset", "best", "when"]
    assert max(map(len, lines)) <= 80
    paragraphs = sent(ptft, monkeypatch, 40, "runs", "--columns", "run,folder")
    assert paragraphs.startswith("run 0039, folder\n  outputs/2026-01-01/10-00-39-pretrain-cnn-digits-0039\n")
    assert len(ptft("runs").out.splitlines()) == 41


def test_runs_where_there_are_none_and_without_torch(ptft):
    assert "no run below" in ptft("runs").out
    assert ptft("runs", "--json").out == "[]\n"
    code = "import sys; from ptft.cli.runs import runs; runs([]); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=True, timeout=60).returncode == 0


def test_rm_lists_asks_and_says_what_started_from_a_run(ptft, three, monkeypatch):
    first, second, failed = three
    refused(ptft("rm", "aaaa"), 2, "--yes")
    monkeypatch.setattr(runs, "_agreed", lambda count, ask: False)
    done = ptft("rm", "aaaa")
    assert "nothing was removed" in done.out
    assert f"{second} started from {first}" in done.out
    assert first.exists()
    (first / "notes.txt").write_text("mine")
    done = ptft("rm", "aaaa", str(second), "--yes")
    assert done.code == 0, done.text
    assert "notes.txt stays" in done.out
    assert "started from" not in done.out
    assert [path.name for path in first.iterdir()] == ["notes.txt"]
    assert not second.exists()
    assert ptft("rm", "--failed", "--yes").code == 0
    assert not failed.exists()
    assert "no failed run" in ptft("rm", "--failed", "--yes").out


REFERENCES = {
    "train.replay": {"train": {"replay": "{first}"}},
    "train.panel": {"train": {"panel": ["elsewhere", "{name}"]}},
    "objective.teacher": {"objective": {"teacher": "{first}/checkpoints/best.pt"}},
    "objective.text_ckpt": {"objective": {"text_ckpt": "{name}"}},
    "objective.lm": {"objective": {"lm": "{first}"}},
}


@pytest.mark.parametrize("key", REFERENCES)
@pytest.mark.parametrize("told", ["configuration", "summary"])
def test_rm_says_who_refers_to_a_run(ptft, key, told):
    """By what was typed (a path, a short name, a file below), or where a run has ended by what that meant."""
    first = run("10-00-00-pretrain-cnn-digits-aaaa")
    (first / "checkpoints").mkdir()
    (first / "checkpoints" / "best.pt").touch()
    second = run("11-00-00-finetune-cnn-digits-bbbb", **({"refers": {key: str(first)}} if told == "summary" else {}))
    if told == "configuration":
        node = json.dumps(REFERENCES[key]).replace("{first}", str(first)).replace("{name}", "aaaa")
        (second / ".hydra" / "config.yaml").write_text(node)
    done = ptft("rm", "aaaa", "--yes")
    assert done.code == 0, done.text
    assert f"{second} has {key}={first}" in done.out


def test_rm_knows_runs_by_the_digests_of_their_weights_wherever_they_lie(ptft, tmp_path):
    """Their folders were given other names, and others lie where they were; copies count where they were meant."""

    def weights(folder, content):
        return checkpoint_file.write(folder / "checkpoints" / "best.pt", {"weights": {}, "content": content})

    first = run("10-00-00-pretrain-cnn-digits-aaaa")
    digest, named = weights(first, 1), str(first.absolute())
    old, moved = tmp_path / "outputs" / "copies" / "copy", first.with_name("moved")
    shutil.copytree(first, old)
    told = {"refers": {"train.panel": [named]}, "refers_sha256": {named: digest}}
    tuned = run("11-00-00-finetune-cnn-digits-bbbb", parent={"run": named, "sha256": digest}, **told)
    compared = run("12-00-00-compare-cnn-digits-cccc")
    arms = {"scratch": {"pretrained": False}, "finetune": {"pretrained": True, "ckpt": named, "sha256": digest}}
    write_json(compared / "compare.json", {"arms": arms})

    def said(folder, changed=""):
        lines = [f"{tuned} started from {folder}", f"{tuned} has train.panel={folder}"]
        return {line + changed for line in (*lines, f"{compared} started from {folder}")}

    def asked(folder):
        return {
            line for line in ptft("rm", str(folder)).out.splitlines() if " started from " in line or " has " in line
        }

    assert (asked(first), asked(old)) == (said(first), set())
    shutil.rmtree(old)
    first.rename(moved)
    assert asked(moved) == said(moved)
    weights(run(first.name), 2)
    assert (asked(moved), asked(first)) == (said(moved), set())
    shutil.rmtree(moved)
    assert asked(first) == said(first, ", which has other weights now")


def test_rm_says_what_has_not_ended_yet_and_started_from_a_cell(ptft):
    comparison = run("10-00-00-compare-cnn-digits-aaaa")
    cell = comparison / "cells" / "finetune-10-0"
    cell.mkdir(parents=True)
    second = run("11-00-00-finetune-cnn-digits-bbbb", "interrupted")
    (second / ".hydra" / "config.yaml").write_text(json.dumps({"ckpt": str(cell)}))
    assert f"{second} started from {cell}" in ptft("rm", "aaaa", "--yes").out


def test_rm_never_takes_what_is_no_run_or_is_at_work(ptft, three, tmp_path):
    first, second, _ = three
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    refused(ptft("rm", "photos", "--yes"), 5, "photos", "no folder of a run")
    refused(ptft("rm", "outputs", "--yes"), 5, "no folder of a run")
    (tmp_path / "link").symlink_to(first)
    refused(ptft("rm", "link", "--yes"), 5, "is a link")
    refused(ptft("rm", "nowhere", "--yes"), 4, "nowhere")
    refused(ptft("rm", "pretrain", "--yes"), 4, first.name, second.name)
    refused(ptft("rm", "--yes"), 2, "name the runs")
    held = RunFolder.reopen(first)
    refused(ptft("rm", "bbbb", "aaaa", "--yes"), 5, "in use by process")
    held.release()
    assert first.exists()
    assert second.exists()


def test_a_whole_sweep_is_removed_by_its_name(ptft, tmp_path):
    folder = Path("outputs/sweeps/2026-01-01/10-00-00-dddd")
    tiny = ("stage=pretrain", "dataset=digits", "dataset.limit=60", "model.width=8", "model.channels=[4,8]")
    assert ptft("-m", *tiny, "train.steps=1", "seed=0,1", f"hydra.sweep.dir={folder}").code == 0
    assert names(ptft("runs", "--sort=run").out) == ["dddd/0", "dddd/1"]
    removed = ptft("rm", "dddd/1", "--yes")
    assert removed.code == 0
    assert f"resume={folder} would run it again" in removed.out
    assert sorted(path.name for path in folder.glob("?")) == ["0"]
    done = ptft("rm", "dddd", "--yes")
    assert done.code == 0, done.text
    assert "stays" not in done.out
    assert not folder.exists()
