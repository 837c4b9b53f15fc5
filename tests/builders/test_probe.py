"""Linear probes: a head that is fitted to convergence on features computed once, and when it is trained in steps."""

import json
import shutil

import pytest

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import refused, status, summary

DIGITS = ("stage=finetune", "dataset=digits", "finetune.train=head", "dataset.per_class=10", "precision=fp32")
"""In float32, for what is measured to be faster differs on a busy machine, and with it the last digits."""
PLAIN = (*DIGITS, "objective.views=null")


@pytest.fixture(scope="module")
def fitted_once(tmp_path_factory):
    """Where the run lies whose head was fitted."""
    return tmp_path_factory.mktemp("fitted") / "run"


@pytest.fixture
def fitted(ptft, pretrained, fitted_once):
    """The folder of a probe of the pretrained run, made by the first test that needs it; read it, don't change it."""
    if not fitted_once.exists():
        done = ptft(*PLAIN, f"ckpt={pretrained}", f"hydra.run.dir={fitted_once}")
        assert done.code == 0, done.text
    return fitted_once


def test_a_head_alone_is_fitted_to_the_end(ptft, pretrained, fitted, tmp_path):
    done = ptft(*PLAIN, f"ckpt={pretrained}", f"hydra.run.dir={tmp_path / 'two'}")
    assert done.code == 0, done.text
    assert "the head is fitted to convergence, to the features of 100 training examples" in done.out
    assert "chosen on 359 of val" in done.out
    assert "training   a head fitted to 100 examples in" in done.out
    one, two = summary(fitted), summary(tmp_path / "two")
    assert (one["steps"], one["samples"]) == (0, 100)
    assert one["metrics"] == two["metrics"]
    evaluated = ptft("stage=evaluate", f"ckpt={fitted}", f"hydra.run.dir={tmp_path / 'measured'}")
    assert evaluated.code == 0, evaluated.text
    assert summary(tmp_path / "measured")["metrics"]["test"] == one["metrics"]["test"]


TEXTS = ("model.width=16", "model.depth=1", "model.heads=2", "dataset.tokenizer=bytes", "dataset.root=texts.csv")
KINDS = {
    "texts": (("dataset=table", "model=bert_tiny", *TEXTS), ("dataset=table", *TEXTS[-2:])),
    "recordings": (("dataset=tones", "model=audio_cnn", "model.channels=[4,8]", "model.width=12"), ("dataset=tones",)),
}
"""How each is pretrained, and its data for a finetune."""


@pytest.mark.parametrize("kind", KINDS)
def test_heads_on_other_inputs_than_images_are_fitted_too(ptft, tmp_path, kind):
    rows = [f"{word} {number},{word[0]}" for number in range(40) for word in ("good", "bad")]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    start, data = KINDS[kind]
    few = ("dataset.count=48", "dataset.held_out=24") if kind == "recordings" else ()
    done = ptft("stage=pretrain", *start, *few, "train.steps=1", "hydra.run.dir=start")
    assert done.code == 0, done.text
    typed = ("stage=finetune", "ckpt=start", *data, *few, "finetune.train=head")
    fitted = ptft(*typed, "hydra.run.dir=fitted")
    assert fitted.code == 0, fitted.text
    assert "the head is fitted to convergence, to the features of" in fitted.out
    assert summary(tmp_path / "fitted")["steps"] == 0
    assert ptft(*typed, "finetune.probe=steps", "train.steps=3", "hydra.run.dir=steps").code == 0
    losses = [summary(tmp_path / name)["metrics"]["val"]["loss"] for name in ("fitted", "steps")]
    assert losses[0] < losses[1]


def test_no_step_makes_a_fitted_head_better(ptft, pretrained, fitted, tmp_path):
    """The loss that it was fitted to, with its penalty, is at its least; steps that end early, which is a penalty
    between those that are tried, change little."""
    rates = (
        "optimizer.lr=2e-2",
        "optimizer.weight_decay=0",
        "schedule=constant",
        "train.steps=150",
        "train.batch_size=100",
        "train.every.evaluate=150",
        "precision=fp32",
        "train.layout=contiguous",
    )
    typed = ("finetune.probe=steps", *rates, f"hydra.run.dir={tmp_path / 'steps'}")
    trained = ptft(*PLAIN, f"ckpt={pretrained}", *typed)
    assert trained.code == 0, trained.text
    values = [summary(folder)["metrics"]["val"]["loss"] for folder in (fitted, tmp_path / "steps")]
    assert values[0] < 1.1 * values[1], values
    assert summary(tmp_path / "steps")["steps"] == 150


