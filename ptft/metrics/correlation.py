"""Correlations of predicted and true numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pearson(x: Tensor, y: Tensor) -> float:
    """Correlation of two [N], -1 to 1; 0 where one of them is constant, NaN where a value is not finite."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    below = float(x.norm() * y.norm())
    return float(x @ y) / below if below != 0 else 0.0


def spearman(x: Tensor, y: Tensor) -> float:
    """Pearson correlation of the ranks of two [N]; equal values share the mean of their ranks. NaN as above."""
    if not bool(x.isfinite().all() and y.isfinite().all()):
        return math.nan
    return pearson(average_ranks(x), average_ranks(y))


def average_ranks(x: Tensor) -> Tensor:
    """Float64 [N]: ranks from 1 up; equal values get the mean of the ranks that they would take together."""
    _, group, counts = torch.unique(x, return_inverse=True, return_counts=True)
    last: Tensor = counts.cumsum(0).double()
    ranks: Tensor = (last - (counts - 1) / 2)[group]
    return ranks
