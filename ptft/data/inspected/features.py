"""Features without a model: principal components of small pictures, of n-grams of texts, and what is far from all.

Axes: N examples, D what goes in, W what comes out, V buckets of n-grams.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ptft.data.inspected.neighbours import Neighbours
from ptft.data.inspected.shingles import hashed

WIDTH = 64
"""Components of pictures."""
TEXT_WIDTH = 256
BUCKETS = 2**16
"""Buckets of words and pairs of words; different ones may share one."""
GRAMS = 2**20
"""Buckets of three characters in a row."""
WORD = re.compile(r"\w+|[^\w\s]")
FAR = 4.0
"""An outlier is so many robust standard deviations (1.4826 times the median deviation) above the median."""


def components(pictures: Tensor, width: int = WIDTH) -> Tensor:
    """Numbers [N, D], uint8 or float -> float32 [N, W + 1]: the principal components of most variance, and the length
    of what they leave of an example, which is large where it is like no other."""
    mean, square, count = torch.zeros(pictures.shape[1]), torch.zeros(pictures.shape[1], pictures.shape[1]), 0
    for part in torch.split(pictures, 8192):
        values = part.float()
        mean, square, count = mean + values.sum(0), square + values.T @ values, count + len(values)
    mean /= max(1, count)
    covariance = square / max(1, count) - torch.outer(mean, mean)
    axes = torch.linalg.eigh(covariance.double()).eigenvectors.float()[:, -width:].flip(1)
    return torch.cat([_projected(part.float() - mean, axes) for part in torch.split(pictures, 8192)])


def _projected(values: Tensor, axes: Tensor) -> Tensor:
    inside = values @ axes
    left = (values.square().sum(1) - inside.square().sum(1)).clamp(min=0).sqrt()
    return torch.cat([inside, left.unsqueeze(1)], 1)


def of_texts(texts: Sequence[str], seed: int) -> Tensor:
    """Float32 [N, W]: words and pairs of words in buckets, weighed by TF-IDF, and their main components (LSA:
    Deerwester et al. 1990) by a random projection that is refined twice (Halko et al. 2011)."""
    rows, columns = _grams(texts)
    used, columns = np.unique(columns, return_inverse=True)
    documents = np.bincount(columns, minlength=len(used))
    weight = np.log((1 + len(texts)) / (1 + documents[columns])) + 1
    total = np.sqrt(np.bincount(rows, weight**2, minlength=len(texts)))
    values = torch.from_numpy(weight / total[rows]).float()
    shape = (len(texts), len(used))
    places = torch.from_numpy(np.stack([rows, columns]))
    with torch.sparse.check_sparse_tensor_invariants(False):  # type: ignore[no-untyped-call]  # torch 2.11 warns without
        matrix = torch.sparse_coo_tensor(places, values, shape).coalesce()
        turned = torch.sparse_coo_tensor(places.flip(0), values, shape[::-1]).coalesce()
    width = min(TEXT_WIDTH, *shape)
    generator = torch.Generator().manual_seed(seed % 2**63)
    basis = torch.randn(shape[1], width, generator=generator)
    for _ in range(3):
        basis = torch.linalg.qr(turned @ (matrix @ basis)).Q
    projected: Tensor = matrix @ basis
    return projected


def _grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which text, and which bucket, of every different word and pair of words: int64 [n] each, sorted."""
    rows, buckets = [], []
    for row, text in enumerate(texts):
        words = WORD.findall(text.casefold())
        grams = {*words, *map(" ".join, itertools.pairwise(words))} or {""}
        rows += [row] * len(grams)
        buckets += [hash_of(gram) for gram in grams]
    keys = np.unique(np.array(rows, dtype=np.int64) * BUCKETS + np.array(buckets, dtype=np.int64))
    return keys // BUCKETS, keys % BUCKETS


def hash_of(gram: str) -> int:
    """The bucket of a gram, the same on every machine and in every process."""
    return zlib.crc32(gram.encode("utf-8", "surrogateescape")) % BUCKETS


def surprise(texts: Sequence[str]) -> Tensor:
    """Float32 [N]: how rare the triples of characters of each text are in all others, in nats a triple."""
    data = [f"  {text}".encode("utf-8", "surrogateescape").ljust(3) for text in texts]
    parts = [hashed(each, 3) % np.uint64(GRAMS) for each in data]
    counts = sum((np.bincount(part.astype(np.int64), minlength=GRAMS) for part in _joined(parts)), np.zeros(GRAMS))
    total = counts.sum()
    scores = np.empty(len(parts), dtype=np.float32)
    for row, part in enumerate(parts):
        own, times = np.unique(part.astype(np.int64), return_counts=True)
        others = counts[own] - times
        scores[row] = (times * -np.log((others + 0.1) / (total + 0.1 * GRAMS))).sum() / times.sum()
    return torch.from_numpy(scores)


def _joined(parts: Sequence[np.ndarray], some: int = 4096) -> list[np.ndarray]:
    return [np.concatenate(parts[begin : begin + some]) for begin in range(0, len(parts), some)]


def remoteness(found: Neighbours) -> Tensor:
    """Float [N]: the logarithm of the distance to the farthest of the neighbours that there are: some strange examples
    that are alike are strange all the same."""
    return found.distance.masked_fill(found.places < 0, 0).amax(1).clamp(min=1e-9).log()


def deviations(scores: Tensor) -> Tensor:
    """Float [N]: how far above the median, in robust standard deviations of the upper half: dense crowds of examples
    that are much alike say nothing of how far the others may be."""
    above = scores - scores.median()
    spread = 1.4826 * above[above >= 0].median()
    return above / spread.clamp(min=1e-6)
