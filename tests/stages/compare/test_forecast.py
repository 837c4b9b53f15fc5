"""`compare.forecast=true`: what more labels and more pretraining would bring, in words, in a table and as data."""

import json
import random
from pathlib import Path

from ptft.checkpoint.load import open_checkpoint
from ptft.stages.compare.design import Design
from ptft.stages.compare.forecast import forecast, pretraining, sentences
from ptft.stages.compare.forecast import table as lines_of
from ptft.stages.compare.results import Measure, compared
from tests.conftest import FEW, GLYPHS, NET, refused

ACCURACY = Measure("accuracy", "max", "test")
AMOUNTS = (1, 2, 5, 10, 20)


def foreseen(error, by=ACCURACY, arms=("scratch", "finetune"), started=None, amounts=AMOUNTS):
    """The forecast of a comparison whose arms err as `error(arm, amount)` says, give or take a twentieth."""
    design = Design({arm: [] for arm in arms}, arms[0], "per_class", list(amounts), [*range(5)], [None])
    draw, records = random.Random(0), []
    for arm in arms:
        for amount in amounts:
            for seed in range(5):
                wrong = error(arm, amount) * draw.gauss(1, 0.05)
                value = 1 - wrong if by.mode == "max" else wrong
                records.append({"arm": arm, "amount": amount, "seed": seed, "lr": None, "value": value, "val": value})
    found = forecast(design, compared(design, records, by), by, started or {})
    return found, sentences(design, found, by), lines_of(design, found, by)


def test_a_head_start_that_fades_is_said_to_fade():
    found, said, _ = foreseen(lambda arm, n: 0.6 * n**-0.5 if arm == "scratch" else 0.2 * n**-0.05)
    (far,) = [line for line in found.lines if line.arm == "finetune" and line.amount == 200]
    assert far.gain.high < 0, "scratch errs in 4.2 % by then, finetune in 15 %"
    assert any("with 200 labels per class finetune is worse beside scratch" in sentence for sentence in said)


def test_a_head_start_that_lasts_pays_and_is_worth_its_labels():
    found, said, (header, cells) = foreseen(lambda arm, n: (0.6 if arm == "scratch" else 0.1) * n**-0.5)
    near, far = (found.lines[-3], found.lines[-1])
    assert (near.amount, far.amount) == (40, 200)
    assert far.gain.low > 0
    assert far.value.low < 1 - 0.1 * 200**-0.5 < far.value.high
    assert found.needed["finetune"].low < 720 < found.needed["finetune"].high, (
        "a sixth of the error is 36 times the labels"
    )
    assert any("for what finetune has with 20 labels per class, scratch needs" in sentence for sentence in said)
    assert any("finetune still pays" in sentence for sentence in said)
    assert all(len(row) == len(header) for row in cells)


def test_a_gain_is_of_curves_that_both_fit_what_was_measured():
    found, _, _ = foreseen(lambda arm, n: 0.2 + 0.5 / n if arm == "scratch" else 0.05 + 0.05 / n)
    far = found.lines[-1].gain
    assert far.middle > 0.1, "scratch ends above 20 %, which one that falls without end does not show"


def test_a_loss_falls_as_an_error_does():
    found, said, _ = foreseen(
        lambda arm, n: (2.0 if arm == "scratch" else 0.4) * n**-0.3, Measure("loss", "min", "val")
    )
    assert found.lines[-1].gain.high < 0, "less of it is better"
    assert any("still pays" in sentence for sentence in said)


def test_more_pretraining_is_foreseen_from_checkpoints_of_one():
    parts = dict.fromkeys(("model", "dataset", "objective", "optimizer", "ckpt"), "the same")
    started = {
        arm: {"pretrained": True, "pretraining": {"of": "the same", "parts": {**parts}, "steps": steps}}
        for arm, steps in (("short", 100), ("middle", 400), ("long", 1600))
    }
    errors = {"scratch": 0.5, "short": 0.4, "middle": 0.2, "long": 0.1}
    found, said, _ = foreseen(lambda arm, n: errors[arm] * n**-0.2, arms=tuple(errors), started=started)
    (line,) = [line for line in found.lines if line.what == "pretraining" and line.amount == 3200]
    assert line.arm == "long"
    assert line.gain.low > 0
    assert any("16,000 steps of pretraining long still pays beside what it has now" in sentence for sentence in said)
    started["middle"]["pretraining"] |= {"of": "another", "parts": {**parts, "optimizer": "another"}}
    found, said, _ = foreseen(lambda arm, n: 0.5, arms=tuple(errors), started=started)
    assert not [line for line in found.lines if line.what == "pretraining"]
    why = "the pretrainings of short, middle, long differ in optimizer, not in their steps alone"
    assert f"no forecast of more pretraining: {why}" in said


