"""Statistics of a few repeated runs: Student's t, intervals, p-values with Holm's correction, label efficiency.

t quantiles need no table and no package: for whole degrees of freedom the distribution is a finite sum.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean of `size` values and half the width of its confidence interval, None for fewer than two values."""

    mean: float
    half: float | None
    size: int


def t_coverage(t: float, freedom: int) -> float:
    """P(|T| <= |t|) for Student's T with `freedom` whole degrees (Abramowitz & Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(freedom // 2):
        total += term
        below = 2 * step + 2 + odd
        term *= cosine**2 * (below - 1) / below
    share = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return min(share, 1.0)


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The t that |T| stays below with probability `confidence`, to the last digits of a float."""
    low, high = 0.0, 1.0
    while t_coverage(high, freedom) < confidence:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_coverage(middle, freedom) < confidence else (low, middle)
    return high


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean and Student's t interval of at least one value (Student 1908)."""
    count = len(values)
    mean = statistics.fmean(values)
    if count < 2:
        return Estimate(mean, None, count)
    return Estimate(mean, t_quantile(count - 1, confidence) * statistics.stdev(values) / math.sqrt(count), count)


def p_value(differences: Sequence[float]) -> float:
    """The two-sided p-value of a mean of 0: the paired t-test, for at least two differences."""
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return 1 - t_coverage(mean / deviation * math.sqrt(len(differences)), len(differences) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all of a family at once, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def isotonic_regression(values: Sequence[float]) -> list[float]:
    """The never falling sequence nearest to `values` in squares: neighbours that fall are pooled (Ayer et al. 1955)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (left, n), (right, m) = pools[-2:]
            pools[-2:] = [((n * left + m * right) / (n + m), n + m)]
    return [value for value, count in pools for _ in range(count)]


def label_efficiency(
    amounts: Sequence[float], values: Sequence[float], amount: float, reached: float
) -> tuple[str, float] | None:
    """How many times `amount` the curve (amounts, values) needs to reach a value.

    The curve is made to rise by isotonic regression and read linearly in the logarithm of the amount. Returns
    ("=", factor); (">", factor) and ("<", factor) where the value lies above or below the curve; None where a curve
    can't be read: of one point, or flat.
    """
    curve = isotonic_regression(values)
    if len(curve) < 2 or curve[0] == curve[-1]:
        return None
    if reached > curve[-1]:
        return ">", amounts[-1] / amount
    if reached < curve[0]:
        return "<", amounts[0] / amount
    right = next(index for index, value in enumerate(curve) if value >= reached)
    if right == 0 or curve[right] == reached:
        return "=", amounts[right] / amount
    share = (reached - curve[right - 1]) / (curve[right] - curve[right - 1])
    log = math.log(amounts[right - 1]) + share * math.log(amounts[right] / amounts[right - 1])
    return "=", math.exp(log) / amount


def share_interval(share: float, count: int, quantile: float = 1.959964) -> tuple[float, float]:
    """Where a share found of `count` examples may truly lie (Wilson 1927); quantile: the normal's, for 95 %."""
    ratio = quantile**2 / count
    middle = (share + ratio / 2) / (1 + ratio)
    half = (share * (1 - share) * ratio + ratio**2 / 4) ** 0.5 / (1 + ratio)
    return max(0.0, middle - half), min(1.0, middle + half)
