"""A run's evaluations as it is built and continued, whatever it learns, and a patience that can or can't end it."""

import re
import shutil
import signal

import pytest

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.loggers.console import Console, ConsoleLogger
from ptft.train.every import COST, PASSES
from tests.conftest import contents, refused, rows, summary

FAST = ("model.width=8", "model.channels=[4,8]", "precision=fp32", "train.layout=contiguous")
RUN = ("stage=pretrain", "dataset.images=320", "dataset.held_out=40", "train.batch_size=16", *FAST)
SETTLED = ("precision=fp32", "train.layout=contiguous")
IMAGES = (
    *SETTLED,
    "dataset=digits",
    "dataset.limit=320",
    "model=convnet",
    "model.channels=[4,8]",
    "train.batch_size=16",
)
WORDS = (
    *SETTLED,
    "dataset=tones",
    "dataset.count=200",
    "dataset.held_out=20",
    "model=audio_cnn",
    "model.channels=[4,8]",
)
TEXT = (
    *SETTLED,
    "dataset=grammar",
    "dataset.sentences=500",
    "dataset.held_out=40",
    "model.width=32",
    "model.depth=1",
    "model.heads=2",
)

KINDS = {
    "labels": ("dataset=glyphs", "dataset.images=500", "dataset.held_out=40", *FAST),
    "finetune": ("stage=finetune", "ckpt=null", "dataset=digits", *FAST),
    "simclr": (*IMAGES, "objective=simclr", "train.steps=1500"),
    "rotation": (*IMAGES, "objective=rotation", "train.steps=1500"),
    "mirrored": ("dataset=glyphs", "dataset.images=500", "dataset.held_out=40", "objective.tta=flip", *FAST),
    "speech": WORDS,
    "masked words": (*TEXT, "model=bert_tiny", "objective=masked_lm", "train.steps=300"),
    "next words": (*TEXT, "model=gpt_tiny", "objective=causal_lm", "train.steps=300"),
}


@pytest.mark.parametrize("typed", KINDS.values(), ids=KINDS)
def test_whatever_is_learned_is_measured_ten_times_or_as_often_as_a_tenth_of_the_time_allows(typed):
    stage = () if typed[0].startswith("stage=") else ("stage=pretrain",)
    run = build(resolve([*stage, *typed, "dry_run=true"]), Console(quiet=True))
    t, every = run.training, run.training.every
    times = -(-t.total // every.evaluate)
    measured = t.objective.evaluation_size(len(run.inputs.splits["val"]))
    trained = t.total * len(run.inputs.splits["train"]) / len(t.loader)
    share = (times - 1) * measured / (PASSES * trained)
    assert share <= 1 / COST
    assert times >= 10 or (times + 2) * measured / (PASSES * trained) > 1 / COST


def test_a_probe_s_bank_and_mirror_images_are_part_of_what_an_evaluation_costs():
    sizes = {}
    for name in ("simclr", "mirrored", "labels"):
        run = build(resolve(["stage=pretrain", *KINDS[name], "dry_run=true"]), Console(quiet=True))
        val, train = (len(run.inputs.splits[split]) for split in ("val", "train"))
        sizes[name] = run.objective.evaluation_size(val), val, train
    assert sizes["simclr"][0] == sizes["simclr"][1] + sizes["simclr"][2]
    assert sizes["mirrored"][0] == 2 * sizes["mirrored"][1]
    assert sizes["labels"][0] == sizes["labels"][1]


def evaluated(folder):
    return [row["step"] for row in rows(folder) if row["split"] == "val"]


def measured(folder):
    return [(row["step"], row["loss"]) for row in rows(folder) if row["split"] == "val"]


def test_a_hundred_steps_are_measured_several_times_and_the_plan_says_how_often(ptft, tmp_path):
    done = ptft(*RUN, "train.steps=100", "hydra.run.dir=run")
    assert done.code == 0, done.text
    said = re.search(r"evaluate +every (\d+) steps.*, (\d+) times; val/accuracy decides best.pt", done.out)
    every, times = int(said[1]), int(said[2])
    assert len(evaluated(tmp_path / "run")) == times == 10
    assert evaluated(tmp_path / "run") == [*range(every, 100, every), 100]
    stored = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")[0]["config"]
    assert stored["train"]["every"]["evaluate"] == every


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("train.steps=60", "train.every.evaluate=epoch"), "every 20 steps (1 epoch), 3 times"),
        (("train.steps=60", "train.every.evaluate=1"), "every 1 step, 60 times"),
        (("train.minutes=50", "train.every.evaluate=5min"), "every 5 minutes of training; val/accuracy"),
        (("train.minutes=50",), "every 200 steps (10 epochs) or 5 minutes of training; val/accuracy"),
        (("train.steps=5",), "once, at the end; val/accuracy decides best.pt; more often, measuring 40 examples"),
        (("train.minutes=10", "train.every.evaluate=20min"), "once, at the end; val/accuracy"),
        (("dataset.val=null",), "never, as there is no validation split; best.pt is last.pt"),
        (
            ("dataset.val=null", "train.steps=8", "train.every.evaluate=2", "train.average_last=3"),
            "best.pt is the mean of the last 3 weights, 2 steps apart",
        ),
    ],
)
def test_the_plan_says_how_often(ptft, typed, said):
    done = ptft(*RUN, *typed, "dry_run=true")
    assert done.code == 0, done.text
    assert said in " ".join(done.out.split())


