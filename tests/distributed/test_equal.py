"""One process, two of them, and one in parts: the same losses, and the same weights but for their rounding."""

import pytest
import torch

from tests.conftest import command, rows
from tests.helpers.processes import run, together

COMMON = (
    *("stage=pretrain", "device=cpu", "precision=fp32", "train.layout=contiguous", "train.steps=6"),
    *("train.every.log=1", "train.every.evaluate=3", "predictions=csv", "optimizer.lr=1e-3"),
)
TEXT = ("dataset=grammar", "dataset.sentences=120", "dataset.held_out=20", "dataset.length=24")
SOUND = ("dataset=tones", "dataset.words=[1,2]", "dataset.count=41", "dataset.held_out=9", "train.batch_size=8")
IMAGES = ("dataset.images=71", "dataset.held_out=33", "dataset.size=12", "model.width=16", "model.channels=[4,8]")
RUNS = {
    "cnn": (*IMAGES, "train.batch_size=32", "train.ema=0.5"),
    "views": (*IMAGES, "train.batch_size=32", "objective.views={shift: 2, rotate: 20, erase: 0.5}"),
    # Adam makes a step of what rounding leaves of a bias before a batch norm, whose gradient is 0.
    "simclr": (*IMAGES, "objective=simclr", "train.batch_size=32", "train.sync_batchnorm=true", "optimizer=sgd"),
    # Views and all, one process, two, and both in parts draw and compare the same.
    "vicreg": (
        *("dataset.images=71", "dataset.held_out=33", "dataset.size=12", "objective=vicreg", "objective.norm=false"),
        *("objective.out=16", "model=vit_tiny", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.dropout=0", "train.batch_size=32", "optimizer=sgd"),
    ),
    "gpt_tiny": (
        *("objective=causal_lm", "model=gpt_tiny", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.dropout=0", "train.batch_size=32", *TEXT),
    ),
    "ctc": (
        *("objective=ctc", "model=audio_transformer", "model.width=12", "model.heads=2", "model.depth=1"),
        *("model.channels=4", "model.dropout=0", *SOUND),
    ),
    "siglip": (
        *("objective=siglip", "dataset=scenes", "dataset.images=71", "dataset.held_out=33", "dataset.size=16"),
        *("dataset.views.shift=2", "objective.text_width=16", "objective.text_depth=1", "objective.text_heads=2"),
        *("model=vit_tiny", "model.width=16", "model.depth=1", "model.heads=2", "model.dropout=0"),
        *("train.batch_size=32", "optimizer=sgd"),
    ),
    # Each process pads to its own longest recording, and hides and adds what one process would.
    "hubert": (
        *("objective=hubert", "model=audio_transformer", "model.width=12", "model.heads=2", "model.depth=1"),
        *("model.channels=4", "model.dropout=0", "objective.views={shift: 2, noise: 0.1, time_masks: 1}"),
        *("objective.clusters=9", "dataset=tones", "dataset.count=41", "dataset.held_out=9", "train.batch_size=8"),
    ),
}


def losses(folder):
    return [{key: row[key] for key in row if key not in ("seconds", "lr")} for row in rows(folder)]


def same(one, other):
    for before, after in zip(losses(one), losses(other), strict=True):
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert after[key] == (pytest.approx(value, rel=2e-6, abs=1e-6) if isinstance(value, float) else value), key
    weights = [torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["weights"] for folder in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", RUNS)
def test_one_process_equals_two_and_one_in_parts(name, tmp_path):
    typed = (*COMMON, *RUNS[name])
    assert run(command(*typed, "hydra.run.dir=one")).returncode == 0
    ended = together(command(*typed, "hydra.run.dir=two"))
    assert [each.returncode for each in ended] == [0, 0], ended
    assert (ended[1].stdout, ended[1].stderr) == ("", "")
    same(tmp_path / "one", tmp_path / "two")
    table = [(tmp_path / folder / "predictions_test.csv") for folder in ("one", "two")]
    if table[0].exists():
        items = [[line.split(",")[:3] for line in file.read_text().splitlines()] for file in table]
        assert items[0] == items[1]
    if name == "vicreg":
        ended = together(command(*typed, "train.accumulate=3", "hydra.run.dir=both"))
        assert [each.returncode for each in ended] == [0, 0], ended
        same(tmp_path / "one", tmp_path / "both")
    if name in ("cnn", "vicreg", "gpt_tiny", "ctc"):
        assert run(command(*typed, "train.accumulate=4", "hydra.run.dir=parts")).returncode == 0
        same(tmp_path / "one", tmp_path / "parts")


def test_a_process_without_rows_takes_the_same_step_in_any_layout(tmp_path):
    """Its gradients lie in memory as its weights do, or a fused optimizer would give it others than the rest."""
    sounds = ("dataset=tones", "dataset.count=60", "dataset.held_out=30", "train.tokens=9000", "train.steps=12")
    typed = (*COMMON, *sounds, "model=audio_cnn", "model.dropout=0", "train.layout=channels_last")
    assert run(command(*typed, "hydra.run.dir=one")).returncode == 0
    ended = together(command(*typed, "hydra.run.dir=two"))
    assert [each.returncode for each in ended] == [0, 0], ended
    same(tmp_path / "one", tmp_path / "two")
