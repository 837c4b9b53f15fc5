"""Curves below the bar of a training: on a terminal with room for them, and nowhere else."""

import io
import re

import pytest
from rich.console import Console

from ptft.loggers.braille import ROWS, LiveCurves, raster
from tests.conftest import SMALL
from tests.helpers.terminals import sent

DOTS = [chr(code) for code in range(0x2801, 0x2900)]
LONG = ("stage=pretrain", *SMALL, "train.steps=40", "train.every.log=2")


def shown(curves, width=80, height=30, **options):
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=True, color_system=None, **options).print(curves)
    return file.getvalue()


def falling(**options):
    curves = LiveCurves("accuracy", **options)
    for step in range(0, 100, 2):
        curves.log({"step": step, "split": "train", "loss": 100 - step, "accuracy": step / 100})
    curves.evaluated({}, {"step": 98, "split": "val", "loss": float("nan"), "accuracy": 0.5}, True)
    return curves


def test_a_straight_line_is_drawn_from_corner_to_corner():
    grid = raster([(0.0, 0.0), (1.0, 1.0)], columns=2 * ROWS)
    assert [row.index(next(filter(None, row))) for row in grid] == [2 * (ROWS - 1 - i) for i in range(ROWS)]
    assert grid[0][-1] & 0x08
    assert grid[-1][0] & 0x40


def test_two_panels_show_range_last_values_and_steps_in_the_width_that_there_is():
    for width in (60, 80, 200):
        lines = shown(falling(), width).splitlines()
        assert len(lines) == ROWS + 2
        assert max(map(len, lines)) <= width
        assert "loss  train 2.0000" in lines[0]
        assert f"accuracy {' train 0.9800' * (width > 60)} val 0.5000" in lines[0]
        assert lines[1].startswith("100.0000 ")
        assert "step 98" in lines[-1]


@pytest.mark.parametrize(("width", "height", "what"), [(59, 30, {}), (80, 23, {}), (80, 30, {"rows": 0})])
def test_nothing_is_drawn_without_room_or_points(width, height, what):
    assert shown(LiveCurves("accuracy") if what else falling(), width, height).strip() == ""


def test_a_terminal_shows_curves_below_the_bar_and_none_of_them_stays(ptft, monkeypatch, tmp_path):
    text = sent(ptft, monkeypatch, 90, *LONG, "hydra.run.dir=a")
    assert "accuracy  train 0." in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert any(dots * 2 in text for dots in DOTS)
    assert not [dots for dots in DOTS if dots in (tmp_path / "a" / "run.log").read_text()]


@pytest.mark.parametrize(("columns", "typed"), [(59, ()), (90, ("quiet=true",)), (90, ("--json",))])
def test_a_narrow_terminal_quiet_and_programs_get_none(ptft, monkeypatch, columns, typed):
    text = sent(ptft, monkeypatch, columns, *LONG, *typed)
    assert not any(dots * 2 in text for dots in DOTS)
