"""Which labels are likely wrong: confident learning (Northcutt, Jiang & Chuang 2021), from out-of-fold probabilities.

Axes: N examples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

SURE = 0.5
"""By so much the other class must be likelier than the given one."""


def thresholds(probability: Tensor, labels: Tensor) -> Tensor:
    """Float [K]: the mean probability of a class among the examples that are labelled so; 1 where there is none."""
    classes = probability.shape[1]
    own = probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    sums = torch.zeros(classes).index_add_(0, labels, own)
    counts = labels.bincount(minlength=classes)
    return torch.where(counts > 0, sums / counts.clamp(min=1), 1.0)


def likely_wrong(probability: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows whose label is likely wrong (long [n]), the surest first; the likely class (long [n]); how sure (0 to 1).

    The confident joint counts an example of a given class as one of another where that is the likeliest of the classes
    whose probability is at least what is usual of them. Of the examples of one class that are likelier another, as many
    are chosen as the joint, scaled to the labels, says are wrong, by the margin between the two (prune by noise rate),
    which must be SURE: what is merely hard is no error.
    """
    over = probability >= thresholds(probability, labels)
    confident = over.any(1)
    counted = probability.masked_fill(~over, -1).argmax(1)
    joint = _joint(counted[confident], labels[confident], labels, probability.shape[1])
    highest, likely = probability.max(1)
    margin = highest - probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    rows = ((likely != labels) & (margin >= SURE)).nonzero().flatten()
    rows = rows[margin[rows].argsort(descending=True, stable=True)]
    pair = labels[rows] * probability.shape[1] + likely[rows]
    rows = rows[_place_among_equal(pair) < joint.flatten()[pair].round()]
    return rows, likely[rows], margin[rows]


def _joint(likely: Tensor, given: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Float [K, K]: how many examples of each given class (rows) are likely of which, scaled to the labels' counts."""
    counts = (given * classes + likely).bincount(minlength=classes**2).view(classes, classes).float()
    total = labels.bincount(minlength=classes).unsqueeze(1)
    return counts / counts.sum(1, keepdim=True).clamp(min=1) * total


def _place_among_equal(values: Tensor) -> Tensor:
    """For each (long [n]) how many equal ones stand before it."""
    order = values.argsort(stable=True)
    place = torch.arange(len(values))
    begins = torch.ones(len(values), dtype=torch.bool)
    begins[1:] = values[order][1:] != values[order][:-1]
    heads = torch.where(begins, place, 0).cummax(0).values if len(values) else place
    out = torch.empty_like(place)
    out[order] = place - heads
    return out