@pytest.fixture
def cut(ptft, monkeypatch):
    """`cut(step, …)` runs the command and ends it with SIGTERM after that step."""
    usual = ConsoleLogger.step

    def call(last, *typed):
        def stopping(self, step):
            usual(self, step)
            if step == last:
                signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(ConsoleLogger, "step", stopping)
            assert ptft(*typed).code == 143

    return call


def test_a_run_that_is_continued_is_measured_where_one_is_that_was_not_interrupted(ptft, cut, tmp_path):
    """Cut between two evaluations, and at one."""
    typed = (*RUN, "dataset.held_out=10", "train.steps=20")
    assert ptft(*typed, "hydra.run.dir=whole").code == 0
    whole = measured(tmp_path / "whole")
    assert len(whole) > 3
    for step in (whole[1][0] + 1, whole[2][0]):
        cut(step, *typed, f"hydra.run.dir=cut{step}")
        assert ptft(f"resume=cut{step}").code == 0
        assert measured(tmp_path / f"cut{step}") == whole
        assert summary(tmp_path / f"cut{step}")["best"] == summary(tmp_path / "whole")["best"]


def test_a_run_that_began_when_auto_was_left_open_keeps_what_it_meant(ptft, cut, tmp_path):
    """Whole epochs, 200 steps at the least: never before the end of 10 steps."""
    cut(5, *RUN, "train.steps=10", "hydra.run.dir=run")
    for name, every in {"open": {"evaluate": "auto"}, "absent": {}, "odd": 5}.items():
        run = shutil.copytree(tmp_path / "run", tmp_path / name)
        content = checkpoint_file.read(run / "checkpoints" / "last.pt")[0]
        content["config"]["train"]["every"] = every
        checkpoint_file.write(run / "checkpoints" / "last.pt", content)
        done = ptft(f"resume={name}")
        assert done.code == 0, done.text
        assert evaluated(run) == [10]


def test_a_continued_run_keeps_its_interval_unless_one_is_typed(ptft, tmp_path):
    typed = (*RUN, "dataset.images=64", "train.steps=4", "train.every.evaluate=1")
    assert ptft(*typed, "hydra.run.dir=run").code == 0
    assert ptft("resume=run", "train.steps=6").code == 0
    assert evaluated(tmp_path / "run") == [*range(1, 7)]
    assert ptft("resume=run", "train.steps=16", "train.every.evaluate=epoch").code == 0
    assert evaluated(tmp_path / "run")[6:] == [8, 12, 16]
    done = ptft("resume=run", "train.steps=40", "train.every.evaluate=auto", "train.every.log=500")
    assert done.code == 0
    said = re.search(r"evaluate +every (\d+) steps", done.out)
    assert int(said[1]) > 4


def test_a_run_whose_clock_says_when_it_is_measured_goes_on(ptft, tmp_path):
    assert ptft(*RUN, "train.steps=10", "train.every.evaluate=1e-9min", "hydra.run.dir=run").code == 0
    assert evaluated(tmp_path / "run") == [*range(1, 11)]
    assert ptft("resume=run", "train.steps=12").code == 0
    assert evaluated(tmp_path / "run") == [*range(1, 13)]


PATIENCE = [
    ("train.steps=12", "train.every.evaluate=2", 5),
    ("train.steps=13", "train.every.evaluate=2", 6),
    ("train.steps=40", "train.every.evaluate=epoch", 1),
    ("train.steps=8", "train.every.evaluate=auto", 1),
    ("train.steps=3", "train.every.evaluate=1", 2),
    ("train.steps=1", "train.every.evaluate=1", 1),
    ("train.minutes=10", "train.every.evaluate=3min", 3),
    ("train.minutes=10", "train.every.evaluate=20min", 1),
    ("train.minutes=7", "train.every.evaluate=7min", 40),
]


@pytest.mark.parametrize(("budget", "interval", "patience"), PATIENCE)
def test_a_patience_that_can_t_end_the_run_is_refused_and_its_remedies_work(ptft, tmp_path, budget, interval, patience):
    typed = (*RUN, budget, interval, f"train.patience={patience}")
    result = ptft(*typed)
    refused(result, 2, f"train.patience={patience}: can't end this run", "train.patience=null")
    assert not contents(tmp_path)
    remedies = re.findall(r"(train\.(?:patience|every\.evaluate)=[\w.-]+)(?=,| or|$)", result.err.split("; type ")[1])
    assert remedies
    for remedy in remedies:
        done = ptft(*typed, remedy, "dry_run=true")
        assert done.code == 0, f"{remedy}: {done.text}"


