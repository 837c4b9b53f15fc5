"""`train.folds`: whole cross-validations, equal to their runs by hand, cut and continued, met by every command."""

import csv
import json
import shlex
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ptft as package
from ptft.builders import components
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.metrics.correlation import pearson
from ptft.stages.folds import closing
from tests.conftest import command, refused, status, summary
from tests.helpers.processes import Process

FIXED = ("device=cpu", "precision=fp32", "train.layout=contiguous", "train.workers=0", "report=false")
NET = ("model=cnn", "model.width=8", "model.channels=[4,4]", "train.batch_size=8", "train.every.evaluate=2")
IMAGES = ("dataset=image_folder", "dataset.root=pictures", "objective=classify", *NET, *FIXED)
TEXTS = ("dataset=table", "model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=1", "dataset.length=8")
RUN = ("stage=pretrain", *IMAGES, "train.steps=4", "train.folds=3")


@pytest.fixture
def pictures(tmp_path):
    draw = np.random.default_rng(0)
    for i in range(48):
        path = tmp_path / f"pictures/{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(100 * (i % 2), 200, (8, 8, 3), dtype=np.uint8)).save(path)


def table(file="cv/predictions_folds.csv"):
    with open(file, newline="") as read:
        return list(csv.DictReader(read))


def weights(folder):
    return checkpoint_file.read(Path(folder, "checkpoints", "best.pt"))[0]["weights"]


def same(one, other):
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_it_is_the_runs_of_its_folds_and_their_mean(pictures, ptft, tmp_path):
    done = ptft(*RUN, "hydra.run.dir=cv")
    assert done.code == 0, done.text
    by_hand = [word for word in RUN if not word.startswith("train.folds")]
    assert ptft(*by_hand, "dataset.fold=2/3", "hydra.run.dir=hand").code == 0
    fold = tmp_path / "cv/cells/fold2"
    assert summary(fold)["metrics"] == summary(tmp_path / "hand")["metrics"]
    assert same(fold, "hand")
    assert (fold / "predictions_test.csv").read_bytes() == (tmp_path / "hand/predictions_test.csv").read_bytes()

    rows, found = table(), summary(tmp_path / "cv")
    assert sorted(row["item"] for row in rows) == sorted(f"{'ab'[i % 2]}/{i}.png" for i in range(48))
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    values = [summary(tmp_path / f"cv/cells/fold{i}")["metrics"]["test"]["accuracy"] for i in (1, 2, 3)]
    assert found["metrics"]["test"]["accuracy"] == pytest.approx(statistics.fmean(values))
    half = 4.302653 * statistics.stdev(values) / 3**0.5
    assert found["folds"]["intervals"]["test"]["accuracy"] == pytest.approx(
        [max(0, statistics.fmean(values) - half), min(1, statistics.fmean(values) + half)], rel=1e-5
    )
    pooled = found["folds"]["pooled"]
    assert pooled["metrics"]["accuracy"] == pytest.approx(statistics.fmean(r["true"] == r["predicted"] for r in rows))
    assert pooled["metrics"]["loss"] == pytest.approx(statistics.fmean(float(row["loss"]) for row in rows), rel=1e-5)
    assert pooled["examples"] == 48
    assert "mean of 3 folds" in done.out
    assert done.out.splitlines()[-1] == "next    " + shlex.join(["ptft", *by_hand])

    _commands_meet_it(ptft, tmp_path)


