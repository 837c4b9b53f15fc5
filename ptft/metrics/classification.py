"""Metrics of classification, from a confusion matrix."""

from __future__ import annotations

from torch import Tensor


def macro_f1(confusion: Tensor) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN), [K, K] (true, predicted) -> a number; absent classes left out."""
    confusion = confusion.double()
    hits, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    present = (true + predicted) > 0
    return float((2 * hits[present] / (true + predicted)[present]).mean())


def matthews(confusion: Tensor) -> float:
    """Matthews correlation of a confusion matrix [K, K], -1 to 1; 0 where truth or predictions are all one class.

    For two classes Matthews 1975; for more Gorodkin 2004, equation 8.
    """
    confusion = confusion.double()
    true, predicted, total = confusion.sum(1), confusion.sum(0), confusion.sum()
    above = confusion.diagonal().sum() * total - (true * predicted).sum()
    below = ((total**2 - true.square().sum()) * (total**2 - predicted.square().sum())).sqrt()
    return float(above / below) if below > 0 else 0.0
