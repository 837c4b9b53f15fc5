"""Whether an explanation means anything: it must find what the answer rests on sooner than chance, and sooner than the
same explanation of the same network with random weights does.

Axes: U units of an input (cells, words) that are deleted together, R orders, S shares that are deleted, P positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptft.metrics.correlation import spearman
from ptft.stages.explain.asked import Asked, Question

SHARES = 11
"""Points of a deletion curve, from nothing deleted to everything."""
LEVEL = 0.05
"""How rarely chance may do as well."""
ALIKE = 0.5
"""The rank correlation with the explanation of random weights from which on both are called the same."""
MOVED = 0.1
"""How far the belief must fall where what is marked is deleted: a probability, or a number in deviations."""
CLEARLY = 2
"""How many times as far as that of any model with random weights in its own explanation, in log-odds."""

EPSILON = 1e-6
"""Probabilities are told from 0 and 1 by so much."""


class Deletion(NamedTuple):
    """curves: float32 [R, S], the belief in the class; areas: [R], their means, the lower the sooner it falls."""

    curves: Tensor
    areas: Tensor


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


def deletion(asked: Asked, question: Question, units: Tensor, orders: Tensor) -> Deletion:
    """What is left of the belief as more and more units give way to an empty input, in each of the orders, long [R, U]
    (Petsiuk et al. 2018)."""
    size = orders.shape[1]
    ranks = torch.empty_like(orders).scatter_(1, orders, torch.arange(size, device=orders.device).expand_as(orders))
    cuts = (torch.linspace(0, 1, SHARES) * size).round().long().to(orders.device)
    extra = [1] * (question.x.ndim - 1 - units.ndim)

    def variants(first: int, end: int) -> Tensor:
        numbers = torch.arange(first, end, device=orders.device)
        gone = ranks[numbers // SHARES] < cuts[numbers % SHARES].unsqueeze(1)  # [N, U]
        places = gone[:, units.clamp(min=0)] & (units >= 0)
        return torch.where(places.view(len(numbers), *extra, *units.shape), question.empty, question.x)

    curves = asked.beliefs(variants, len(orders) * SHARES, question.target).view(-1, SHARES)
    return Deletion(curves.cpu(), torch.trapezoid(curves, dx=1 / (SHARES - 1), dim=1).cpu())


def falls(found: Deletion, number: bool) -> tuple[list[float], list[float]]:
    """How far the belief falls in each order, and its log-odds; number: whether it is no probability, but a number."""
    first, least = found.curves[:, 0], found.curves.min(1).values
    odds = first - least if number else first.logit(EPSILON) - least.logit(EPSILON)
    return (first - least).tolist(), odds.tolist()


def chance(area: float, random: Tensor) -> float:
    """How often a random order would do as well: the p-value of a permutation test of areas [R]."""
    return (1 + int((random <= area).sum())) / (1 + len(random))


def likeness(values: Tensor, others: list[Tensor]) -> float | None:
    """The mean rank correlation of a unit's values [U] with those of random weights (Adebayo et al. 2018); None of
    fewer than three units."""
    if len(values) < 3 or not others:
        return None
    return sum(spearman(values.cpu(), other.cpu()) for other in others) / len(others)


def reasons(
    area: float, p: float, fall: float, odds: float, own: float, best: float | None, alike: float | None
) -> list[str]:
    """Why an explanation means nothing; none where it does.

    area, p: of its deletion; fall: how far the belief falls there, and odds, how far its log-odds do. own: how far
    those of a model with random weights fall at most, without what it marks itself. best: the least area of the orders
    of random weights; alike: the rank correlation with these.
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
    if best is not None and area >= best:
        found.append("a model with random weights marks what counts as well")
    if alike is not None and alike > ALIKE:
        found.append(f"a model with random weights marks the same (rank correlation {alike:.2f})")
    return found
