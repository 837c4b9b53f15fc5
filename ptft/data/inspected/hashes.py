"""Which pictures look alike: a hash of the signs of their lowest frequencies, and how far these are apart.

A picture is what a modality makes of an example: a small grey image, or a log-mel spectrogram brought to one length.
Axes: N pictures, H W their size, F frequencies, n some pairs.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from ptft.data.inspected.neighbours import Neighbours, nearest

KEPT = 16
"""Frequencies on each axis by which pictures are compared."""
HASHED = 8
"""Frequencies on each axis whose signs are the hash."""
BITS = 10
"""So many of the hash's 63 bits of a near duplicate may differ."""
K = 15
"""Neighbours that say how far apart pictures usually are there."""
LOOKED_AT = 4
"""Nearest neighbours that may be near duplicates."""
STANDS_OUT = 0.35
"""A near duplicate is closer than this share of the distance to the K-th neighbour, and …"""
FARTHEST = 0.25
"""… than this, of pictures without mean and of length 1, …"""
LOOSELY = 2 * FARTHEST
"""As FARTHEST, of a pair that something else has found, and …"""
LOOSE_BITS = 16
"""… as BITS."""
CLOSE = 0.03
"""… or closer than this, however close others are."""


@cache
def cosines(size: int, kept: int) -> Tensor:
    """The first rows of the orthonormal DCT-II, float [kept, size]."""
    place = torch.arange(size) + 0.5
    rows = (math.pi / size * torch.arange(kept).unsqueeze(1) * place).cos() * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


def frequencies(pictures: Tensor) -> Tensor:
    """Float [N, H, W] -> the lowest KEPT x KEPT of the DCT without the mean, float [N, F], of length 1.

    A picture of one value has none: zeros.
    """
    high, wide = (min(KEPT, side) for side in pictures.shape[1:])
    low = cosines(pictures.shape[1], high) @ pictures @ cosines(pictures.shape[2], wide).T
    vectors = low.flatten(1)[:, 1:]
    length = vectors.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3, vectors / length.clamp(min=1e-6), 0)


def signs(vectors: Tensor, wide: int) -> Tensor:
    """The hash of `frequencies`, bool [N, 63]: the signs of the lowest HASHED x HASHED. wide: how many are in a row."""
    rows = torch.arange(HASHED).unsqueeze(1) * wide + torch.arange(HASHED)
    return vectors[:, rows.flatten()[1:] - 1] > 0


def near(vectors: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of near duplicates among `frequencies`, long [n, 2], the smaller first, and their distances, float [n]."""
    real = vectors.any(1).nonzero().flatten()
    if not len(real):  # all of one colour
        return torch.zeros(0, 2, dtype=torch.long), torch.zeros(0)
    chosen = vectors[real]
    found = nearest(chosen, min(K, max(1, len(real) - 1)), seed)
    pairs, distances = standing_out(found, STANDS_OUT, CLOSE, FARTHEST)
    bits = signs(chosen, min(KEPT, math.isqrt(vectors.shape[1] + 1)))
    differ = (bits[pairs[:, 0]] != bits[pairs[:, 1]]).sum(1)
    kept = differ <= BITS
    return real[pairs[kept]], distances[kept]


def alike(vectors: Tensor, pairs: Tensor, seed: int) -> Tensor:
    """Which pairs (long [n, 2]) that something else has found look alike too, bool [n]: they stand out as near
    duplicates do among `frequencies`, which may be farther apart: darker ones, say, of which fewer bits agree."""
    found = nearest(vectors, min(K, max(1, len(vectors) - 1)), seed)
    usual = found.distance[:, -1] if found.distance.shape[1] >= K else torch.zeros(len(vectors))
    first, second = pairs.unbind(1)
    distance = (vectors[first] - vectors[second]).norm(dim=1)
    bits = signs(vectors, min(KEPT, math.isqrt(vectors.shape[1] + 1)))
    close = (distance < LOOSELY) & (distance < STANDS_OUT * (usual[first] + usual[second]) / 2)
    shown = vectors[first].any(1) & vectors[second].any(1)
    found_alike: Tensor = shown & ((distance < CLOSE) | close) & ((bits[first] != bits[second]).sum(1) <= LOOSE_BITS)
    return found_alike


def standing_out(found: Neighbours, share: float, close: float, farthest: float) -> tuple[Tensor, Tensor]:
    """Pairs (long [n, 2], the smaller first) that are much closer than others are there, and their distances.

    share: of the mean distance of the two to their last neighbour; it counts where they have K of them.
    """
    first = torch.arange(len(found.places)).unsqueeze(1).expand(-1, min(LOOKED_AT, found.places.shape[1]))
    second, distance = found.places[:, :LOOKED_AT], found.distance[:, :LOOKED_AT]
    usual = found.distance[:, -1] if found.distance.shape[1] >= K else torch.zeros(len(found.distance))
    scale = (usual.unsqueeze(1) + usual[second.clamp(min=0)]) / 2
    chosen = (second >= 0) & ((distance < close) | ((distance < share * scale) & (distance < farthest)))
    pairs = torch.stack([torch.minimum(first, second)[chosen], torch.maximum(first, second)[chosen]], 1)
    pairs, place = torch.unique(pairs, dim=0, return_inverse=True)
    distances = torch.full((len(pairs),), torch.inf).scatter_reduce_(0, place, distance[chosen], "amin")
    return pairs, distances
