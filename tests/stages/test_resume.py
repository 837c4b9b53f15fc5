"""A run that was cut anywhere and continued equals the one that was not, bit for bit."""

import errno
import math
import os
import random
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.runtime.rng import rng_state
from ptft.stages import train
from ptft.stages.messages import to_resume
from ptft.train.loop import fit
from tests.conftest import NET, ROOT, contents, refused, rows, status, summary, transfer

TRUSTED = "trusted=[tests.helpers.self_killing]"
RECIPE = (
    "stage=pretrain",
    "model._target_=tests.helpers.self_killing.Net",  # batch statistics
    "objective._target_=tests.helpers.self_killing.SelfKilling",
    TRUSTED,
    "model.channels=[4,6]",
    "model.width=12",
    "objective.dropout=0.2",
    "objective.mixup=0.3",
    "dataset.views.rotate=10",
    "dataset.views.scale=0.1",
    "dataset.views.shift=1",
    "optimizer.lr=3e-3",
    "train.ema=0.9",
    "train.accumulate=2",
    "train.batch_size=16",
    "train.epochs=2",
    "train.every.log=3",
    "train.every.evaluate=4",
    "train.every.save=5",
    "device=cpu",
)
GLYPHS = (*RECIPE, "dataset.images=154", "dataset.held_out=40", "dataset.size=12")
"""20 steps in two epochs; the last batch of an epoch is a short one."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The folder of the run that nothing interrupts."""
    return tmp_path_factory.mktemp("reference") / "run"


@pytest.fixture
def whole(reference, ptft):
    """The reference, made by the first test that needs it."""
    if not reference.exists():
        done = ptft(*GLYPHS, f"hydra.run.dir={reference}")
        assert done.code == 0, done.text
    return reference


@pytest.fixture
def cut(process):
    """`cut(moment, *arguments)` runs a process that ends itself at the moment."""
    return lambda moment, *arguments: process(*arguments, env={"KILL_AT": moment})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of the run that is ended mid-epoch."""
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture
def half(stopped, ptft, tmp_path, monkeypatch):
    """A copy of the reference's run as it was at step 14, mid-epoch, to be continued."""
    if not stopped.exists():
        monkeypatch.setenv("KILL_AT", "SIGTERM step 14")
        assert ptft(*GLYPHS, f"hydra.run.dir={stopped}").code == 143
    return shutil.copytree(stopped, tmp_path / "half")


def same(one, other) -> bool:
    """Equality of plain data, of tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def state(folder, name="last.pt"):
    """What a checkpoint holds of the training, without what measures time."""
    content, _ = checkpoint_file.read(folder / "checkpoints" / name)
    training = content.get("training")
    for progress in [content["progress"], *([training["progress"]] if training else [])]:
        del progress["seconds"], progress["waited"]
    return {key: content[key] for key in ("weights", "progress", "fingerprint")} | {"training": training}


def losses(folder, *splits):
    """Step, epoch, every metric and rate of a run's rows, floats to the bit; without the time."""
    return [
        {key: value.hex() if isinstance(value, float) else value for key, value in row.items() if key != "seconds"}
        for row in rows(folder)
        if row["split"] in (splits or ("train", "val", "test"))
    ]


def assert_same_run(folder, whole):
    for name in ("last.pt", "best.pt"):
        found, expected = state(folder, name), state(whole, name)
        assert not [key for key in expected if not same(found[key], expected[key])]
    assert losses(folder) == losses(whole)
    assert summary(folder)["metrics"] == summary(whole)["metrics"]
    assert status(folder)["status"] == "finished"


LATE = random.Random(0).randrange(17, 20)
MOMENTS = ["step 1", "save 2", "step 10", "evaluate 16", f"step {LATE}"]
"""The first step, between best.pt and last.pt, the last batch of an epoch, an evaluation, anywhere."""


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_equals_the_whole_one(ptft, cut, whole, tmp_path):
    run = tmp_path / "run"
    begin, go_on = (*GLYPHS, f"hydra.run.dir={run}"), (f"resume={run}", TRUSTED)
    for number, moment in enumerate(MOMENTS):
        assert cut(f"SIGKILL {moment}", *(go_on if number else begin)).code == -9
        assert status(run)["status"] == "running"
    assert ptft(f"resume={run}", TRUSTED).code == 0
    assert_same_run(run, whole)