def _commands_meet_it(ptft, tmp_path):
    """The folder of a cross-validation, beside the run in `hand`."""
    shutil.copytree("cv", "outputs/2026-01-01/10-00-00-pretrain-cnn-image_folder-abcd")
    said = {word: ptft(*word.split()) for word in ("runs", "show cv", "report cv", "diff cv hand", "lineage cv")}
    assert not [each.text for each in said.values() if each.code]
    assert "abcd  finished  pretrain" in said["runs"].out
    assert ", mean of 3 folds" in said["show cv"].out
    assert "the mean of 3 folds" in Path("cv/report.html").read_text()
    refused(
        ptft("stage=evaluate", "ckpt=cv"),
        4,
        "ckpt=cv: is a cross-validation, whose runs are",
        "cells/fold1",
        "without train.folds",
    )
    refused(ptft("stage=evaluate", "ckpt=latest"), 4, "ckpt=latest: no finished")
    done = ptft("resume=cv")
    assert done.code == 0, done.text
    assert "3 of 3 folds are there already" in done.out
    assert ptft("stage=evaluate", "ckpt=cv/cells/fold1", "hydra.run.dir=again").code == 0
    assert summary(tmp_path / "again")["metrics"]["test"] == summary(tmp_path / "cv/cells/fold1")["metrics"]["test"]
    other = ptft("stage=evaluate", "ckpt=cv/cells/fold1", "dataset.fold=2/3", "hydra.run.dir=other")
    refused(other, 3, "test images were trained on by")
    start = ("stage=finetune", "ckpt=cv/cells/fold1", *IMAGES, "train.steps=2", "train.folds=3")
    refused(ptft(*start, "hydra.run.dir=on"), 3, "a later fold tests what the first one has as train")
    assert ptft("rm", "cv", "--yes").code == 0
    assert not Path("cv").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_cut_and_continued_it_gives_the_same(name, pictures, ptft, tmp_path):
    longer = (*RUN, "train.steps=60", "train.every.evaluate=20")
    assert ptft(*longer, "hydra.run.dir=whole").code == 0
    running = Process(
        command(*longer, "hydra.run.dir=cv"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not (tmp_path / "cv/cells/fold2/checkpoints/last.pt").exists():
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    running.send_signal(getattr(signal, name))
    said = running.communicate(timeout=60)[1]
    if name == "SIGINT":
        assert "2 of 3 folds are left; what was trained is kept, continue with: ptft resume=cv" in said
        assert status(tmp_path / "cv")["status"] == "interrupted"
    began = (tmp_path / "cv/cells/fold1/summary.json").stat().st_mtime_ns
    done = ptft("resume=cv")
    assert done.code == 0, done.text
    assert (tmp_path / "cv/cells/fold1/summary.json").stat().st_mtime_ns == began
    assert table() == table("whole/predictions_folds.csv")
    assert summary(tmp_path / "cv")["folds"] == summary(tmp_path / "whole")["folds"]
    assert all(same(f"cv/cells/fold{i}", f"whole/cells/fold{i}") for i in (1, 2, 3))


def test_a_sweep_has_a_mean_a_job_and_what_failed_is_trained_again(pictures, ptft, tmp_path):
    sweep = ("-m", *RUN, "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=sweep")
    done = ptft(*sweep, "dry_run=true")
    assert done.code == 0, done.text
    assert "folds      3" in done.out
    assert not Path("sweep").exists()
    assert ptft(*sweep).code == 0
    for job in table("sweep/results.csv"):
        folder = Path(job["folder"])
        values = [summary(folder / f"cells/fold{i}")["metrics"]["test"]["accuracy"] for i in (1, 2, 3)]
        assert float(job["test/accuracy"]) == pytest.approx(statistics.fmean(values))
    broken = tmp_path / "sweep/1/cells/fold3"
    before = summary(broken.parent.parent)["folds"]
    shutil.rmtree(broken)
    (tmp_path / "sweep/1/status.json").write_text(json.dumps({**status(tmp_path / "sweep/1"), "status": "interrupted"}))
    done = ptft("resume=sweep")
    assert done.code == 0, done.text
    assert done.out.splitlines()[-1].startswith("next      ptft stage=pretrain")
    assert "train.folds" not in done.out.splitlines()[-1]
    assert summary(tmp_path / "sweep/1")["folds"] == before


def test_a_fold_that_fails_is_said_and_gives_no_mean(pictures, ptft, tmp_path):
    done = ptft(*RUN, "optimizer=sgd", "optimizer.lr=1e30", "train.clip=null", "hydra.run.dir=cv")
    refused(done, 1, "3 of 3 folds failed, fold 1: ", "go on with: ptft resume=cv")
    assert not (tmp_path / "cv/summary.json").exists()


def test_numbers_of_runs_with_their_own_units_are_pooled_in_that_of_the_data(ptft, tmp_path):
    lines = [f"about {'good' * (i % 3)} {i},{(i % 3) * 10 + i / 7}" for i in range(36)]
    (tmp_path / "all.csv").write_text("\n".join(["text,label", *lines]))
    numbers = ("dataset.root=all.csv", "dataset.target=number", "objective=regress", "train.steps=4", *FIXED)
    found = package.run("stage=pretrain", *TEXTS, *numbers, "train.folds=2", "hydra.run.dir=cv")["folds"]["pooled"]
    true, given = (torch.tensor([float(row[name]) for row in table()]) for name in ("true", "predicted"))
    assert found["metrics"]["pearson"] == pytest.approx(pearson(given, true), abs=1e-4)
    assert found["metrics"]["rmse"] == pytest.approx(float((given - true).square().mean().sqrt()), rel=1e-4)


def test_answers_by_each_fold_s_thresholds_are_pooled_and_groups_stay_whole(ptft, tmp_path):
    lines = ["text,label,author"]
    for i in range(60):
        has = [name for k, name in enumerate(("red", "blue")) if i >> k & 1]
        lines.append(f"about {' '.join(has)} {i},{'|'.join(has)},{i // 4}")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    sets = ("dataset.root=all.csv", "dataset.label_separator='|'", "objective=multilabel", "train.steps=6", *FIXED)
    more = ("dataset.group=author", "optimizer.lr=1e-2", "train.folds=3", "hydra.run.dir=cv")
    found = package.run("stage=pretrain", *TEXTS, *sets, *more)["folds"]["pooled"]
    pairs = [[{*filter(None, row[name].split(";"))} for name in ("true", "predicted")] for row in table()]
    counts = [(len(true & given), len(true) + len(given)) for true, given in pairs]
    assert found["metrics"]["micro_f1"] == pytest.approx(2 * sum(c[0] for c in counts) / sum(c[1] for c in counts))
    assert (found["units"], found["of"]) == (15, "groups of author")
    fold_of = {}
    for row in table():
        fold_of.setdefault((int(row["item"].rsplit(":", 1)[1]) - 2) // 4, set()).add(row["fold"])
    assert len(fold_of) == 15
    assert all(len(folds) == 1 for folds in fold_of.values())


def test_boxes_that_all_folds_found_are_scored_at_once(ptft, tmp_path):
    data = ("dataset=shapes", "dataset.images=40", "dataset.held_out=4", "dataset.size=32")
    net = ("model=convnet", "model.channels=[8,16,16]", "objective=detect", "objective.width=32", "objective.depth=1")
    run = ("stage=pretrain", *data, *net, *FIXED, "train.batch_size=8", "optimizer.lr=3e-3")
    found = package.run(*run, "train.steps=30", "train.every.evaluate=30", "train.folds=2", "hydra.run.dir=cv")
    kept = [checkpoint_file.read(tmp_path / f"cv/cells/fold{i}/found_test.pt")[0] for i in (1, 2)]
    assert sorted(torch.cat([each["rows"] for each in kept]).tolist()) == list(range(40))
    every = components.source(resolve(list(run)).config.dataset, None).split("train")
    lists = {"index": torch.cat([each["rows"] for each in kept])}
    lists["detections"] = torch.cat([each["found"]["lists"]["detections"] for each in kept])
    expected = every.score(lists)
    assert expected["AP50"] > 0
    pooled = found["folds"]["pooled"]["metrics"]
    assert {name: pooled[name] for name in ("AP", "AP50")} == {name: expected[name] for name in ("AP", "AP50")}


def test_what_is_found_among_a_fold_s_own_is_not_pooled_and_said_so(ptft, tmp_path):
    data = ("dataset=scenes", "dataset.images=40", "dataset.held_out=4", "dataset.size=32")
    more = (*NET, *FIXED, "report=true", "train.steps=2", "train.folds=2", "hydra.run.dir=cv")
    done = ptft("stage=pretrain", "objective=siglip", *data, *more)
    assert done.code == 0, done.text
    recalls = [summary(tmp_path / f"cv/cells/fold{i}")["metrics"]["test"]["recall"] for i in (1, 2)]
    found = summary(tmp_path / "cv")
    assert found["metrics"]["test"]["recall"] == pytest.approx(statistics.fmean(recalls))
    low, high = found["folds"]["intervals"]["test"]["recall"]
    assert low <= found["metrics"]["test"]["recall"] <= high
    assert "mean of 2 folds" in done.out
    assert "not pooled each fold finds among its own pictures and captions" in done.out
    assert "answers are not measured at once, as each fold finds" in (tmp_path / "cv/report.html").read_text()


def after_first(monkeypatch, change):
    """Have something happen once the first fold has ended."""
    seen, say = [], closing.progress

    def progress(out, record, left):
        if not seen:
            change()
        seen.append(record)
        say(out, record, left)

    monkeypatch.setattr(closing, "progress", progress)


def test_data_that_changed_are_said_and_folds_of_before_do_not_count(pictures, ptft, monkeypatch):
    with monkeypatch.context() as patched:
        after_first(patched, lambda: Image.new("RGB", (8, 8), (9, 9, 9)).save("pictures/a/0.png"))
        done = ptft(*RUN, "hydra.run.dir=cv")
    assert done.code == 0, done.text
    assert "the data changed while the folds were trained" in done.out
    again = ptft("resume=cv")
    assert "changed since this cross-validation began; runs of before do not count" in again.out
    assert "there already" not in again.out
    assert "3 of 3 folds are there already" in ptft("resume=cv").out


def test_weights_that_all_start_from_stay_the_same_or_it_ends(pictures, ptft, monkeypatch):
    for name in ("start", "other"):
        made = ("stage=pretrain", *IMAGES, "objective=simclr", "train.steps=1", f"seed={len(name)}")
        assert ptft(*made, f"hydra.run.dir={name}").code == 0
    after_first(monkeypatch, lambda: shutil.copy("other/checkpoints/best.pt", "start/checkpoints/best.pt"))
    run = ("stage=finetune", "ckpt=start", *IMAGES, "train.steps=2", "train.folds=3", "split_overlap=allow")
    refused(ptft(*run, "hydra.run.dir=cv"), 4, "ckpt=", "changed while the folds were trained", "start it again")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("objective=simclr",), 2, "objective=simclr learns without labels"),
        (("dataset.fold=1/3",), 2, "train.folds=3 and dataset.fold=1/3: it trains each fold"),
        (("dataset.test=0.2",), 2, "train.folds=3 and dataset.test=0.2: each says what is test"),
        (("train.processes=2",), 2, "train.folds=3 and train.processes=2: its runs are of one process each"),
        (("train.folds=1",), 2, "train.folds=1: must be a whole number of at least 2"),
        (("train.folds=40",), 3, "are too few for 40 folds"),
        (("dataset=grammar", "objective=causal_lm", "model=gpt_tiny"), 2, "dataset=grammar has no parts"),
        (("stage=compare", "ckpt=null"), 2, "train.folds: for stage=finetune or pretrain, not for stage=compare"),
    ],
)
def test_what_can_t_be_is_refused_in_a_line_before_anything_is_written(typed, code, said, ptft, tmp_path):
    for i in range(24):
        path = tmp_path / f"few/{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    data = ("dataset=image_folder", "dataset.root=few") if "dataset=grammar" not in typed else ()
    refused(ptft("stage=pretrain", "train.folds=3", *data, *typed), code, said)
    assert not Path("outputs").exists()


