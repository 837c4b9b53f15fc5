"""Integrated gradients, read where the answer changes. Axes: N points on the way, P positions of the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ptft.stages.explain.asked import Asked, Found, Question

EVEN = 16
"""So many equal parts the way has before those are halved in which the score changes most."""
ROUNDS = 16
"""In about so many rounds, each of which sees what the one before did."""

Score = Callable[[Tensor], Tensor]


def integrated_gradients(asked: Asked, question: Question, steps: int) -> Found:
    """The gradient of the score times the way from an empty input, averaged over that way (Sundararajan et al. 2017).

    Values add up to the score of the input less that of the empty one but for the gap, which is given as a share of
    that difference (of 1 at least). The integral is read in the middles of `steps` parts, short ones where the score
    changes most: texts may turn from one class to the other in a hundredth of the way. Of ids it is one of embeddings.
    """
    x, empty = question.x, question.empty
    if x.is_floating_point():
        return _along(x, empty, steps, question, asked.rows, lambda points: asked.score(points, question.target))
    module = asked.embedding(x)
    begin, end = (module(ids) for ids in (empty, x))

    def score(points: Tensor) -> Tensor:
        with asked.replaced(module, lambda _: points):
            return asked.score(x.expand(len(points), *x.shape[1:]), question.target)

    return _along(end, begin, steps, question, asked.rows, score)


def _along(end: Tensor, begin: Tensor, steps: int, question: Question, rows: int, score: Score) -> Found:
    """rows: how many points are computed at once."""
    way, total, axes = (end - begin).nan_to_num(0), torch.zeros_like(end), [1] * (end.ndim - 1)
    edges, values = _edges(steps, rows, lambda shares: score(begin + shares.to(end.device).view(-1, *axes) * way))
    edges = edges.to(end.device)
    middles, lengths = (edges[1:] + edges[:-1]) / 2, edges.diff()
    for share, length in zip(*(torch.split(each, rows) for each in (middles, lengths)), strict=True):
        points = (begin + share.view(-1, *axes) * way).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(points).sum(), points)
        total += (gradient.nan_to_num(0) * length.view(-1, *axes)).sum(0, keepdim=True)
    given, due = total * way, float(values[-1] - values[0])
    return Found(_folded(given, question), abs(float(given.sum()) - due) / max(abs(due), 1.0))


@torch.no_grad()
def _edges(steps: int, rows: int, score: Score) -> tuple[Tensor, Tensor]:
    """Where the parts of the way begin and end, [steps + 1] from 0 to 1, and scores, the first and last of the ends."""

    def scores(shares: Tensor) -> Tensor:
        return torch.cat([score(part.float()).double().cpu() for part in torch.split(shares, rows)])

    edges = torch.linspace(0, 1, min(EVEN, steps) + 1, dtype=torch.float64)
    if len(edges) > steps:
        return edges.float(), scores(edges[[0, -1]])
    values = scores(edges)
    while len(edges) <= steps:
        count = min(max(1, steps // ROUNDS), steps + 1 - len(edges), len(edges) - 1)
        worst = values.diff().abs().topk(count).indices
        halves = (edges[worst] + edges[worst + 1]) / 2
        edges, order = torch.cat([edges, halves]).sort()
        values = torch.cat([values, scores(halves)])[order]
    return edges.float(), values


def _folded(values: Tensor, question: Question) -> Tensor:
    """[1, …] with an axis of channels or embeddings -> [*P]."""
    extra = values.ndim - 1 - len(question.positions)
    if not extra:
        return values[0]
    return values[0].sum(0 if question.x.is_floating_point() else -1)
