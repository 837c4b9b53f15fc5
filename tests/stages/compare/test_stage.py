"""`ptft stage=compare`: whole comparisons of tiny runs, cut, continued, reused, refused."""

import csv
import itertools
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import GLYPHS, NET, command, contents, refused, status, summary
from tests.helpers.processes import Process

FEW = (
    "compare.only=finetune",
    "compare.per_class=[1,2]",
    "compare.seeds=2",
    "train.steps=8",
    "train.every.evaluate=50",
    "precision=fp32",
)
EXACT = ("train.layout=contiguous", "compare.tune=null")


def compare(ptft, start, *more, into="compared"):
    return ptft("stage=compare", f"ckpt={start}", *FEW, *EXACT, f"hydra.run.dir={into}", *more)


def found(folder) -> dict:
    return json.loads((Path(folder) / "compare.json").read_text())


def values(folder) -> dict:
    return {(cell["arm"], cell["amount"], cell["seed"]): cell["value"] for cell in found(folder)["cells"]}


def trained(text: str) -> int:
    """How many runs a comparison said that it ran."""
    return text.count("\nrun ")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def whole(kept, ptft, pretrained, monkeypatch):
    """A comparison of 2 arms, 2 amounts and 2 seeds, made by the first test that needs it, and its cache."""
    monkeypatch.setenv("PTFT_CACHE", str(kept / "cache"))
    folder = kept / "compared"
    if not folder.exists():
        done = compare(ptft, pretrained, into=folder)
        assert done.code == 0, done.text
        (kept / "said").write_text(done.out)
    return folder


def test_a_comparison_leaves_its_answer_in_every_form(whole, kept):
    said, result = (kept / "said").read_text(), found(whole)
    assert trained(said) == 8
    assert "run 7 of 8" in said
    assert result["answer"] in said
    assert result["answer"].startswith("Too few seeds"), "two are not enough for a claim"
    assert result["measure"] == {"metric": "accuracy", "mode": "max", "split": "test"}
    assert {row["arm"] for row in result["rows"]} == {"scratch", "finetune"}
    assert len(result["cells"]) == 8
    assert status(whole)["status"] == summary(whole)["status"] == "finished"
    assert summary(whole)["stage"] == "compare"
    with (whole / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["value"]) for line in table] == list(values(whole).values())
    with Image.open(whole / "compare.png") as image:
        assert image.width > 500
    assert (whole / "compare.svg").read_text().startswith("<?xml")


def test_the_numbers_are_those_of_the_runs_and_of_their_pairs(whole):
    result = found(whole)
    for cell in result["cells"]:
        assert summary(Path(cell["folder"]))["metrics"]["test"]["accuracy"] == cell["value"]
    (row,) = [row for row in result["rows"] if row["arm"] == "finetune" and row["amount"] == 2]
    pairs = [values(whole)["finetune", 2, seed] - values(whole)["scratch", 2, seed] for seed in (0, 1)]
    assert row["difference"]["mean"] == pytest.approx(sum(pairs) / 2)
    assert row["difference"]["half"] == pytest.approx(12.706 * abs(pairs[0] - pairs[1]) / 2, rel=1e-3)


def built(folder):
    """A run's objective and first batches, as its stored configuration builds them."""
    from omegaconf import OmegaConf

    from ptft.builders.run import build
    from ptft.config.resolve import resolve
    from ptft.loggers.console import Console

    typed = [*OmegaConf.load(folder / ".hydra" / "overrides.yaml")]
    run = build(resolve(typed), Console(quiet=True))
    batches = [batch for epoch in range(3) for batch in run.training.loader.epoch(epoch)]
    return run, torch.cat([batch["input"].flatten(1) for batch in batches])


