"""Whether an explanation means anything: it must order what the answer rests on better than chance does, and better
than the same explanation of the same network with random weights (Adebayo et al. 2018).

Both are permutation tests at 5 %: of 20 random orders, and of 20 orders by networks that have learned nothing, none may
be as good. What the latter mark is what can be seen in the input alone (edges, what is bright or loud), seen through
this architecture; so one of these, tested among the others, passes in 5 % of cases at most, whatever inputs look like.

Axes: U units of an input (cells, words) that are deleted together, R orders, S shares that are deleted, P positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptft.metrics.correlation import spearman
from ptft.stages.explain.asked import EPSILON, Asked, Question

SHARES, FEW = 11, 6
"""Points of a deletion curve, from nothing deleted to everything, and of them so many by which orders are compared."""
LEVEL = 0.05
"""How rarely chance may do as well."""
ALIKE = 0.5
"""The rank correlation with the explanation of random weights from which on both are called the same."""
MOVED = 0.1
"""How far the belief must fall where what is marked is deleted: a probability, or a number in deviations."""
CLEARLY = 2
"""How many times as far as that of any model with random weights in its own explanation, in log-odds."""


class Deletion(NamedTuple):
    """Of each order: curves float32 [R, S], the belief in the class while its first units go first; areas [R], their
    means, the lower the sooner it falls. last [R, S]: while its last ones do. advantages [R]: by how much the log-odds
    (of a number the number) are higher in these than in the others, on the average; the better the order the more; by
    FEW of the points, so that curves of more and of fewer can be compared."""

    curves: Tensor
    areas: Tensor
    last: Tensor
    advantages: Tensor


def unit_values(values: Tensor, units: Tensor) -> Tensor:
    """[*P] and the unit of each position (long [*P], -1: of none) -> the sum of each unit, float32 [U]."""
    flat, which = values.float().flatten(), units.flatten()
    sums = torch.zeros(int(which.max()) + 1, device=flat.device)
    return sums.index_add_(0, which[which >= 0], flat[which >= 0])


def order_of(values: Tensor, generator: torch.Generator) -> Tensor:
    """Units by their values [U], the greatest first; equal ones in a random order: long [U]."""
    shuffled = torch.randperm(len(values), generator=generator).to(values.device)
    return shuffled[values[shuffled].argsort(descending=True, stable=True)]


def random_orders(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Long [count, U]."""
    return torch.stack([torch.randperm(size, generator=generator) for _ in range(count)])


def deletion(asked: Asked, question: Question, units: Tensor, orders: Tensor, points: int = SHARES) -> Deletion:
    """What is left of the belief as more and more units give way to an empty input, in each of the orders, long [R, U]
    (Petsiuk et al. 2018), and from their other end (Samek et al. 2017). points: S, SHARES or FEW."""
    both = torch.cat([orders, orders.flip(1)])
    size = both.shape[1]
    ranks = torch.empty_like(both).scatter_(1, both, torch.arange(size, device=both.device).expand_as(both))
    cuts = (torch.linspace(0, 1, points) * size).round().long().to(both.device)[1:-1]
    extra = [1] * (question.x.ndim - 1 - units.ndim)

    def variants(first: int, end: int) -> Tensor:
        numbers = torch.arange(first, end, device=both.device)
        gone = ranks[numbers // len(cuts)] < cuts[numbers % len(cuts)].unsqueeze(1)  # [N, U]
        places = gone[:, units.clamp(min=0)] & (units >= 0)
        return torch.where(places.view(len(numbers), *extra, *units.shape), question.empty, question.x)

    def ends(first: int, end: int) -> Tensor:
        whole = torch.where((units >= 0).view(1, *extra, *units.shape), question.empty, question.x)
        return torch.cat([question.x, whole])[first:end]

    inner = asked.beliefs(variants, len(both) * len(cuts), question.target).view(len(both), -1)
    before, after = asked.beliefs(ends, 2, question.target).view(2, 1, 1).expand(2, len(both), 1)
    curves = torch.cat([before, inner, after], 1).cpu()
    first, last = curves.chunk(2)
    few = curves[:, :: (points - 1) // (FEW - 1)]
    scored = few if asked.is_number else few.logit(EPSILON)
    better, worse = _means(scored).chunk(2)
    return Deletion(first, _means(first), last, worse - better)


def _means(curves: Tensor) -> Tensor:
    """[R, S] -> the mean of each, [R]."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)


def falls(found: Deletion, number: bool) -> tuple[list[float], list[float]]:
    """How far the belief falls in each order, and its log-odds; number: whether it is no probability, but a number."""
    first, least = found.curves[:, 0], found.curves.min(1).values
    odds = first - least if number else first.logit(EPSILON) - least.logit(EPSILON)
    return (first - least).tolist(), odds.tolist()


def chance(advantage: float, others: Tensor) -> float:
    """How often another order is as good: the p-value of a permutation test with so many others, [R]."""
    return (1 + int((others >= advantage).sum())) / (1 + len(others))


def likeness(values: Tensor, others: list[Tensor]) -> float | None:
    """The mean rank correlation of a unit's values [U] with those of random weights (Adebayo et al. 2018); None of
    fewer than three units."""
    if len(values) < 3 or not others:
        return None
    return sum(spearman(values.cpu(), other.cpu()) for other in others) / len(others)


def reasons(p: float, untrained: float | None, fall: float, odds: float, own: float, alike: float | None) -> list[str]:
    """Why an explanation means nothing; none where it does.

    p, untrained: how often a random order, and one by random weights, deletes what counts as soon. fall: how far the
    belief falls, and odds, how far its log-odds do. own: how far those of a model with random weights fall at most,
    without what it marks itself. alike: the rank correlation with what these mark.
    """
    found = []
    if fall < MOVED:
        found.append(f"the answer is the same without what is marked (it loses {fall:.2g})")
    elif odds < CLEARLY * own:
        found.append(
            f"a model with random weights loses as much by what it marks ({own:.2g} of log-odds, not {odds:.2g})"
        )
    if p > LEVEL:
        found.append(f"random orders delete what counts as soon (p = {p:.2f})")
    if untrained is not None and untrained > LEVEL:
        found.append(f"models with random weights mark what counts as well (p = {untrained:.2f})")
    if alike is not None and alike > ALIKE:
        found.append(f"models with random weights mark the same (rank correlation {alike:.2f})")
    return found