def test_a_metric_without_an_end_has_no_forecast():
    found, said, _ = foreseen(lambda arm, n: n**-0.5, Measure("reward", "max", "val"))
    assert not found.lines
    assert said == ["no forecast: reward has no end that it could come near"]


SCATTERED = {
    "scratch": ([0.26, 0.24, 0.11], [0.24, 0.12, 0.16], [0.25, 0.14, 0.18]),
    "finetune": ([0.53, 0.23, 0.06], [0.58, 0.23, 0.14], [0.57, 0.16, 0.12]),
}
"""Accuracies of three amounts with three seeds each that say little."""


def test_a_share_lies_within_0_and_1_and_what_says_nothing_is_called_so():
    amounts, seeds = [1, 3, 5], [0, 1, 2]
    design = Design({arm: [] for arm in SCATTERED}, "scratch", "per_class", amounts, seeds, [None])
    records = [
        {"arm": arm, "amount": amount, "seed": seed, "lr": None, "value": value, "val": value}
        for arm, rows in SCATTERED.items()
        for amount, values in zip(amounts, rows, strict=True)
        for seed, value in zip(seeds, values, strict=True)
    ]
    found = forecast(design, compared(design, records, ACCURACY), ACCURACY, {})
    assert all(0 <= end <= 1 for line in found.lines for end in line.value)
    gains = [line.gain for line in found.lines if line.gain]
    assert all(-1 <= end <= 1 for gain in gains for end in gain)
    assert gains[-1].low < -0.3, "no bound makes it sure"
    assert gains[-1].high > 0.5
    said = " ".join(sentences(design, found, ACCURACY))
    assert "with 50 labels per class finetune may bring anything, so that nothing is known, beside scratch" in said
    assert "nothing is known of test accuracy with 50 labels per class" in said
    assert "scratch needs a number that can't be told from these (" in said


def test_the_stage_says_and_writes_it(ptft, pretrained):
    starts = {}
    for steps in (2, 4, 8):
        done = ptft("stage=pretrain", *GLYPHS, *NET, f"train.steps={steps}", f"hydra.run.dir=p{steps}")
        assert done.code == 0, done.text
        starts[steps] = f"compare.arms.p{steps}=ckpt=p{steps}"
    asked = ("compare.seeds=1", "compare.tune=null", "train.steps=4", "compare.forecast=true", "precision=fp32")
    only = ("compare.only=[p2,p4,p8]", "compare.per_class=[1,2,4]", "train.layout=contiguous")
    done = ptft("stage=compare", "ckpt=p8", *starts.values(), *only, *asked, "hydra.run.dir=compared")
    assert done.code == 0, done.text
    written = json.loads(Path("compared/compare.json").read_text())
    lines = written["forecast"]["lines"]
    assert {(line["what"], line["arm"]) for line in lines} == {("labels", "scratch")} | {
        ("labels", arm) for arm in ("p2", "p4", "p8")
    } | {("pretraining", "p8")}
    assert all(line["value"]["low"] <= line["value"]["middle"] <= line["value"]["high"] for line in lines)
    assert "80 steps of pretraining" in done.out
    assert "8 labels per class" in done.out


def test_pretrainings_are_one_where_only_their_length_differs(ptft):
    def one(*typed):
        folder = "-".join(["run", *(text.rpartition("=")[2] for text in typed)])
        done = ptft("stage=pretrain", *FEW, *NET, "precision=fp32", *typed, f"hydra.run.dir={folder}")
        assert done.code == 0, done.text
        return pretraining(open_checkpoint(folder))["of"]

    first = one("train.steps=1")
    assert one("train.steps=3", "train.every.evaluate=1") == first
    for typed in ("optimizer.lr=0.01", "schedule=constant", "precision=bf16", "ckpt=run-1", "dataset.size=20"):
        assert one("train.steps=2", typed) != first, typed


def test_two_amounts_are_refused_before_anything_trains(ptft, pretrained):
    done = ptft("stage=compare", f"ckpt={pretrained}", "compare.per_class=[1,5]", "compare.forecast=true")
    refused(done, 2, "compare.forecast", "at least 3")