def test_a_seed_gives_every_arm_the_same_labels_order_head_and_steps(whole):
    runs = {(c["arm"], c["seed"]): built(Path(c["folder"])) for c in found(whole)["cells"] if c["amount"] == 2}
    for seed in (0, 1):
        (scratch, one), (finetune, other) = runs["scratch", seed], runs["finetune", seed]
        assert torch.equal(one, other)
        assert scratch.training.total == finetune.training.total == 8
        own, its = scratch.objective.state_dict(), finetune.objective.state_dict()
        assert own.keys() == its.keys()
        assert all(torch.equal(own[name], its[name]) for name in own if not name.startswith("backbone."))
        assert not torch.equal(own["backbone.conv1.weight"], its["backbone.conv1.weight"])
    assert not torch.equal(runs["scratch", 0][1], runs["scratch", 1][1])


def test_its_runs_write_no_predictions_unless_it_is_typed(whole, ptft, pretrained):
    assert not [*whole.rglob("predictions_*")]
    one = ("compare.per_class=[1]", "compare.seeds=1", "compare.only=finetune", "train.steps=2", "predictions=csv")
    done = ptft("stage=compare", f"ckpt={pretrained}", "dataset=digits", *one, "hydra.run.dir=again")
    assert done.code == 0, done.text
    assert [*Path("again").rglob("predictions_*.csv")]


def test_scratch_is_the_checkpoints_model_with_new_weights(whole, pretrained):
    for cell in found(whole)["cells"]:
        done = summary(Path(cell["folder"]))
        assert done["parameters"] == found(whole)["cells"][0]["parameters"]
        assert (done["parent"] is None) == (done["transfer"] is None) == (cell["arm"] == "scratch")
        assert done["steps"] == 8


def test_a_run_of_it_is_a_run_like_any_other(whole, ptft):
    refused(ptft("stage=evaluate", f"ckpt={whole}"), 4, "is a comparison, whose runs are the folders in ", "cells")
    cell = Path(found(whole)["cells"][-1]["folder"])
    done = ptft("stage=evaluate", f"ckpt={cell}", "hydra.run.dir=evaluated")
    assert done.code == 0, done.text
    assert summary(Path("evaluated"))["metrics"]["test"]["accuracy"] == found(whole)["cells"][-1]["value"]
    done = ptft(f"resume={cell}")
    assert done.code == 0
    assert "complete at step 8" in done.out


@pytest.mark.parametrize("way", ["the same command", "resume", "elsewhere"])
def test_once_more_trains_nothing(way, whole, kept, ptft, pretrained):
    before, runs = found(whole), contents(whole / "cells")
    if way == "resume":
        done = ptft(f"resume={whole}")
    else:
        done = compare(ptft, pretrained, into=whole if way == "the same command" else "again")
    assert done.code == 0, done.text
    assert trained(done.out) == 0
    assert "8 of them there already" in done.out
    again = found("again" if way == "elsewhere" else whole)
    assert again["rows"] == before["rows"]
    assert again["runs"] == {"all": 8, "reused": 8, "failed": 0}
    assert contents(whole / "cells") == runs


def test_what_changes_a_result_is_trained_anew(whole, ptft, pretrained):
    done = compare(ptft, pretrained, "compare.seeds=3", "compare.per_class=[2]", into="more")
    assert trained(done.out) == 2, "only the third seed"
    done = compare(
        ptft, pretrained, "compare.arms.finetune=finetune.layer_decay=0.5", "compare.per_class=[2]", into="arm"
    )
    assert trained(done.out) == 2, "scratch is the same"
    done = compare(ptft, pretrained, "compare.reuse=false", "compare.per_class=[2]", "compare.seeds=1", into="anew")
    assert trained(done.out) == 2
    assert values("anew") == {cell: value for cell, value in values(whole).items() if cell[1:] == (2, 0)}
    refused(compare(ptft, pretrained, "compare.reuse=false", into="anew"), 5, "holds a run already")


def test_a_run_that_is_no_comparison_is_not_continued_by_one(ptft, pretrained):
    assert ptft("stage=finetune", "ckpt=null", *NET, "dataset.limit=20", "train.steps=1", "hydra.run.dir=run").code == 0
    refused(compare(ptft, pretrained, into="run"), 5, "holds a run already")


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LONGER = ("train.steps=100", "compare.per_class=[2]")