@pytest.mark.parametrize(
    "typed",
    [
        ("dataset=digits",),  # which has random views
        ("dataset=digits", "objective.views=null", "objective.dropout=0.1"),
        ("dataset=digits", "objective.views=null", "objective.label_smoothing=0.1"),
        ("dataset=digits", "objective.views=null", "train.ema=0.9"),
        ("dataset=digits", "objective.views=null", "finetune.head_init=zero"),
        ("dataset=digits", "objective.views=null", "finetune.probe=steps"),
    ],
    ids=["views", "dropout", "smoothing", "averages", "a start of its own", "asked for"],
)
def test_what_training_does_otherwise_is_trained_in_steps(ptft, pretrained, typed):
    done = ptft(*DIGITS, f"ckpt={pretrained}", *typed, "train.steps=3", "hydra.run.dir=run")
    assert done.code == 0, done.text
    with open("run/summary.json") as file:
        assert json.load(file)["steps"] == 3
    assert "fitted to convergence" not in done.out


def test_where_it_is_asked_for_views_are_left_out_and_a_budget_does_not_count(ptft, pretrained, tmp_path):
    typed = ("finetune.probe=exact", "train.steps=5", f"hydra.run.dir={tmp_path / 'run'}")
    done = ptft(*DIGITS, f"ckpt={pretrained}", *typed)
    assert done.code == 0, done.text
    assert "train.steps=5 does not count" in done.out
    assert summary(tmp_path / "run")["steps"] == 0


EXACT = (*DIGITS, "finetune.probe=exact", "report=false", "predictions=none")


def test_keys_that_say_how_steps_are_taken_are_named_where_none_is(ptft, pretrained, tmp_path):
    keys = ("train.clip=1", "train.ema=0.9", "train.patience=2", "train.every.evaluate=3", "finetune.layer_decay=0.7")
    more = ("finetune.head_init=zero", "dataset.views.shift=1")
    nothing = ("train.average_last=null", "finetune.head=new", "objective.dropout=0")
    done = ptft(*EXACT, f"ckpt={pretrained}", *keys, *more, *nothing, "dry_run=true")
    assert done.code == 0, done.text
    names = [key.partition("=")[0] for key in (*keys, *more)]
    assert f"{', '.join(names[:-1])} and {names[-1]} do not count, as the head is fitted" in done.out


@pytest.mark.parametrize(
    "typed",
    [
        ("finetune.head=keep",),
        ("objective.class_weights=balanced",),
        ("objective.label_smoothing=0.1", "objective.focal=2"),
        ("objective.mixup=0.2",),
        ("objective.dropout=0.1",),
    ],
    ids=lambda typed: typed[0],
)
def test_another_loss_or_a_kept_head_is_refused_where_a_fit_is_asked_for(ptft, pretrained, typed):
    refused(ptft(*EXACT, f"ckpt={pretrained}", *typed), 2, "finetune.probe=exact and", *typed, "finetune.probe=steps")


def test_in_a_comparison_where_they_are_typed_for_all_arms_its_probe_says_so(ptft, pretrained, tmp_path):
    few = ("dataset=digits", "compare.per_class=[2]", "compare.seeds=1", "compare.tune=null", "train.steps=1")
    typed = ("compare.only=[probe]", "objective.label_smoothing=0.1", "report=false", "hydra.run.dir=all")
    done = ptft("stage=compare", f"ckpt={pretrained}", *few, *typed)
    assert done.code == 0, done.text
    (cell,) = (tmp_path / "all" / "cells").glob("probe-*")
    assert "objective.label_smoothing does not count, as the head is fitted" in (cell / "run.log").read_text()


def test_what_has_no_linear_classifier_says_so(ptft, pretrained):
    typed = ("objective=simclr", "finetune.train=head", "finetune.probe=exact", "train.steps=2", "dataset.limit=64")
    done = ptft("stage=finetune", f"ckpt={pretrained}", "dataset=digits", *typed)
    assert done.code == 0, done.text
    assert "objective=simclr has no linear classifier to fit, so it is trained in steps" in done.out


def test_it_is_for_a_head_alone(ptft, pretrained):
    typed = ("stage=finetune", f"ckpt={pretrained}", "dataset=digits", "finetune.probe=exact")
    refused(ptft(*typed), 2, "finetune.probe=exact", "finetune.train=head")


def test_a_dry_run_fits_nothing(ptft, pretrained, tmp_path):
    done = ptft(*PLAIN, f"ckpt={pretrained}", "dry_run=true")
    assert done.code == 0, done.text
    assert "no steps: features are computed once" in done.out
    assert "written    nothing" in done.out


def test_cut_before_it_was_measured_it_goes_on_with_the_same_head(ptft, fitted, tmp_path):
    folder = shutil.copytree(fitted, tmp_path / "run")
    whole = summary(folder)
    assert "nothing to go on with" in ptft(f"resume={folder}").out
    last = folder / "checkpoints" / "last.pt"
    content = checkpoint_file.read(last)[0]
    content["training"]["progress"]["best"] = None
    checkpoint_file.write(last, content)
    (folder / "checkpoints" / "best.pt").unlink()
    (folder / "status.json").write_text(json.dumps({**status(folder), "status": "running"}))
    done = ptft(f"resume={folder}")
    assert done.code == 0, done.text
    assert summary(folder)["metrics"] == whole["metrics"]
