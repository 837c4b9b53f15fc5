"""Metrics of classification, from a confusion matrix."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Margins(NamedTuple):
    """How many examples each class has, is predicted for, and both: float64 [..., K]."""

    true: Tensor
    predicted: Tensor
    hits: Tensor

    @classmethod
    def of(cls, confusion: Tensor) -> Margins:
        """Of a confusion matrix [K, K] (true, predicted)."""
        confusion = confusion.double()
        return cls(confusion.sum(1), confusion.sum(0), confusion.diagonal())

    @classmethod
    def of_pairs(cls, true: Tensor, predicted: Tensor, weight: Tensor, classes: int) -> Margins:
        """Of examples, classes long [N] and [N], each as often as `weight` (float64 [R, N]) says: [R, K]."""
        row = classes * torch.arange(len(weight)).unsqueeze(1)
        none = torch.zeros(len(weight) * classes, dtype=torch.float64)

        def counted(cells: Tensor, weight: Tensor) -> Tensor:
            return none.scatter_add(0, (row + cells).flatten(), weight.flatten()).view(len(weight), classes)

        return cls(counted(true, weight), counted(predicted, weight), counted(true, weight * (true == predicted)))

    def macro_f1(self) -> Tensor:
        """Mean over classes of 2 TP / (2 TP + FP + FN), absent classes left out."""
        return (2 * self.hits / (self.true + self.predicted)).nanmean(-1)

    def matthews(self) -> Tensor:
        """Matthews correlation, -1 to 1; 0 where truth or predictions are all one class.

        For two classes Matthews 1975; for more Gorodkin 2004, equation 8.
        """
        total = self.true.sum(-1)
        above = self.hits.sum(-1) * total - (self.true * self.predicted).sum(-1)
        true, predicted = (total**2 - each.square().sum(-1) for each in (self.true, self.predicted))
        below = (true * predicted).clamp(min=0).sqrt()
        return torch.where(below > 0, above / below, torch.zeros_like(above))


def macro_f1(confusion: Tensor) -> float:
    """Of a confusion matrix [K, K] (true, predicted)."""
    return float(Margins.of(confusion).macro_f1())


def matthews(confusion: Tensor) -> float:
    """Of a confusion matrix [K, K] (true, predicted)."""
    return float(Margins.of(confusion).matthews())
