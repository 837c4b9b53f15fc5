"""`logger=tensorboard`: the same curves as metrics.jsonl, through a resume too."""

import json

import pytest

from tests.conftest import SMALL, refused, rows

pytest.importorskip("tensorboard")


def curves(folder):
    """Tag -> [(step, value)] of every event file of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def shown(folder, kind):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator.Tags()[kind]


def expected(folder, split, name):
    return [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows(folder) if row["split"] == split]


def test_every_metric_is_a_curve(ptft, tmp_path):
    run = tmp_path / "run"
    assert ptft("stage=pretrain", *SMALL, "train.every.log=5", "logger=tensorboard", f"hydra.run.dir={run}").code == 0
    drawn = curves(run)
    for split, name in (("train", "loss"), ("val", "accuracy"), ("test", "macro_f1")):
        assert drawn[f"{split}/{name}"] == expected(run, split, name)
    assert drawn["lr"] == expected(run, "train", "lr")
    assert {"confusion/val", "confusion/test", "predictions/test"} <= set(shown(run, "images"))
    assert {"configuration/text_summary", "predictions/val/text_summary"} <= set(shown(run, "tensors"))
    (events,) = (run / "tensorboard").iterdir()
    assert b"_hparams_/session_start_info" in events.read_bytes()


def test_a_run_that_goes_on_goes_on_in_its_curves(ptft, tmp_path):
    run = tmp_path / "run"
    typed = ["stage=pretrain", *SMALL, "train.every.log=5", "logger=tensorboard", f"hydra.run.dir={run}"]
    assert ptft(*typed).code == 0
    assert ptft(f"resume={run}", "train.steps=30").code == 0
    drawn = curves(run)
    assert [step for step, _ in drawn["train/loss"]] == [5, 10, 15, 20, 25, 30]
    assert drawn["test/loss"] == expected(run, "test", "loss")  # one point, as in metrics.jsonl
    assert drawn["val/loss"] == expected(run, "val", "loss")
    assert json.loads((run / "summary.json").read_text())["steps"] == 30


def test_loggers_are_chosen_by_name_and_may_change_on_a_resume(ptft, tmp_path):
    run = tmp_path / "run"
    refused(ptft("stage=pretrain", "logger=[tensorbord]"), 2, "tensorbord", "did you mean tensorboard")
    refused(ptft("stage=pretrain", *SMALL, "+logger.mine={_target_: os.system}"), 2, "logger.mine", "refused")
    assert ptft("stage=pretrain", *SMALL, f"hydra.run.dir={run}").code == 0
    assert not (run / "tensorboard").exists()
    assert ptft(f"resume={run}", "train.steps=24", "logger=[tensorboard]").code == 0
    assert [step for step, _ in curves(run)["val/loss"]][-1] == 24