def test_a_patience_of_one_less_can_end_the_run(ptft, tmp_path):
    """The loss does not move, so the first evaluation stays the best: the last step but one is the end."""
    typed = (*RUN, "optimizer.lr=1e-12", "train.steps=13", "train.every.evaluate=2")
    done = ptft(*typed, "train.patience=5", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "train.patience=5 ended it" in " ".join(done.out.split())
    assert summary(tmp_path / "run")["steps"] == 12
    refused(
        ptft("resume=run", "train.patience=9"), 2, "train.patience=9: can't end this run", "has 0 more before its end"
    )
    refused(ptft("resume=run", "train.patience=9", "train.steps=19"), 2, "has 3 more", "type train.patience=8,")
    assert summary(tmp_path / "run")["steps"] == 12
    done = ptft("resume=run", "train.patience=8", "train.steps=19")
    assert done.code == 0, done.text
    assert summary(tmp_path / "run")["steps"] == 18


def test_the_usual_patience_works_with_the_interval_that_is_the_default(ptft, tmp_path):
    done = ptft(*RUN, "train.epochs=6", "train.patience=2", "optimizer.lr=1e-12", "hydra.run.dir=run")
    assert done.code == 0, done.text
    ended = summary(tmp_path / "run")["steps"]
    assert ended < 6 * 20
    best = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "best.pt")[0]["progress"]
    assert best["epoch"] < ended // 20
    (test,) = (row for row in rows(tmp_path / "run") if row["split"] == "test")
    assert [test[key] for key in ("step", "epoch")] == [best["step"], best["epoch"]], "it is of the best weights"


def test_without_a_validation_split_nothing_is_to_be_patient_with(ptft):
    refused(ptft(*RUN, "dataset.val=null", "train.patience=1"), 2, "no validation split", "train.patience=null")


@pytest.mark.parametrize("interval", ["0", "epochs", "5", "5minutes", "0min", "[1]", "null", "1.5"])
def test_an_interval_is_steps_an_epoch_minutes_or_auto(ptft, interval):
    result = ptft(*RUN, f"train.every.evaluate={interval}", "dry_run=true")
    if interval == "5":
        assert result.code == 0
    else:
        refused(result, 2, "train.every.evaluate=", "a number of steps, epoch, minutes of training like 5min, or auto")


def test_the_mean_of_the_last_evaluations_needs_to_know_which_these_are(ptft):
    refused(ptft(*RUN, "train.average_last=2", "train.every.evaluate=5min"), 2, "train.average_last=2", "epoch")
    assert ptft(*RUN, "train.average_last=2", "train.every.evaluate=epoch", "dry_run=true").code == 0


TOO_SHORT = [
    (("train.steps=8", "schedule.warmup=8"), "schedule.warmup=8: a run of 8 steps (train.steps=8) ends before"),
    (("train.epochs=2", "schedule=cosine", "schedule.warmup=99"), "a run of 40 steps (train.epochs=2) ends before"),
    (("train.budget.epochs=1", "schedule.warmup=20"), "a run of 20 steps (train.budget) ends before"),
    (("train.steps=50", "train.epochs=1", "schedule.warmup=20"), "a run of 20 steps (train.epochs=1) ends before"),
    (("train.steps=8", "train.every.evaluate=8", "train.average_last=2"), "train.average_last=2: a run of 8 steps"),
]


@pytest.mark.parametrize(("typed", "said"), TOO_SHORT)
def test_what_never_comes_in_a_run_is_refused(ptft, tmp_path, typed, said):
    refused(ptft(*RUN, *typed), 2, said)
    assert not contents(tmp_path)


def test_what_just_fits_into_a_run_does_and_an_average_of_fewer_is_said(ptft):
    done = ptft(
        *RUN, "train.steps=8", "schedule.warmup=7", "train.every.evaluate=4", "train.average_last=3", "dry_run=true"
    )
    assert done.code == 0, done.text
    assert "the run is evaluated 2 times, so the mean is of those" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("ends", "left_out"), [((0.21, 0.25, 1), "phase 2, until 0.25"), ((0.95, 1), "phase 2, until 1")]
)
def test_a_phase_without_a_step_is_refused(ptft, ends, left_out):
    plan = ", ".join(f"{{until: {end}, train: {'all' if i % 2 else 'head'}}}" for i, end in enumerate(ends))
    typed = ("stage=finetune", "ckpt=null", "dataset=glyphs", *RUN[1:], f"finetune.train=[{plan}]")
    refused(ptft(*typed, "train.steps=10"), 2, f"finetune.train: its {left_out}, has no step in a run of 10 steps")
    assert ptft(*typed, "train.steps=40", "dry_run=true").code == 0


def test_a_run_that_is_continued_with_fewer_steps_than_its_warm_up_says_so(ptft, tmp_path):
    assert ptft(*RUN, "train.steps=6", "schedule.warmup=5", "hydra.run.dir=run", "report=false").code == 0
    content = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")[0]
    content["config"]["schedule"]["warmup"] = 30
    checkpoint_file.write(tmp_path / "run" / "checkpoints" / "last.pt", content)
    done = ptft("resume=run", "train.steps=7")
    assert done.code == 0, done.text
    assert "schedule.warmup=30: a run of 7 steps (train.steps=7) ends before" in " ".join(done.out.split())