def finished(folder: Path) -> int:
    return sum(status(path.parent)["status"] == "finished" for path in (folder / "cells").glob("*/status.json"))


def begun(pretrained, *more):
    """The comparison as a process of its own, once two runs of it are finished."""
    typed = command("stage=compare", f"ckpt={pretrained}", *FEW, *EXACT, *LONGER, *more, "hydra.run.dir=cut")
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    running = Process(typed, env={"OMP_NUM_THREADS": "1"}, **pipes)
    end = time.monotonic() + 60
    while finished(Path("cut")) < 2:
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    return running


@pytest.fixture(scope="module")
def longer(kept):
    return kept / "longer"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("SIGKILL", 1), ("SIGINT", 2)])
def test_cut_anywhere_and_continued_it_is_the_same(name, processes, ptft, pretrained, longer, monkeypatch, one_thread):
    """To the bit as the one that was not cut, whose runs were one after the other in one process."""
    if not longer.exists():
        with monkeypatch.context() as patched:
            patched.setenv("PTFT_CACHE", str(longer.with_name("other")))
            assert compare(ptft, pretrained, *LONGER, into=longer).code == 0
    running = begun(pretrained, f"compare.processes={processes}")
    running.send_signal(signal.Signals[name])
    said = running.communicate(timeout=60)[1]
    if name != "SIGKILL":
        assert running.returncode == {"SIGINT": 130, "SIGTERM": 143}[name]
        assert "what was trained is kept, continue with: ptft resume=cut" in said
        assert status(Path("cut"))["status"] == "interrupted"
    had = finished(Path("cut"))
    assert 2 <= had < 4
    done = ptft("resume=cut", "compare.processes=1")
    assert done.code == 0, done.text
    assert trained(done.out) == 4 - had
    assert values("cut") == values(longer)
    assert found("cut")["rows"] == found(longer)["rows"]
    for cell, other in zip(found("cut")["cells"], found(longer)["cells"], strict=True):
        one, same = (checkpoint_file.read(Path(each["folder"]) / "checkpoints/best.pt")[0] for each in (cell, other))
        assert all(torch.equal(value, same["weights"][name]) for name, value in one["weights"].items())


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("compare.arms.x=ckpt=nowhere", 4, "compare.arms.x: ckpt=nowhere: there is no file"),
        ("compare.arms.x=finetune.trian=head", 2, "compare.arms.x: finetune.trian: there is no such key; did you mean"),
        ("compare.arms.x=finetune.train=last:9", 2, "compare.arms.x: finetune.train=last:9 is not possible"),
        ("compare.arms.x=model=vit_tiny", 4, "compare.arms.x: "),
        ("compare.per_class=[1,9999]", 3, "compare.per_class=9999: class"),
        ("compare.tune=[0]", 2, "compare.tune=[0]: must be a list of different learning rates"),
    ],
)
def test_a_mistake_in_one_arm_stops_it_before_any_run(typed, code, said, ptft, pretrained):
    done = compare(ptft, pretrained, "compare.only=null", typed)
    refused(done, code, said)
    assert not list(Path().glob("**/cells"))
    assert Path("compared").exists() == (code != 2)


def test_a_failed_run_stops_no_other_and_is_named(ptft, pretrained):
    typed = ("compare.only=[finetune,wild]", "compare.arms.wild=optimizer.lr=1e30")
    typed += ("compare.per_class=[2]", "compare.seeds=1")
    done = compare(ptft, pretrained, *typed)
    assert done.code == 1
    assert "Traceback" not in done.text
    assert trained(done.out) == 3
    result = found("compared")
    assert {cell["arm"] for cell in result["cells"] if cell["status"] == "failed"} == {"wild"}
    assert result["runs"] == {"all": 3, "reused": 0, "failed": 1}
    assert "wild, 2, seed 0 failed: " in done.out
    assert "1 of 3 runs failed" in done.err
    assert status(Path("compared"))["status"] == "failed"
    assert "finetune" in result["answer"]
    again = compare(ptft, pretrained, *typed)
    assert trained(again.out) == 1, "the failed one is tried again"


