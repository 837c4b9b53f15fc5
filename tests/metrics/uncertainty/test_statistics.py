"""The statistics against published quantiles, other formulas and other people's code."""

import math
import random

import pytest

from ptft.metrics.uncertainty.statistics import (
    estimate,
    holm,
    isotonic_regression,
    label_efficiency,
    p_value,
    share_interval,
    t_coverage,
    t_quantile,
)

PUBLISHED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 29: 2.045, 30: 2.042, 120: 1.980}
"""Two-sided 95 % points of Student's t, as every textbook prints them."""


@pytest.mark.parametrize("freedom", PUBLISHED)
def test_quantiles_are_the_published_ones(freedom):
    assert t_quantile(freedom) == pytest.approx(PUBLISHED[freedom], abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 31, 200])
def test_the_distribution_is_the_integral_of_its_density(freedom):
    def density(t):
        log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
        return math.exp(log) * (1 + t * t / freedom) ** (-(freedom + 1) / 2)

    for t in (0.3, 1.0, 2.5, 6.0):
        parts = 2000  # Simpson's rule
        heights = [density(t * i / parts) * (1 if i in (0, parts) else 4 if i % 2 else 2) for i in range(parts + 1)]
        assert t_coverage(t, freedom) == pytest.approx(2 * sum(heights) * t / parts / 3, abs=1e-9)


def test_intervals_and_chances_are_scipys():
    from scipy import stats

    draw = random.Random(0)
    for size in (2, 3, 5, 10, 24):
        values = [draw.gauss(0.5, 2) for _ in range(size)]
        found = estimate(values)
        low, high = stats.t.interval(0.95, size - 1, loc=found.mean, scale=stats.sem(values))
        assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
        assert found.size == size
        assert p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)


def test_one_value_has_no_interval_and_equal_ones_a_width_of_zero():
    assert estimate([3.0]) == (3.0, None, 1)
    assert estimate([3.0, 3.0]) == (3.0, 0.0, 2)
    assert p_value([0.0, 0.0, 0.0]) == 1.0
    assert p_value([1.0, 1.0, 1.0]) == 0.0


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw, covered = random.Random(1), 0
    for _ in range(2000):
        found = estimate([draw.gauss(1, 3) for _ in range(4)])
        covered += abs(found.mean - 1) <= found.half
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_corrected_chances_are_holms():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_rising_is_isotonic_regression():
    from sklearn.isotonic import IsotonicRegression

    draw = random.Random(2)
    for size in (1, 2, 3, 8, 20):
        values = [draw.random() for _ in range(size)]
        assert isotonic_regression(values) == pytest.approx(
            IsotonicRegression().fit_transform(range(size), values).tolist()
        )


def test_labels_are_read_off_the_curve_in_the_logarithm():
    amounts, curve = [1, 10, 100], [0.2, 0.6, 0.8]
    assert label_efficiency(amounts, curve, 1, 0.4) == ("=", pytest.approx(10**0.5))
    assert label_efficiency(amounts, curve, 10, 0.6) == ("=", 1.0)
    assert label_efficiency(amounts, curve, 10, 0.7) == ("=", pytest.approx(10**0.5))
    assert label_efficiency(amounts, curve, 10, 0.9) == (">", 10.0)
    assert label_efficiency(amounts, curve, 10, 0.1) == ("<", 0.1)


def test_a_curve_that_can_not_be_read_says_nothing():
    assert label_efficiency([5], [0.5], 5, 0.9) is None
    assert label_efficiency([1, 5], [0.5, 0.5], 5, 0.9) is None
    assert label_efficiency([1, 5], [0.6, 0.5], 5, 0.9) is None, "falling, so pooled to a flat one"


def test_the_interval_of_a_share():
    low, high = share_interval(0.8, 100)
    assert (round(low, 4), round(high, 4)) == (0.7112, 0.8666)  # Wilson's, as published
    assert share_interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert share_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
