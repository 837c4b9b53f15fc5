"""How far probabilities can be taken at their word, and the temperature that brings them there.

Axes: N examples, K classes. Labels are long [N], or sets of them 0 or 1, [N, K].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

COOLEST, HOTTEST = 0.1, 10.0
"""Temperatures are between these: where every answer is right none is cool enough."""
HALVINGS = 25
BINS = 15


def probabilities(logits: Tensor, sets: bool) -> Tensor:
    """Of each class by itself where an example may have several, else of one among all, [N, K]."""
    return logits.sigmoid() if sets else logits.softmax(1)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number that logits are divided by so that their log-likelihood is highest (Guo et al. 2017, section 4.2).

    That is concave in the inverse, and its derivative's root is found by halving.
    """
    sets = labels.ndim == 2
    true = (labels > 0).to(logits.dtype) if sets else F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    low, high = math.log(1 / HOTTEST), math.log(1 / COOLEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = probabilities(logits * math.exp(middle), sets)
        if float(((expected - true) * logits).sum(dtype=torch.float64)) > 0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)


def calibration_error(given: Tensor, labels: Tensor) -> float:
    """Expected calibration error of probabilities [N, K] over 15 equal bins, 0 to 1 (Naeini et al. 2015).

    Of the likeliest class and how often it is right; of sets, of every probability and how often the label is there.
    """
    if labels.ndim == 2:
        sure, right = given.flatten(), (labels > 0).flatten()
    else:
        sure, likeliest = given.max(1)
        right = likeliest == labels
    place = (sure * BINS).long().clamp(0, BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64, device=given.device)
    gap.index_add_(0, place, right.double() - sure.double())
    return float(gap.abs().sum() / max(1, len(sure)))


class Bin(NamedTuple):
    """Answers that were said to be about equally likely: from which probability to which, how many they are, how likely
    they were said to be, and which share of them is right."""

    low: float
    high: float
    size: int
    said: float
    right: float


def reliability(said: Tensor, right: Tensor, bins: int = BINS) -> list[Bin]:
    """Bins that hold equally many answers, by rising probability (Nixon et al. 2019). Probabilities [n], bool [n]."""
    order = said.argsort(stable=True)
    parts = [part for part in order.tensor_split(min(bins, len(order))) if len(part)]
    return [
        Bin(
            float(said[part[0]]),
            float(said[part[-1]]),
            len(part),
            *(float(v[part].double().mean()) for v in (said, right)),
        )
        for part in parts
    ]


def equal_mass_error(curve: list[Bin]) -> float:
    """The expected calibration error over the bins of `reliability`, 0 to 1."""
    total = sum(each.size for each in curve)
    return sum(each.size * abs(each.said - each.right) for each in curve) / max(1, total)