def test_a_useless_checkpoint_is_not_said_to_help(ptft):
    useless = ("stage=pretrain", *NET, *GLYPHS, "train.steps=1", "optimizer.lr=1e-12", "seed=5")
    assert ptft(*useless, "hydra.run.dir=useless").code == 0
    done = compare(ptft, "useless", "compare.per_class=[5]", "compare.seeds=3", "train.steps=20", "optimizer.lr=2e-3")
    assert done.code == 0, done.text
    assert {row["arm"]: row["verdict"] for row in found("compared")["rows"]} == {
        "scratch": "unknown",
        "finetune": "noise",
    }
    assert found("compared")["answer"].startswith("Pretraining made no difference beyond the noise: beside scratch, ")


def test_rates_are_tuned_for_all_arms(ptft, pretrained):
    done = compare(
        ptft, pretrained, "compare.per_class=[2]", "compare.tune=[1e-9,3e-2]", "train.steps=30", "compare.seeds=1"
    )
    assert done.code == 0, done.text
    assert trained(done.out) == 4
    assert {row["rate"] for row in found("compared")["rows"]} == {3e-2}
    assert "each arm's best at each amount" in done.out
    refused(
        compare(ptft, pretrained, "compare.tune=[1e-3]", "dataset.val=null", into="b"),
        2,
        "compare.tune",
        "dataset.val=0.1",
    )


def test_every_arm_takes_the_best_of_three_rates_on_the_validation_split(ptft, pretrained):
    typed = ("compare.only=[probe,finetune]", "compare.per_class=[2]", "compare.tune=auto", "train.steps=8")
    done = compare(ptft, pretrained, *typed)
    assert done.code == 0, done.text
    runs = found("compared")["cells"]
    tried = {
        (run["arm"], run["lr"]): (run["val"], run["value"])
        for run in runs
        if run["seed"] == 0 and run["lr"] is not None
    }
    assert {arm for arm, _ in tried} == {"scratch", "finetune"}, "a fitted head has no rate"
    for arm in ("scratch", "finetune"):
        rates = sorted(rate for name, rate in tried if name == arm)
        assert rates == pytest.approx([1.5e-4, 5e-4, 1.5e-3])
        best = max(rates, key=lambda rate: tried[arm, rate][0])
        assert [run["lr"] for run in runs if run["arm"] == arm and run["seed"] == 1] == [best]
        (row,) = [row for row in found("compared")["rows"] if row["arm"] == arm]
        assert row["rate"] == best
        assert row["values"]["0"] == tried[arm, best][1]
    assert trained(done.out) == len(runs) == 3 + 1 + 3 + 3
    assert "to choose rates" in done.out
    assert "lr: each arm's best of 3 at each amount, on the validation split with seed 0" in done.out
    again = compare(ptft, pretrained, *typed, into="again")
    assert trained(again.out) == 0
    assert found("again")["rows"] == found("compared")["rows"]


def test_a_rate_that_was_typed_is_not_tuned(ptft, pretrained):
    typed = ("compare.per_class=[2]", "compare.tune=auto", "optimizer.lr=1e-3", "compare.seeds=1")
    done = compare(ptft, pretrained, *typed)
    assert trained(done.out) == 2
    assert "best of 3" not in done.out


def test_what_can_not_be_tuned_is_not_judged(ptft, pretrained):
    typed = ("compare.per_class=[2]", "compare.tune=auto", "dataset.val=null", "compare.seeds=3")
    done = compare(ptft, pretrained, *typed)
    assert done.code == 0, done.text
    assert "\nNo answer, as the arms or what they are compared with were still improving or not tuned" in done.out
    assert "‡ its learning rate was not tuned, as there is no validation split to choose it on" in done.out
    assert "finetune ‡" in done.out


