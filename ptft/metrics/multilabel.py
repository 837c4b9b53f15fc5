"""Metrics of label sets: scores float [N, K] and labels 0 or 1, [N, K]. Axes: N examples, K labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

UNDECIDED = 0.5
"""The threshold of a label that no example shows."""


class Counts(NamedTuple):
    """Of every label, float64 [K]: right answers, wrong ones, and those that are missing."""

    hits: Tensor
    false: Tensor
    missed: Tensor

    @property
    def precision(self) -> Tensor:
        """0 where nothing was answered."""
        return _share(self.hits, self.hits + self.false)

    @property
    def recall(self) -> Tensor:
        """0 where there is nothing to find."""
        return _share(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> Tensor:
        """2 TP / (2 TP + FP + FN); NaN for a label that no example has and that was never answered."""
        return 2 * self.hits / (2 * self.hits + self.false + self.missed)


def counted(predicted: Tensor, labels: Tensor) -> Counts:
    """Of answers bool [N, K]."""
    true = labels > 0
    pairs = (predicted & true, predicted & ~true, ~predicted & true)
    return Counts(*(pair.sum(0).double() for pair in pairs))


def weighed_counts(predicted: Tensor, labels: Tensor, weight: Tensor) -> Counts:
    """As `counted` where example n counts as often as `weight` (float64 [R, N]) says: float64 [R, K] each."""
    true = labels > 0
    return Counts(*(weight @ pair.double() for pair in (predicted & true, predicted & ~true, ~predicted & true)))


def micro_f1(counts: Counts) -> float:
    """Of all labels as one; NaN where there is nothing to find and nothing was answered."""
    return float(Counts(*(values.sum() for values in counts)).f1)


def macro_f1(counts: Counts) -> float:
    """Mean over labels; those that no example has and that were never answered are left out."""
    return float(counts.f1.nanmean())


def average_precisions(scores: Tensor, labels: Tensor) -> Tensor:
    """Float64 [K]: the mean over the examples of a label of the precision among those that score at least as high.

    That is the area under the steps of precision over recall; equal scores count together. NaN where no example has it.
    """
    ranked = _Ranked.of(scores, labels)
    precision = ranked.hits / ranked.rank
    return (ranked.true * precision).sum(0) / ranked.true.sum(0)


def weighed_precisions(scores: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """As `average_precisions` where example n counts as often as `weight` (float64 [R, N]) says: float64 [R, K]."""
    columns = []
    for score, label in zip(scores.T, labels.T, strict=True):
        ranked = _Ranked.of(score.unsqueeze(1), label.unsqueeze(1))
        there = ranked.true[:, 0].nonzero().flatten()
        counted = weight[:, ranked.order[:, 0]]
        own, end = counted[:, there], ranked.end[there, 0]
        rank = counted.cumsum(1)[:, end]
        upto = torch.searchsorted(there, end, right=True) - 1  # the last that has the label up to there
        columns.append((own * own.cumsum(1)[:, upto] / rank.clamp(min=1)).sum(1) / own.sum(1))
    return torch.stack(columns, 1)


def best_thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """[K]: for each label the threshold in the middle of two scores (or of the lowest and 0) whose F1 is highest.

    Of equal ones the highest (Lipton et al. 2014 say what the best is like). 0.5 for a label that no example has.
    """
    ranked = _Ranked.of(scores, labels)
    f1 = 2 * ranked.hits / (ranked.rank + ranked.true.sum(0))
    best = ranked.end.gather(0, f1.argmax(0, keepdim=True))
    padded = torch.cat([ranked.scores, torch.zeros_like(ranked.scores[:1])])
    above, below = padded.gather(0, best)[0], padded.gather(0, best + 1)[0]
    middle = (above + below) / 2
    chosen = torch.where(middle > below, middle, above)  # of neighbours among floats there is none between
    return torch.where(ranked.true.sum(0) > 0, chosen, torch.full_like(chosen, UNDECIDED))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))


class _Ranked(NamedTuple):
    """By falling scores, each [N, K]: scores, whose they are, labels, and at the last of those that score the same its
    place, how many stand up to there, and how many of these have the label."""

    scores: Tensor
    order: Tensor
    true: Tensor
    end: Tensor
    rank: Tensor
    hits: Tensor

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> _Ranked:
        ranked, order = scores.sort(dim=0, descending=True, stable=True)
        true = labels.gather(0, order).double()
        place = torch.arange(len(scores), device=scores.device).unsqueeze(1).expand_as(order)
        is_last = torch.ones_like(ranked, dtype=torch.bool)
        is_last[:-1] = ranked[:-1] != ranked[1:]
        end = torch.where(is_last, place, len(scores)).flip(0).cummin(0).values.flip(0)
        return cls(ranked, order, true, end, (end + 1).double(), true.cumsum(0).gather(0, end))
