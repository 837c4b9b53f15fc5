"""The picture of a run's curves."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptft.loggers import curves
from tests.conftest import SMALL


def drawn(folder, rows, monitor="val/accuracy"):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9, "spl')
    return curves.write(folder, monitor)


def rows_of(values, split="val", name="loss"):
    return [{"step": 10 * step, "split": split, name: value} for step, value in enumerate(values)]


def test_a_run_that_trained_has_its_curves_and_they_cost_it_nothing_where_they_can_t_be_drawn(ptft, monkeypatch):
    typed = ("stage=pretrain", *SMALL, "dataset.held_out=50", "train.every.evaluate=5", "train.every.log=5")
    assert ptft(*typed, "hydra.run.dir=run").code == 0
    with Image.open("run/curves.png") as image:
        assert image.size == (2 * curves.WIDTH, curves.HEIGHT)
    monkeypatch.setattr(curves, "write", lambda *given: 1 / 0)
    done = ptft(*typed, "hydra.run.dir=other")
    assert done.code == 0, done.text
    assert "curves.png: can't be drawn (division by zero)" in done.out
    assert Path("other/summary.json").exists()


def test_a_falling_loss_falls_and_the_monitored_loss_has_one_panel(tmp_path):
    assert drawn(tmp_path, rows_of([3, 2, 1, 0.5, 0.25, 0.2]), "val/loss")
    image = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    assert image.shape == (curves.HEIGHT, curves.WIDTH, 3)
    blue = (image[curves.TOP - 5 :, :, 2] - image[curves.TOP - 5 :, :, 0]) > 100
    heights = [np.flatnonzero(blue[:, x]).mean() for x in range(curves.LEFT, curves.WIDTH - curves.RIGHT, 20)]
    assert heights == sorted(heights)


def test_two_points_are_no_curve(tmp_path):
    assert not drawn(tmp_path, rows_of([1, 2]))
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("values", [[1, 1, 1], [0, 0, 0], [None, 1, 2, 3], [1e-30, 2e-30, 5e30], [-1, -2, -3]])
def test_any_values_can_be_drawn(tmp_path, values):
    assert drawn(tmp_path, rows_of(values))


def test_a_long_run_with_outliers_is_drawn_within_its_frame(tmp_path):
    assert drawn(tmp_path, rows_of([1e6, *(1 + 1 / (1 + n) for n in range(5000))]))
    image = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    top = image[25 : curves.TOP - 5, curves.LEFT : curves.WIDTH]
    assert not ((top[:, :, 2] - top[:, :, 0]) > 100).any()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 0.9), (3, 1234), (-5, 5), (0, 1e-9), (1, 1.001)])
def test_ticks_are_round_and_contain_the_range(low, high):
    found = curves.ticks(low, high)
    assert 4 <= len(found) <= 9
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