def test_without_a_test_split_the_validation_split_counts_and_it_says_so(ptft, pretrained):
    done = compare(
        ptft, pretrained, "dataset.test=null", "compare.seeds=1", "compare.fractions=[0.02]", "compare.keep=best"
    )
    assert done.code == 0, done.text
    assert found("compared")["measure"]["split"] == "val"
    assert "measured on the validation split, which also chose the best weights" in done.out
    assert "2 %" in done.out
    kept = {path.name for path in Path("compared").glob("cells/*/checkpoints/*")}
    assert kept == {"best.pt"}
    refused(compare(ptft, pretrained, "dataset.test=null", "dataset.val=null", into="b"), 2, "at least one is needed")


def test_a_dry_run_tries_every_arm_and_writes_nothing(ptft, pretrained):
    done = compare(ptft, pretrained, "dry_run=true", "compare.only=null", "optimizer.weight_decay=0.02")
    assert done.code == 0, done.text
    (said,) = [line for line in done.out.splitlines() if line.startswith("probe: ")]
    assert "optimizer.weight_decay" in said
    assert "not count, as the head is fitted" in said
    assert "12 (3 arms × 2 amounts × 2 seeds)" in done.out
    assert "compare.seeds: 2 seeds will not say whether pretraining helped; that takes at least 3" in done.out
    assert "MiB of checkpoints" in done.out
    assert not Path("compared").exists()


def test_odd_paths_of_arms_are_typed_as_they_are(ptft, pretrained):
    odd = Path("k=1, (b) #[c] ü")
    odd.symlink_to(pretrained)
    done = compare(ptft, pretrained, f"compare.arms.odd=ckpt={odd}", "compare.only=odd", "compare.seeds=1")
    assert done.code == 0, done.text
    assert set(values("compared")) == set(itertools.product(["scratch", "odd"], [1, 2], [0]))


def test_amounts_that_a_class_can_not_give_are_left_out_unless_they_were_typed(ptft, tmp_path):
    for name, count in {"cat": 12, "dog": 3}.items():
        for split, part in {"train": count, "val": 2, "test": 2}.items():
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(part):
                picture = Image.new("RGB", (8, 8), (20 * i, part, 99))
                picture.save(tmp_path / "photos" / split / name / f"{i}.png")
    own = ("dataset=image_folder", f"dataset.root={tmp_path / 'photos'}", "model.width=8", "model.channels=[4,8]")
    assert ptft("stage=pretrain", *own, "train.steps=1", "hydra.run.dir=run").code == 0
    plan = ("stage=compare", "ckpt=run", *own[:2], "compare.seeds=1", "train.steps=2", *EXACT, "dry_run=true")
    done = ptft(*plan, "precision=fp32")
    assert done.code == 0, done.text
    assert "compare.per_class without 5 and 20, as class dog has 3 images to train on" in done.out
    assert "image_folder: 1 label per class" in done.out
    said = ("class dog has 3 images to train on", "type 'compare.per_class=[2]'")
    refused(ptft(*plan, "precision=fp32", "compare.per_class=[2,5,20]"), 3, "compare.per_class=5,20", *said)
    assert ptft(*plan, "precision=fp32", "compare.per_class=[2]").code == 0


def test_a_patience_that_few_labels_can_not_try_ends_the_other_runs(ptft, pretrained):
    typed = ("compare.per_class=[1,20]", "compare.seeds=1", "train.steps=null", "train.budget.min_steps=0")
    typed += ("train.batch_size=10", "train.every.evaluate=3", "train.patience=3", "train.epochs=2")
    done = compare(ptft, pretrained, *typed)
    assert done.code == 0, done.text
    said = "train.patience can't end the runs with 1 label per class, which are too short"
    assert f"scratch, finetune: {said}" in done.out
    few = next(Path("compared").glob("cells/finetune-1-*/run.log")).read_text()
    assert "train.patience=3: can't end this run, which has 2 steps" in few
    refused(
        compare(ptft, pretrained, *typed[1:], "compare.per_class=[1]", "compare.reuse=false", into="b"),
        2,
        "train.patience=3: can't end",
    )