@pytest.mark.slow
def test_a_killed_run_that_reads_files_in_workers_equals_the_whole_one(ptft, cut, tmp_path):
    pictures(tmp_path / "pictures")
    arguments = (
        *(text for text in RECIPE if "stage=" not in text and "=10" not in text),
        "stage=pretrain",
        "dataset=image_folder",
        f"dataset.root={tmp_path / 'pictures'}",
        "dataset.size=12",
        "dataset.cache=off",
        "train.workers=2",
        "train.batch_size=8",
        "train.every.evaluate=6",
    )
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert ptft(*arguments, f"hydra.run.dir={whole}").code == 0
    assert cut("SIGKILL step 8", *arguments, f"hydra.run.dir={run}").code == -9
    assert ptft(f"resume={run}", TRUSTED, "train.workers=0").code == 0
    assert_same_run(run, whole)


def pictures(root):
    """A folder of 48 noisy colour images of two classes, for training and validation."""
    noise = random.Random(0)
    for split, count in (("train", 24), ("val", 6)):
        for label, base in (("dark", 40), ("light", 160)):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (14, 14))
                image.putdata([tuple(base + noise.randrange(90) for _ in range(3)) for _ in range(196)])
                image.save(root / split / label / f"{i:02}.png")


@pytest.mark.parametrize(
    ("signal", "code", "moment"),
    [
        ("SIGTERM", 143, "step 1"),
        ("SIGINT", 130, "step 8"),
        ("SIGTERM", 143, "evaluate 8"),
        ("SIGHUP", 143, "step 9"),
        ("SIGINT", 130, "step 20"),
    ],
)
def test_a_signal_saves_the_state_and_the_run_goes_on_as_if_nothing_was(
    ptft, whole, tmp_path, monkeypatch, signal, code, moment
):
    run, step = tmp_path / "run", int(moment.split()[1])
    monkeypatch.setenv("KILL_AT", f"{signal} {moment}")
    refused(ptft(*GLYPHS, f"hydra.run.dir={run}"), code, f"{signal} at step {step};", "ptft resume=run")
    assert status(run)["status"] == summary(run)["status"] == "interrupted"
    assert summary(run)["metrics"]["train"]["loss"] > 0
    assert state(run)["progress"]["step"] == step
    assert ptft(f"resume={run}", TRUSTED).code == 0
    assert_same_run(run, whole)


