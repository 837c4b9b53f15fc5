"""Whether settings that were found are better than the defaults, or were only lucky."""

import pytest

from ptft.stages.compare.results import Measure
from ptft.stages.tune.confirm import DEFAULTS, FOUND, Again, judged, on_test, regression, sentence

BY = Measure("accuracy", "max", "val")
LOSS = Measure("loss", "min", "val")


def runs(found, usual, test=None):
    sides = {FOUND: found, DEFAULTS: usual}
    return [
        Again(who, seed, value, value if test is None else value + test, 9, 1.0, "finished", "", "there")
        for who, values in sides.items()
        for seed, value in enumerate(values, 1)
        if value is not None
    ]


@pytest.mark.parametrize(
    ("found", "usual", "by", "word"),
    [
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.83], BY, "better"),
        ([0.7, 0.71, 0.72], [0.8, 0.81, 0.83], BY, "worse"),
        ([0.7, 0.71, 0.72], [0.8, 0.81, 0.83], LOSS, "better"),
        ([0.9, 0.7, 0.8], [0.8, 0.81, 0.79], BY, "noise"),
        ([0.9, 0.91], [0.8, 0.81], BY, "unknown"),
        ([0.9, 0.91, None], [0.8, 0.81, 0.83], BY, "unknown"),
        ([], [], BY, "unknown"),
    ],
)
def test_a_difference_counts_where_it_is_beyond_chance_over_pairs(found, usual, by, word):
    assert judged(runs(found, usual), by).word == word


def test_the_answer_has_both_means_and_the_difference_in_points():
    verdict = judged(runs([0.9, 0.91, 0.92], [0.8, 0.81, 0.83]), BY)
    assert sentence(verdict, BY) == (
        "The found settings beat the defaults beyond chance: val accuracy 91.00 ± 2.48 % beside 81.33 ± 3.79 %, "
        "+9.67 ± 1.43 points (3 seeds, paired, 95 % intervals)."
    )
    assert on_test(verdict, BY) == "on the test split, by which nothing was chosen: +9.67 ± 1.43 points"
    assert regression(0.97, verdict, BY).endswith("has been lucky as well, so the later figure counts")
    assert "lucky" not in regression(0.85, verdict, BY)
