"""Nearest neighbours in memory that does not grow with the pairs: cells of alike vectors, each searched as one product.

Axes: N vectors, D their width, k neighbours, C cells, P cells that a vector is searched in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALL = 8192
"""Up to so many vectors every one is compared with all others; beyond, with those of its nearest cells."""
PROBED = 6
"""Cells that a vector is searched in."""
ROUNDS = 4
"""How often the centres of cells are moved to the mean of a sample."""
PER_CENTRE = 64
"""Vectors of that sample for each cell."""
AT_ONCE = 2**22
"""Distances that are held at a time, at most about."""


class Neighbours(NamedTuple):
    """Of every vector the k nearest others, the nearest first: distances float [N, k], and which, long [N, k].

    Where there are fewer, infinity and -1.
    """

    distance: Tensor
    places: Tensor


def nearest(vectors: Tensor, k: int, seed: int = 0) -> Neighbours:
    """The k nearest others (Euclidean) of float32 [N, D]; exact for up to SMALL, else of the nearest cells.

    A pair that is much closer than others are is found: it lies in one cell, or in neighbouring ones.
    """
    n = len(vectors)
    best = Neighbours(torch.full((n, k), torch.inf), torch.full((n, k), -1))
    if n <= SMALL:
        every = torch.arange(n)
        _search(vectors, every, every, best)
        return best
    centres = _centres(vectors, seed)
    cells = torch.cat(
        [_distances(part, centres).topk(PROBED, 1, largest=False).indices for part in torch.split(vectors, 4096)]
    )
    own = cells[:, 0].argsort(stable=True)
    members = torch.split(own, cells[:, 0].bincount(minlength=len(centres)).tolist())
    order = cells.flatten().argsort(stable=True)
    queries = torch.split(order // PROBED, cells.flatten().bincount(minlength=len(centres)).tolist())
    for asked, there in zip(queries, members, strict=True):
        if len(asked) and len(there):
            _search(vectors, asked, there, best)
    return best


def _search(vectors: Tensor, asked: Tensor, there: Tensor, best: Neighbours) -> None:
    """Take into `best` of the vectors `asked` (long [n]) what is near among those `there` (long [m])."""
    candidates = vectors[there]
    k = min(best.distance.shape[1], len(there))
    for part in torch.split(asked, max(1, AT_ONCE // len(there))):
        distance = _distances(vectors[part], candidates)
        distance.masked_fill_(part.unsqueeze(1) == there, torch.inf)
        found, place = distance.topk(k, 1, largest=False)
        index = there[place].masked_fill(found.isinf(), -1)
        distances, order = torch.cat([best.distance[part], found], 1).topk(best.distance.shape[1], 1, largest=False)
        best.distance[part] = distances
        best.places[part] = torch.cat([best.places[part], index], 1).gather(1, order)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, float [n, m], of float [n, D] and [m, D]."""
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * (a @ b.T)
    return squares.clamp_(min=0).sqrt_()


def _centres(vectors: Tensor, seed: int) -> Tensor:
    """About as many as the square root of N, float [C, D]: means of a sample's nearest vectors (Lloyd 1982)."""
    count = round(len(vectors) ** 0.5)
    generator = torch.Generator().manual_seed(seed % 2**63)
    sample = vectors[torch.randperm(len(vectors), generator=generator)[: PER_CENTRE * count]]
    centres = sample[:count].clone()
    for _ in range(ROUNDS):
        cell = torch.cat([_distances(part, centres).argmin(1) for part in torch.split(sample, 4096)])
        counts = cell.bincount(minlength=count).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, cell, sample)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def groups_of(pairs: Tensor, count: int) -> Tensor:
    """Long [N]: the least number that each of `count` items is joined with by pairs (long [M, 2]), or over others."""
    least = torch.arange(count)
    while True:
        joined = torch.minimum(least[pairs[:, 0]], least[pairs[:, 1]])
        new = least.clone()
        for side in (0, 1):
            new.scatter_reduce_(0, pairs[:, side], joined, "amin")
        new = new[new]
        if bool((new == least).all()):
            return least
        least = new