@pytest.mark.parametrize(("pause", "step"), [("0.4", 8), ("9", 8), ("11", 12)])
def test_a_run_that_pauses_at_an_evaluation_goes_on_as_if_nothing_was(ptft, whole, tmp_path, pause, step):
    run = tmp_path / "run"
    done = ptft(*GLYPHS, f"train.pause={pause}", f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    assert f"paused at step {step} of 20 (train.pause={pause})" in done.out
    assert done.out.splitlines()[-1] == f"next    ptft resume=run '{TRUSTED}'"
    assert status(run)["status"] == summary(run)["status"] == "interrupted"
    assert status(run)["paused"]["value"] == summary(run)["best"]["value"]
    assert state(run)["progress"]["step"] == state(run)["progress"]["evaluated"] == step
    before = state(run)
    assert ptft(f"resume={run}", TRUSTED, f"train.pause={pause}").code == 0, "it is there already"
    assert state(run)["progress"] == before["progress"]
    assert ptft(f"resume={run}", TRUSTED).code == 0
    assert_same_run(run, whole)


def test_a_sweep_that_pauses_ends_well_and_goes_on(ptft, whole, tmp_path):
    sweep = ("-m", *GLYPHS, "train.pause=8", "optimizer.lr=3e-3,1e-3", "hydra.sweep.dir=swept")
    done = ptft(*sweep)
    assert done.code == 0, done.text
    assert done.out.count("paused at step 8 of 20 (train.pause=8), ") == 2, "each job says so as it ends"
    assert "job 0 interrupted: paused at step 8 of 20 (train.pause=8)" in done.out
    assert f"continue  ptft resume=swept '{TRUSTED}'" in done.out
    refused(ptft("stage=evaluate", "ckpt=swept", TRUSTED), 4, "ckpt=swept: is a sweep, whose runs are ", "results.csv")
    (tmp_path / "swept/1/checkpoints/last.pt").write_bytes(b"")
    done = ptft("resume=swept", TRUSTED)
    assert done.code == 1, "one that can't go on is no pause"
    assert_same_run(tmp_path / "swept" / "0", whole)


def test_a_pause_behind_the_end_is_said_and_changes_nothing(ptft, whole, tmp_path):
    done = ptft(*GLYPHS, "train.pause=20", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0
    assert "train.pause=20: the run ends at step 20, so it does not pause" in done.out
    assert_same_run(tmp_path / "run", whole)


def test_a_run_that_was_cut_behind_its_last_save_has_the_whole_one_s_summary(ptft, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "status.json").write_text("{}")
    (run / "summary.json").unlink()
    assert ptft(f"resume={run}", TRUSTED).code == 0
    assert_same_run(run, whole)


def test_a_signal_reaches_a_real_process(cut, tmp_path):
    run = tmp_path / "run"
    refused(cut("SIGTERM evaluate 4", *GLYPHS, f"hydra.run.dir={run}"), 143, "SIGTERM at step 4;")
    assert state(run)["progress"]["step"] == 4


def leave_out_nothing(training):
    """The control of the controls."""


def leave_out_the_generators(training):
    torch.manual_seed(1)
    training["rng"] = rng_state(torch.device("cpu"))


def leave_out_the_moments(training):
    training["optimizer"]["state"] = {}


def leave_out_the_average(training):
    average = training["ema"]["weights"]
    training["ema"]["weights"] = {name: training["raw_weights"][name].clone() for name in average}


def leave_out_the_averages_age(training):
    training["ema"]["updates"] = 0


def leave_out_the_raw_weights(training):
    training["raw_weights"] = None


def leave_out_the_batch_statistics(training):
    training["raw_weights"]["backbone.conv2.1.running_mean"].zero_()


def leave_out_the_batch(training):
    training["progress"]["batch"] = 0


def leave_out_the_epoch(training):
    training["progress"]["epoch"] = 0


def leave_out_the_step(training):
    training["progress"]["step"] = 12


def leave_out_the_best(training):
    training["progress"]["best"] = 2.0  # an accuracy that nothing reaches; None shows only if what follows is worse


def leave_out_the_sums_since_the_last_log(training):
    training["window"] = {}


LEFT_OUT = [value for name, value in globals().items() if name.startswith("leave_out")]


@pytest.mark.parametrize("leave_out", LEFT_OUT, ids=lambda function: function.__name__)
def test_a_piece_of_state_that_is_left_out_is_noticed(ptft, whole, half, leave_out):
    path = half / "checkpoints" / "last.pt"
    content, _ = checkpoint_file.read(path)
    leave_out(content["training"])
    checkpoint_file.write(path, content)
    assert ptft(f"resume={half}", TRUSTED).code == 0
    if leave_out is leave_out_nothing:
        assert_same_run(half, whole)
    else:
        with pytest.raises(AssertionError):
            assert_same_run(half, whole)


def test_a_finished_run_is_complete_and_stays_as_it_is(ptft, whole):
    before = contents(whole)
    for typed, key in (([], "epochs"), (["train.epochs=2"], "epochs"), (["train.epochs=9", "train.steps=20"], "steps")):
        done = ptft(f"resume={whole}", TRUSTED, *typed)
        assert done.code == 0
        assert f"complete at step 20, epoch 2; raise train.{key} to go on" in done.out
    assert contents(whole) == before


def test_more_epochs_follow_the_new_budget_and_say_so(ptft, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    done = ptft(f"resume={run}", TRUSTED, "train.epochs=3")
    assert done.code == 0
    assert "continues at step 20: epoch 2, batch 0; the schedule follows a budget of 30 steps" in done.out
    assert state(run)["progress"]["step"] == summary(run)["steps"] == 30
    assert losses(run, "train")[: len(losses(whole, "train"))] == losses(whole, "train")
    assert [row["split"] for row in rows(run)].count("test") == 1
    rate = [row["lr"] for row in rows(run) if row["split"] == "train" and row["step"] == 24]
    progress = (23 - 0.3 * 30) / (30 - 0.3 * 30)
    assert rate == [pytest.approx(3e-3 * (1 + math.cos(math.pi * progress)) / 2)]


@pytest.mark.parametrize("ending", ["signal", "disk", "typed"])
def test_a_finished_run_whose_continuation_takes_no_step_stays_as_it_is(ptft, whole, tmp_path, monkeypatch, ending):
    """Ended by a signal, by a disk that is full, by a key that makes it another run; after a step it is interrupted."""
    run, went_on = shutil.copytree(whole, tmp_path / "run"), ("train.epochs=3", TRUSTED)
    kept = [name for name in contents(run) if not name.endswith("run.log")]
    before = {name: contents(run)[name] for name in kept}
    if ending == "signal":
        monkeypatch.setattr(train, "fit", lambda t, *rest: (os.kill(os.getpid(), signal.SIGINT), fit(t, *rest))[1])
        refused(ptft(f"resume={run}", *went_on), 130, "SIGINT at step 20", "the run stays finished")
    elif ending == "disk":
        monkeypatch.setattr(train, "fit", lambda *rest: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full", "x")))
        refused(ptft(f"resume={run}", *went_on), 5, "full")
    else:
        refused(ptft(f"resume={run}", *went_on, "optimizer.lr=9"), 2, "optimizer.lr")
    assert {name: contents(run)[name] for name in kept} == before
    monkeypatch.undo()
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("KILL_AT", "SIGINT step 22")
    assert ptft(f"resume={run}", *went_on).code == 130
    assert status(run)["status"] == summary(run)["status"] == "interrupted"


def test_a_limit_that_is_typed_leaves_the_others_unless_they_are_reached(ptft, tmp_path):
    """4 steps an epoch, so the two epochs end it at step 8."""
    small = ("dataset.images=64", "dataset.held_out=8", "train.batch_size=16", "model.channels=[2,2]", "model.width=4")
    run = ("stage=pretrain", *small, "precision=fp32", "report=false", "hydra.run.dir=run")
    assert ptft(*run, "train.steps=3", "train.epochs=2").code == 0
    done = ptft("resume=run", "train.steps=100")
    assert "train.epochs=2 of the run counts beside train.steps=100" in " ".join(done.out.split())
    assert summary(tmp_path / "run")["steps"] == 8
    kept = resolve(["resume=run", "train.minutes=10"]).config.train
    assert (kept.steps, kept.epochs, kept.minutes) == (100, None, 10)
    done = ptft("resume=run", "train.steps=9")
    assert "train.epochs=2 of the run is reached, so it gives way to train.steps=9" in " ".join(done.out.split())
    assert summary(tmp_path / "run")["steps"] == 9
    assert resolve(["resume=run", "train.steps=12", "train.epochs=null"]).notes == ()


def test_a_limit_takes_the_place_of_a_budget_that_nobody_typed(pretrained, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run")
    content = checkpoint_file.read(run / "checkpoints" / "last.pt")[0]
    content["config"]["train"]["steps"] = None
    checkpoint_file.write(run / "checkpoints" / "last.pt", content)
    job = resolve([f"resume={run}", "train.minutes=10"])
    assert (job.config.train.epochs, job.config.train.steps, job.config.train.minutes) == (None, None, 10)
    assert job.notes == ("train.minutes=10 takes the place of the stage's own budget (train.budget)",)


def test_what_would_make_it_another_run_is_a_table_of_differences(ptft, half):
    before = contents(half)
    typed = ["optimizer=sgd", "train.batch_size=32", "seed=1", "dataset.size=16"]
    done = ptft(f"resume={half}", TRUSTED, *typed)
    refused(done, 2, "the run has adamw, you typed sgd", "train.batch_size: the run has 16, you typed 32")
    assert len([line for line in done.err.splitlines() if "the run has" in line]) == len(typed)
    refused(ptft(f"resume={half}", TRUSTED, "train.batchsize=3"), 2, "train.batchsize", "train.batch_size")
    assert contents(half) == before


def test_the_same_value_typed_again_is_no_difference(ptft, half):
    assert ptft(f"resume={half}", TRUSTED, "optimizer.lr=0.003", "optimizer=adamw", "train.steps=16").code == 0


def test_a_run_that_was_moved_goes_on_where_it_is(ptft, whole, half, tmp_path):
    moved = tmp_path / "another place, with=signs" / "run"
    moved.parent.mkdir()
    half.rename(moved)
    assert ptft(f"resume={moved / 'checkpoints' / 'last.pt'}", TRUSTED).code == 0
    assert_same_run(moved, whole)
    assert not half.exists()


def test_a_dataset_that_changed_is_refused(ptft, process, tmp_path):
    pictures(tmp_path / "pictures")
    run = tmp_path / "run"
    data = ("dataset=image_folder", f"dataset.root={tmp_path / 'pictures'}", "dataset.size=12")
    small = ("model.channels=[2,2]", "model.width=4", "train.steps=2")
    assert ptft("stage=pretrain", *data, *small, f"hydra.run.dir={run}").code == 0
    (tmp_path / "pictures" / "train" / "dark" / "00.png").unlink()
    os.utime(run / "status.json", (1, 1))
    before = [(run / name).read_bytes() for name in ("checkpoints/last.pt", "status.json")]
    refused(ptft(f"resume={run}", "train.steps=4"), 3, "the dataset changed", "fingerprint", str(run))
    assert [(run / name).read_bytes() for name in ("checkpoints/last.pt", "status.json")] == before
    assert (run / "status.json").stat().st_mtime == 1  # nothing was trained, so it is not the newest run now


def test_files_that_others_took_the_place_of_are_said(ptft):
    """A fingerprint knows names and sizes alone."""

    def drawn(seed, count):
        draws = np.random.default_rng(seed)
        for i in range(count):
            path = Path("pictures", "ab"[i % 2], f"{i}.bmp")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 255, (12, 12), np.uint8)).save(path)

    drawn(0, 40)
    typed = ("dataset=image_folder", "dataset.root=pictures", "dataset.val=null", "dataset.test=null", *NET)
    assert ptft("stage=pretrain", *typed, "train.steps=2", "hydra.run.dir=run").code == 0
    drawn(0, 40)
    assert "were replaced" not in ptft("resume=run", "train.steps=3").text
    drawn(1, 7)
    said = ptft("resume=run", "train.steps=4").text
    assert "images to train on are not what" in said, said
    assert "was trained on: files were replaced" in said
    count = int(re.search(r"(\d+) of \d+ images to train on", said)[1])
    assert 0 < count <= 7


WAYS = {
    "last": ("finetune.train=last:1", "finetune.layer_decay=0.5"),
    "phases": ("finetune.train=[{until: 0.3, train: head}, {until: 0.6, train: all}, {until: 1, train: bias}]",),
    "l2sp": ("finetune.l2sp=0.5", "finetune.head_init=probe", "optimizer=sgd", "optimizer.lr=0.01"),
    "lora": ("finetune.lora.rank=2", "finetune.lora.targets=all", "finetune.lora.dropout=0.1", "optimizer=muon"),
    "lora ema": ("finetune.lora.rank=2", "finetune.lora.targets=[dense]", "train.ema=0.9"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_finetune_is_continued_with_its_parent_and_its_frozen_parts(ptft, pretrained, tmp_path, monkeypatch, way):
    small = ("dataset.limit=80", "train.batch_size=16", "train.epochs=2", "train.every.evaluate=4", "train.every.log=2")
    small += ("dataset.val=0.05", "dataset.test=0.05")
    arguments = ("stage=finetune", f"ckpt={pretrained}", *WAYS[way], *small)
    killing = ("objective._target_=tests.helpers.self_killing.SelfKilling", TRUSTED)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert ptft(*arguments, *killing, f"hydra.run.dir={whole}").code == 0
    monkeypatch.setenv("KILL_AT", "SIGTERM step 5")
    assert ptft(*arguments, *killing, f"hydra.run.dir={run}").code == 143
    assert ptft(f"resume={run}", TRUSTED).code == 0
    assert_same_run(run, whole)
    assert summary(run)["parent"] == summary(whole)["parent"]
    assert transfer(run) == transfer(whole)


def test_what_can_not_be_continued_is_said(ptft, pretrained, tmp_path):
    refused(ptft(f"resume={pretrained}", f"ckpt={pretrained}"), 2, "resume=", "ckpt=")
    best = pretrained / "checkpoints" / "best.pt"
    refused(ptft(f"resume={best}"), 4, "best.pt", "can't be continued", "ckpt=")
    stray = tmp_path / "elsewhere" / "last.pt"
    stray.parent.mkdir()
    shutil.copy(pretrained / "checkpoints" / "last.pt", stray)
    refused(ptft(f"resume={stray}", "train.steps=40"), 4, str(stray), "not in the folder of a run")
    assert contents(stray.parent).keys() == {"last.pt"}
    refused(ptft("resume=nowhere"), 4, str(tmp_path / "nowhere"))


def test_the_command_that_continues_says_again_what_only_a_command_line_may(tmp_path):
    job = resolve(["stage=pretrain", "trusted=[my_net]", "train.steps=3"])
    assert to_resume(job, tmp_path / "run") == "ptft resume=run 'trusted=[my_net]'"
    assert to_resume(resolve(["stage=pretrain"]), tmp_path / "run") == "ptft resume=run"


@pytest.mark.parametrize("taken", ["train.ema", "train.clip", "dataset.limit", "logger.tensorboard"])
def test_what_is_taken_away_would_make_it_another_run(ptft, pretrained, taken):
    before = contents(pretrained)
    refused(ptft(f"resume={pretrained}", "train.steps=30", f"~{taken}"), 2, f"~{taken}: takes away", f"{taken}=null")
    assert contents(pretrained) == before
