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


def weighed_pearson(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Float64 [R]: as `pearson` of [N] or [R, N] where pair n counts as often as `weight` (float64 [R, N]) says."""
    total = weight.sum(-1, keepdim=True)
    x, y = (each - (weight * each).sum(-1, keepdim=True) / total for each in (x.double(), y.double()))
    below = ((weight * x.square()).sum(-1) * (weight * y.square()).sum(-1)).sqrt()
    return torch.where(below > 0, (weight * x * y).sum(-1) / below, torch.zeros_like(below))


def weighed_spearman(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Float64 [R]: as `weighed_pearson` of ranks among those that count."""
    return weighed_pearson(_weighed_ranks(x, weight), _weighed_ranks(y, weight), weight)


def _weighed_ranks(x: Tensor, weight: Tensor) -> Tensor:
    """[N] -> float64 [R, N], as `average_ranks` of as many copies of each as `weight` says."""
    values, group = torch.unique(x, return_inverse=True)
    counts = torch.zeros(len(weight), len(values), dtype=torch.float64).index_add_(1, group, weight)
    ranks: Tensor = (counts.cumsum(1) - (counts - 1) / 2)[:, group]
    return ranks
