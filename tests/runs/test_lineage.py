"""`ptft lineage`: runs by what they started from, wherever their folders are now."""

import shutil
from pathlib import Path

import pytest

from ptft.checkpoint import file as checkpoint_file
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.lineage import stored_digest
from tests.conftest import refused
from tests.helpers import processes
from tests.helpers.terminals import sent

DAY = Path("outputs/2026-01-01")


def run(name, parent=None, base=DAY, **summary):
    """A made run and the digest of its checkpoint."""
    folder = base / name
    held = RunFolder.claim(folder)
    held.status(status="finished", stage=summary.get("stage", "finetune"), overrides=[])
    held.release()
    digest = checkpoint_file.write(folder / "checkpoints" / "best.pt", {"weights": {}, "name": name})
    best = {"metric": "val/accuracy", "mode": "max", "value": 0.5}
    usual = {"stage": "finetune", "model": "cnn", "dataset": "digits", "best": best, "parent": parent}
    write_json(folder / "summary.json", {**usual, **summary})
    return folder, {"path": str(folder / "checkpoints/best.pt"), "sha256": digest, "run": str(folder.absolute())}


@pytest.fixture
def family():
    """first <- second <- third, first <- fourth, and a stranger."""
    first, one = run("first", stage="pretrain", dataset="glyphs")
    second, two = run("second", one)
    return first, second, run("third", two)[0], run("fourth", one)[0], run("stranger")[0]


def test_the_tree_from_the_first_ancestor_to_every_descendant(family, ptft):
    expected = [
        f"{DAY}/first  pretrain cnn glyphs  val/accuracy 0.5000",
        f"├─ {DAY}/second  finetune cnn digits  val/accuracy 0.5000",
        f"│  └─ {DAY}/third  finetune cnn digits  val/accuracy 0.5000  ◀",
        f"└─ {DAY}/fourth  finetune cnn digits  val/accuracy 0.5000",
    ]
    for asked in (f"{DAY}/third", "third", f"{DAY}/third/checkpoints/best.pt"):
        assert ptft("lineage", asked).out.splitlines() == expected
    assert ptft("lineage", "stranger").out.splitlines() == [
        f"{DAY}/stranger  finetune cnn digits  val/accuracy 0.5000  ◀"
    ]


def test_moved_folders_are_found_and_those_that_are_gone_are_said(family, ptft, tmp_path):
    first = family[0]
    first.rename(DAY / "renamed")
    lines = ptft("lineage", "third").out.splitlines()
    assert lines[0].startswith(f"{DAY}/renamed  pretrain")
    assert len(lines) == 4
    shutil.move(DAY / "renamed", tmp_path / "elsewhere")
    lines = ptft("lineage", "third").out.splitlines()
    assert lines[0] == f"{first.absolute()}  (not found here)"
    assert [line.count("◀") for line in lines] == [0, 0, 1, 0]
    lines = ptft("lineage", str(tmp_path / "elsewhere")).out.splitlines()
    assert lines[0] == "elsewhere  pretrain cnn glyphs  val/accuracy 0.5000  ◀"
    assert len(lines) == 4


def test_a_folder_whose_weights_are_others_now_is_said_so(family, ptft):
    checkpoint_file.write(family[0] / "checkpoints" / "best.pt", {"weights": {}, "name": "another"})
    lines = ptft("lineage", "third").out.splitlines()
    assert [line.endswith("(what it started from has other weights now)") for line in lines] == [
        False,
        True,
        False,
        True,
    ]


def test_real_runs_and_their_digests(ptft, pretrained, tmp_path):
    assert ptft("stage=finetune", f"ckpt={pretrained}", "train.steps=1", "hydra.run.dir=tuned").code == 0
    digest = checkpoint_file.verify(tmp_path / "tuned/checkpoints/best.pt")
    assert stored_digest(tmp_path / "tuned/checkpoints/best.pt") == digest
    lines = ptft("lineage", "tuned").out.splitlines()
    assert lines[0].startswith(f"{pretrained}  pretrain cnn glyphs")
    assert lines[1].startswith("└─ tuned  finetune cnn digits")
    refused(ptft("lineage", "nowhere"), 4, "nowhere")
    refused(ptft("lineage"), 2, "ptft lineage RUN|CKPT")
    (tmp_path / "plain.pt").write_bytes(b"PK" + 200 * b"x")
    refused(ptft("lineage", "plain.pt"), 4, "plain.pt: is no checkpoint of ptft")


def test_a_narrow_terminal_shows_short_names(ptft, monkeypatch):
    _, one = run("10-00-00-pretrain-cnn-digits-aaaa", stage="pretrain")
    run("11-00-00-finetune-cnn-digits-bbbb", one)
    assert sent(ptft, monkeypatch, 60, "lineage", "bbbb").splitlines() == [
        "aaaa  pretrain cnn digits  val/accuracy 0.5000",
        "└─ bbbb  finetune cnn digits  val/accuracy 0.5000  ◀",
    ]
    assert str(DAY) in sent(ptft, monkeypatch, 160, "lineage", "bbbb")


CODE = """
import sys, time
from ptft.cli.main import run
for words in (["lineage", "run7"], ["runs"], ["show", "run7"]):
    began = time.process_time()
    run(words)
    print("====")
    print(time.process_time() - began, file=sys.stderr)
assert "torch" not in sys.modules
"""


def test_two_thousand_runs_are_read_without_torch(tmp_path):
    _, parent = run("first")
    for n in range(2000):
        folder = DAY / f"run{n}"
        (folder / "checkpoints").mkdir(parents=True)
        shutil.copy(DAY / "first/status.json", folder)
        write_json(folder / "summary.json", {"stage": "finetune", "parent": parent})
    done = processes.subprocess.run([processes.sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tree, listed, shown = done.stdout.split("====\n")[:3]
    assert (len(tree.splitlines()), len(listed.splitlines())) == (2001, 2002)
    assert "run7" in shown
    assert max(map(float, done.stderr.split())) < 3  # seconds of a processor, of which each takes half a one
