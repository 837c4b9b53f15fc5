"""Forecasts along a learning curve: near where the curve goes on, honest about how sure that is."""

import math
import random

import pytest
import torch

from ptft.metrics.uncertainty.learning_curve import Curves, curves, spread


def measured(law, amounts, noise, seed, count=5):
    draw = random.Random(seed)
    return [[max(0.0, draw.gauss(law(amount), noise * law(amount))) for _ in range(count)] for amount in amounts]


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("amounts", [(1, 5, 20), (1, 2, 5, 10, 20)])
def test_its_interval_holds_where_the_curve_goes_on(floor, amounts):
    held = []
    for seed in range(20):
        draw = random.Random(1000 + seed)
        slope, level = draw.uniform(0.2, 0.9), draw.uniform(0.2, 0.9)

        def law(amount, slope=slope, level=level):
            return floor + level * amount**-slope

        found = curves(amounts, measured(law, amounts, 0.15, seed))
        for amount in (40, 200):
            ahead = found.range(found.at(amount))
            assert ahead.low <= ahead.middle <= ahead.high
            held.append(ahead.low <= law(amount) <= ahead.high)
    assert sum(held) >= 0.9 * len(held)


def test_it_is_the_surer_the_nearer_it_looks_and_the_less_seeds_differ():
    def law(amount):
        return 0.02 + 0.5 * amount**-0.5

    def width(noise, amount):
        found = curves((1, 2, 5, 10, 20), measured(law, (1, 2, 5, 10, 20), noise, 0))
        ahead = found.range(found.at(amount))
        return ahead.high - ahead.low

    assert width(0.05, 40) < width(0.3, 40)
    assert width(0.05, 25) / law(25) < width(0.05, 400) / law(400)


def test_how_much_it_takes_is_the_curve_read_backwards():
    def law(amount):
        return 0.6 * amount**-0.5

    found = curves((1, 2, 5, 10, 20), measured(law, (1, 2, 5, 10, 20), 0.02, 0))
    needed = found.range(found.amount(torch.full_like(found.floor, law(50))))
    assert needed.low < 50 < needed.high
    assert needed.middle == pytest.approx(50, rel=0.35)


def test_an_error_that_does_not_fall_is_never_reached():
    flat = curves((1, 5, 20), [[0.5, 0.51, 0.49]] * 3)
    needed = flat.range(flat.amount(torch.full_like(flat.floor, 0.1)))
    assert math.isinf(needed.middle)


def test_below_its_floor_no_amount_is_enough_and_one_that_rises_comes_nowhere():
    one = torch.ones(1, dtype=torch.float64)
    assert math.isinf(Curves(0.1 * one, one, one, one).amount(0.05 * one))
    assert float(Curves(0.1 * one, one, one, one).amount(0.2 * one)) == pytest.approx(10)
    assert math.isinf(Curves(0.1 * one, one, -one, one).amount(0.2 * one))


def test_weights_decide_what_a_range_is():
    values, weight = torch.arange(101.0), torch.zeros(101)
    weight[40:61] = 1
    assert spread(values, weight).low >= 40
    assert spread(values, weight).high <= 60
    assert spread(values, weight).middle == 50


def test_two_amounts_are_no_curve():
    with pytest.raises(ValueError, match="at least 3"):
        curves((1, 5), [[0.5], [0.2]])
