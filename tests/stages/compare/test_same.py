"""What all runs of a comparison share stays the same while it runs, or it is said; and no other runs are taken."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptft.stages.compare import messages
from tests.conftest import refused, rows, status, summary
from tests.helpers.meanwhile import after
from tests.stages.compare.test_stage import compare, found, trained

ONE = ("compare.per_class=[2]", "compare.seeds=2")
FOLDER = ("dataset=image_folder", "dataset.root=data", "dataset.size=28", "dataset.channels=1")


@pytest.fixture
def start(pretrained):
    """A checkpoint of a test's own, which it may change."""
    return shutil.copytree(pretrained, Path("start"))


def other_weights(ptft, start):
    """What a training that still runs does: a better checkpoint takes the place of the one before."""
    done = ptft("stage=pretrain", f"ckpt={start}", "dataset.limit=20", "train.steps=1", "hydra.run.dir=later")
    assert done.code == 0, done.text
    return lambda: shutil.copy("later/checkpoints/best.pt", f"{start}/checkpoints/best.pt")


def pictures(seed):
    """Uncompressed, so that other ones are as large."""
    draws = np.random.default_rng(seed)
    for i in range(60):
        for name in "ab":
            path = Path("data", name, f"{i}.bmp")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 255, (28, 28), np.uint8)).save(path)


def test_a_checkpoint_that_changes_meanwhile_ends_it_and_no_run_of_it_is_taken(start, ptft, monkeypatch):
    change = other_weights(ptft, start)
    shutil.copy(start / "checkpoints/best.pt", "before.pt")
    after(monkeypatch, messages, 2, change)
    said = "compare.arms.finetune: ", "changed while the comparison ran", "start it again"
    refused(compare(ptft, start, *ONE), 4, *said)
    shutil.copy("before.pt", start / "checkpoints/best.pt")
    again = compare(ptft, start, *ONE)
    assert trained(again.out) == 1, again.out
    cells = [cell for cell in found("compared")["cells"] if cell["arm"] == "finetune"]
    assert len({summary(Path(cell["folder"]))["parent"]["sha256"] for cell in cells}) == 1 == len(cells) - 1


def test_the_latest_run_of_an_arm_is_the_one_that_it_was_at_first(ptft, monkeypatch):
    made = ("stage=pretrain", "dataset.limit=20", "model.width=8", "model.channels=[2,4]", "train.steps=1")
    assert ptft(*made).code == 0
    after(monkeypatch, messages, 1, lambda: ptft(*made, "seed=1"))
    done = compare(ptft, "latest", "compare.only=other", "compare.arms.other=ckpt=latest", *ONE)
    assert done.code == 0, done.text
    runs = [summary(Path(c["folder"]))["parent"]["path"] for c in found("compared")["cells"] if c["arm"] == "other"]
    assert len(runs) == 2
    assert len(set(runs)) == 1


def test_files_that_others_took_the_place_of_are_other_data(start, ptft, monkeypatch):
    pictures(0)
    assert trained(compare(ptft, start, *FOLDER, *ONE, into="first").out) == 4
    assert "4 of them there already" in compare(ptft, start, *FOLDER, *ONE, "dry_run=true").out
    pictures(1)
    assert "there already" not in compare(ptft, start, *FOLDER, *ONE, "dry_run=true").out
    again = compare(ptft, start, *FOLDER, *ONE, into="first")
    assert "finetune: what the files of the data hold changed since this comparison began" in again.out

    after(monkeypatch, messages, 1, lambda: pictures(2))
    cut = compare(ptft, start, *FOLDER, *ONE, "train.steps=9", into="moving")
    assert "scratch, finetune: the data changed while the comparison ran" in cut.out
    pictures(1)
    assert "there already" not in compare(ptft, start, *FOLDER, *ONE, "train.steps=9", "dry_run=true").out


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("[dataset.classes=[0,1]]", "compare.arms.two: has 2 classes, scratch 10: they are not the same task"),
        ("[dataset.test=0.3]", "compare.arms.two: its test split is another one than that of scratch"),
    ],
)
def test_arms_are_asked_the_same(arm, said, ptft, pretrained):
    refused(compare(ptft, pretrained, *ONE, "compare.only=two", f"compare.arms.two={arm}"), 2, said)
    assert not Path("compared").exists()


def test_a_run_that_was_trained_further_is_no_part_of_it(start, ptft):
    assert compare(ptft, start, *ONE).code == 0
    folder = next(cell["folder"] for cell in found("compared")["cells"] if cell["arm"] == "scratch")
    assert ptft(f"resume={folder}", "train.steps=11").code == 0
    assert status(Path(folder))["status"] == "finished"
    assert trained(compare(ptft, start, *ONE, into="other").out) == 1
    refused(compare(ptft, start, *ONE), 5, f"{folder}: went on with train.steps=11; move it elsewhere")
    assert summary(Path(folder))["steps"] == 11


def test_the_mean_of_weights_at_the_end_is_no_late_progress(ptft, pretrained):
    typed = (*ONE, "compare.seeds=1", "train.steps=20", "train.every.evaluate=2")
    lasts = []
    for average in ("null", "3"):
        assert compare(ptft, pretrained, *typed, f"train.average_last={average}", into=f"by-{average}").code == 0
        lasts.append([cell["late"] for cell in found(f"by-{average}")["cells"]])
    assert any(row.get("averaged") for row in rows(Path(found("by-3")["cells"][0]["folder"])))
    assert lasts[0] == lasts[1]