SMALL = ("dataset=digits", "dataset.limit=60", *NET, "train.steps=1", "precision=fp32")


def test_a_fold_of_a_set_whose_examples_nobody_knows_is_not_tested_by_what_learned_it(ptft):
    """Embedded and published sets, of which checkpoints hold no digests."""
    typed = ("stage=finetune", "ckpt=null", *SMALL)
    assert ptft(*typed, "dataset.fold=2/3", "hydra.run.dir=second").code == 0
    assert ptft(*typed, "hydra.run.dir=whole").code == 0
    said = "test images of dataset.fold=1/3 were trained on by"
    for start, of in (("second", "(dataset.fold=2/3)"), ("whole", "(all of what there was to train on)")):
        again = ("stage=finetune", f"ckpt={start}", *SMALL[:2], *SMALL[-2:])
        refused(ptft(*again, "dataset.fold=1/3"), 3, said, of, "split_overlap=allow")
        refused(ptft(*again, "train.folds=3", f"hydra.run.dir=folds-{start}"), 3, said)
        assert ptft(*again, "dataset.fold=1/3", "split_overlap=allow").code == 0
    refused(ptft("stage=evaluate", "ckpt=second", "dataset.fold=1/3"), 3, said)
    own = ptft("stage=evaluate", "ckpt=second")
    assert own.code == 0, own.text
    later = ("stage=finetune", "ckpt=second", *SMALL[:2], *SMALL[-2:])
    assert ptft(*later, "dataset.fold=2/3").code == 0


def test_tags_are_labels(ptft, tmp_path):
    words = "\n\n".join(f"a{i} O\nb{i} B-X" for i in range(30))
    (tmp_path / "train.conll").write_text(words + "\n")
    bert = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes", "train.steps=1")
    done = ptft("stage=pretrain", "dataset=conll", "dataset.root=train.conll", "objective=tag", *bert, "train.folds=2")
    assert done.code == 0, done.text
    assert "tested on each fold" in done.out
