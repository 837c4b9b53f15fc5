"""The picture says the same to who sees no colour."""

import random
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from ptft.stages.compare.design import Design
from ptft.stages.compare.plot import STYLES, draw, save
from ptft.stages.compare.results import Measure, compared

ACCURACY = Measure("accuracy", "max", "test")
ARMS = ["scratch", "probe", "finetune", "letters"]


def figure(amounts=(1, 5, 20), seeds=3, by=ACCURACY, key="per_class"):
    design, rng = (
        Design({arm: [] for arm in ARMS}, "scratch", key, list(amounts), list(range(seeds)), [None]),
        random.Random(0),
    )
    records = [
        {"arm": arm, "amount": amount, "seed": seed, "lr": None, "value": rng.random(), "val": 0.0}
        for arm in ARMS
        for amount in amounts
        for seed in range(seeds)
    ]
    return draw(design, compared(design, records, by), by, "digits")


def grey(colour):
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_arms_differ_in_marker_and_line_and_are_named():
    (axes,) = figure().axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in lines] == ARMS
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ARMS
    assert len({line.get_marker() for line in lines}) == len(ARMS)
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == len(ARMS)
    levels = sorted(grey(colour) for colour, _, _ in STYLES[: len(ARMS)])
    assert min(b - a for a, b in pairwise(levels)) > 20, "told apart by lightness as well"


def test_axes_have_titles_units_and_the_amounts_that_were_used():
    (axes,) = figure().axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "20"]
    assert "labelled examples per class" in axes.get_xlabel()
    assert axes.get_ylabel() == "test accuracy (%)"
    assert axes.get_ylim()[0] >= -1
    assert axes.get_ylim()[1] <= 101
    (axes,) = figure((0.1, 1), by=Measure("loss", "min", "val"), key="fractions").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10 %", "100 %"]
    assert axes.get_ylabel() == "val loss"


@pytest.mark.parametrize(("amounts", "seeds"), [((1, 5, 20), 3), ((5,), 1)], ids=["curves", "points"])
def test_both_files_open_and_are_not_blank(tmp_path, amounts, seeds):
    save(figure(amounts, seeds), tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "compare.png").convert("L"))
    assert pixels.shape[1] >= 900
    assert 0.005 < (pixels < 200).mean() < 0.3
    root = ET.parse(tmp_path / "compare.svg").getroot()
    texts = {node.text for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert set(ARMS) <= texts


def test_the_same_numbers_draw_the_same_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(figure(), tmp_path / name)
    assert (tmp_path / "a" / "compare.svg").read_bytes() == (tmp_path / "b" / "compare.svg").read_bytes()
