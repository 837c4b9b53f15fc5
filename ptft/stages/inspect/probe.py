"""Likely wrong labels: probabilities by networks that have not seen the example, and confident learning from these
(Northcutt, Jiang & Chuang 2021).

Axes: N examples, D features, F folds, H hidden, K classes, B batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

FOLDS = 5
HIDDEN = 256
STEPS, BATCH = 2000, 512
"""Steps of each network at most, and examples of one; small sets pass by EPOCHS times."""
EPOCHS = 100
RATE, DECAY = 3e-3, 0.05
DROPPED = (0.1, 0.5)
"""Dropout of features and of hidden ones; the second is tried where the first knows less than KNOWS of the labels."""
KNOWS = 0.9
SURE = 0.5
"""By so much the other class must be likelier than the given one."""
LOOKS = 10
"""How often what they know is measured."""


def folds(groups: Tensor, seed: int) -> Tensor:
    """Long [N], 0 to FOLDS - 1: examples of one group (long [N]) are in one fold, which are about equally large."""
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed % 2**63))
    order = order[counts[order].argsort(descending=True, stable=True)]
    fold = torch.empty(len(counts), dtype=torch.long)
    fold[order] = torch.arange(len(counts)) % FOLDS
    return fold[group]


def probabilities(features: Tensor, labels: Tensor, groups: Tensor, classes: int, seed: int) -> Tensor:
    """Float [N, K], of features float [N, D] and labels long [N], each by the network of the folds it is not in.

    The networks have one hidden layer; they learn at once, as one batched product, from the same batches, in which
    those of its own fold count nothing for each. They stop where they know most of what they have not seen (the least
    cross-entropy there of LOOKS): weak features can be learned by heart, and are sure of nothing then that is true.
    """
    fold = folds(groups, seed)
    found, wrong = _trained(features, labels, fold, classes, DROPPED[0], seed)
    if float((found.argmax(1) == labels).float().mean()) >= KNOWS:
        return found
    other, less = _trained(features, labels, fold, classes, DROPPED[1], seed)
    return other if less < wrong else found


def _trained(
    features: Tensor, labels: Tensor, fold: Tensor, classes: int, dropped: float, seed: int
) -> tuple[Tensor, float]:
    """As `probabilities`, and their mean cross-entropy."""
    x = (features - features.mean(0)) / features.std(0, unbiased=False).clamp(min=1e-6).mean()
    generator = torch.Generator().manual_seed(seed % 2**63)
    parameters = _fresh(features.shape[1], classes, generator)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    size = min(BATCH, len(x))
    steps = min(STEPS, math.ceil(EPOCHS * len(x) / size))
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-steps * size // len(x)))])
    best, least = torch.full((len(x), classes), 1 / classes), math.log(classes)
    looks = {round(steps * look / LOOKS) for look in range(1, LOOKS + 1)}
    for step, rows in enumerate(torch.split(order[: steps * size], size)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 20 * (step + 1) / steps) * (1 + math.cos(math.pi * step / steps)) / 2
        loss = _loss(parameters, x[rows], labels[rows], fold[rows], dropped, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step + 1 in looks:
            found = _held_out(parameters, x, fold)
            wrong = float(functional.nll_loss(found.clamp(min=1e-9).log(), labels))
            best, least = (found, wrong) if wrong < least else (best, least)
    return best, least


@torch.no_grad()
def _held_out(parameters: list[Tensor], x: Tensor, fold: Tensor) -> Tensor:
    """Float [N, K]: each example's probabilities by the network of its own fold."""
    parts = zip(torch.split(x, 4096), torch.split(fold, 4096), strict=True)
    return torch.cat([_own(_logits(parameters, rows).softmax(-1), of) for rows, of in parts])


def _fresh(width: int, classes: int, generator: torch.Generator) -> list[Tensor]:
    """Weights and biases of two layers of F networks; the last begins at zero."""
    first = torch.randn(FOLDS, width, HIDDEN, generator=generator) * math.sqrt(2 / width)
    zeros = (torch.zeros(FOLDS, 1, HIDDEN), torch.zeros(FOLDS, HIDDEN, classes), torch.zeros(FOLDS, 1, classes))
    return [values.requires_grad_() for values in (first, *zeros)]


def _logits(
    parameters: list[Tensor], x: Tensor, dropped: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Float [B, D] -> [F, B, K]; with a generator a share is dropped, as in training."""
    first, bias, last, end = parameters
    hidden = torch.relu(torch.baddbmm(bias, _dropped(x.expand(FOLDS, -1, -1), dropped, generator), first))
    return torch.baddbmm(end, _dropped(hidden, dropped, generator), last)


def _dropped(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return x
    return x * (torch.rand(x.shape, generator=generator) > share) / (1 - share)


def _loss(
    parameters: list[Tensor], x: Tensor, labels: Tensor, fold: Tensor, dropped: float, generator: torch.Generator
) -> Tensor:
    """The sum over networks of their mean cross-entropy on the examples that they may see."""
    logits = _logits(parameters, x, dropped, generator)
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(FOLDS), reduction="none").view(FOLDS, -1)
    seen = (fold != torch.arange(FOLDS).unsqueeze(1)).float()
    return ((losses * seen).sum(1) / seen.sum(1).clamp(min=1)).sum()


def _own(probability: Tensor, fold: Tensor) -> Tensor:
    """Of [F, B, K] those of each example's own fold, [B, K]."""
    return probability[fold, torch.arange(len(fold))]


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
