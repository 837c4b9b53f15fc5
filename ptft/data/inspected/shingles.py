"""Which texts are nearly the same: shingles of characters, their MinHash (Broder 1997), and bands of it that agree.

Axes: N texts, S shingles of all of them one after another, H hash functions, M pairs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray

LENGTH = 5
"""Bytes of a shingle, and …"""
LONG, LONG_LENGTH = 2000, 32
"""… of a text of so many bytes or more, which has most short ones whatever it says."""
HASHES, ROWS = 64, 4
"""Hash functions, and how many of them make a band: a pair that shares four fifths of its shingles agrees in one of the
16 bands in 9,998 of 10,000 cases."""
ALIKE = 0.8
"""Near duplicates share so much of their shingles, of those of both (Jaccard)."""
LOOSELY = 0.5
"""As ALIKE, of a pair that something else has found."""
BEGIN = "\N{START OF TEXT}"
AT_ONCE = 2**20
"""Bytes of texts whose shingles are held at a time."""


def plain(text: str) -> str:
    """The text without what its copies differ in: case, punctuation, runs of blanks."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def hashed(data: bytes, length: int = LENGTH) -> Array:
    """uint64 [n]: a number for every `length` bytes in a row of the data."""
    values = np.frombuffer(data, dtype=np.uint8).astype(np.uint64)
    count = max(0, len(values) - length + 1)
    numbers = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        numbers = numbers * np.uint64(257) + values[place : place + count] + np.uint64(1)
    return mixed(numbers)


def mixed(numbers: Array) -> Array:
    """The finaliser of splitmix64 (Steele et al. 2014): every bit of uint64 [n] decides every other."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    done: Array = numbers ^ (numbers >> np.uint64(31))
    return done


def _shingled(data: Sequence[bytes], length: int) -> tuple[Array, Array]:
    """The shingles of texts one after another, uint64 [S], and where each begins, int64 [N + 1]; every text has one."""
    sizes = np.array([len(each) for each in data])
    numbers = hashed(b"".join(data), length)
    ends = np.cumsum(sizes)
    kept = np.ones(len(numbers), dtype=bool)
    for back in range(1, length):  # those that reach into the next text
        places = ends[:-1] - back
        kept[places[places >= 0]] = False
    starts = np.concatenate([[0], np.cumsum(sizes - length + 1)])
    return numbers[kept], starts


def near(seed: int, *columns: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Pairs of near duplicates, long [M, 2] with the smaller first, and 1 less the share of shingles, float [M].

    columns: the text of each of N examples, or their texts of one kind after those of another; all of a pair are near,
    and the share is that of the least near. A text below LONG and one above it are not compared.
    """
    data = [_bytes(column) for column in columns]
    long = np.array([[len(each) >= LONG for each in column] for column in data], dtype=bool)
    found = []
    for kinds in itertools.product((False, True), repeat=len(columns)):
        rows = np.flatnonzero((long == np.array(kinds)[:, None]).all(0))
        if len(rows) > 1:
            lengths = [LONG_LENGTH if each else LENGTH for each in kinds]
            found.append(_near([[column[row] for row in rows] for column in data], rows, lengths, seed))
    if not found:
        return torch.empty(0, 2, dtype=torch.long), torch.empty(0)
    pairs, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return torch.from_numpy(pairs), torch.from_numpy(distances).float()


def alike(pairs: Tensor, *columns: Sequence[str]) -> Tensor:
    """Which pairs (long [M, 2]) that something else has found share much of their shingles too, in every column: bool
    [M]."""
    shared = [_shared(_bytes([column[a], column[b]])) for a, b in pairs.tolist() for column in columns]
    return (torch.tensor(shared, dtype=torch.float64).view(len(pairs), len(columns)) >= LOOSELY).all(1)


def _shared(two: Sequence[bytes]) -> float:
    """The share of different shingles that both texts have."""
    length = LONG_LENGTH if min(map(len, two)) >= LONG else LENGTH
    return float(_jaccard([np.unique(hashed(each, length)) for each in two], np.array([[0, 1]]))[0])


def _bytes(texts: Sequence[str]) -> list[bytes]:
    return [f"{BEGIN}{plain(text)}".encode("utf-8", "surrogateescape").ljust(LENGTH) for text in texts]


def _near(columns: Sequence[Sequence[bytes]], rows: Array, lengths: Sequence[int], seed: int) -> tuple[Array, Array]:
    """As `near`, of texts that are these rows of all; lengths: of the shingles of each column."""
    signatures, sets = [], []
    for data, length in zip(columns, lengths, strict=True):
        hashes, own = [], []
        for part in _parts(data):
            numbers, starts = _shingled(part, length)
            hashes.append(_minhash(numbers, starts, seed))
            own += [np.unique(each) for each in np.split(numbers, starts[1:-1])]
        signatures.append(np.concatenate(hashes))
        sets.append(own)
    pairs = _candidates(signatures)
    shared = np.min([_jaccard(own, pairs) for own in sets], axis=0)
    kept = shared >= ALIKE
    return rows[pairs[kept]], 1 - shared[kept]


def _parts(texts: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The texts in order, so many at a time that their shingles fit."""
    ends = np.cumsum([len(text) for text in texts]) // AT_ONCE
    cuts = np.flatnonzero(np.diff(ends)) + 1
    bounds = [0, *cuts.tolist(), len(texts)]
    return [texts[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def _minhash(numbers: Array, starts: Array, seed: int) -> Array:
    """uint64 [N, H]: of every hash function the least value of a text's shingles."""
    salts = np.random.default_rng(seed).integers(0, 2**63, HASHES, dtype=np.uint64)
    return np.stack([np.minimum.reduceat(mixed(numbers ^ salt), starts[:-1]) for salt in salts], 1)


def _candidates(signatures: Sequence[Array]) -> Array:
    """Pairs that agree in a band of each of the signatures (uint64 [N, H]), int64 [M, 2]: of those that agree each with
    the first and with the one before it."""
    found = []
    for begin in range(0, HASHES, ROWS):
        band = np.zeros(len(signatures[0]), dtype=np.uint64)
        for values in (own[:, column] for own in signatures for column in range(begin, begin + ROWS)):
            band = mixed(band ^ values)
        order = np.argsort(band, kind="stable")
        same = band[order][1:] == band[order][:-1]
        place = np.arange(len(order))
        heads = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), place, 0))
        later = np.flatnonzero(same) + 1
        for other in (later - 1, heads[later]):
            found.append(np.stack([order[other], order[later]], 1))
    pairs = np.sort(np.concatenate(found), 1)
    return np.unique(pairs, axis=0) if len(pairs) else pairs.reshape(0, 2)


def _jaccard(sets: Sequence[Array], pairs: Array) -> Array:
    """float64 [M]: the share of different shingles that both of a pair have."""
    shared = np.empty(len(pairs))
    for row, (a, b) in enumerate(pairs.tolist()):
        both = len(np.intersect1d(sets[a], sets[b], assume_unique=True))
        shared[row] = both / (len(sets[a]) + len(sets[b]) - both)
    return shared
