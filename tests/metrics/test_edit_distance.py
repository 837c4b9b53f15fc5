"""Edit distances against the definition, by recursion."""

import random
from functools import cache

import torch

from ptft.metrics.edit_distance import edits


def brute(one, other):
    @cache
    def least(i, j):
        if i == 0 or j == 0:
            return i + j
        same = least(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(same, least(i - 1, j) + 1, least(i, j - 1) + 1)

    return least(len(one), len(other))


def test_distances_are_those_of_the_definition():
    draw = random.Random(0)
    pairs = [tuple("".join(draw.choices("abc", k=draw.randrange(8))) for _ in range(2)) for _ in range(300)]
    found = edits([a for a, _ in pairs], [b for _, b in pairs])
    assert found.tolist() == [brute(a, b) for a, b in pairs]


def test_words_and_nothing():
    said = [["the", "cat", "sat"], [], ["a"]]
    assert edits(said, [["the", "mat", "sat", "down"], ["x", "y"], []]).tolist() == [2, 2, 1]
    assert edits([[]], [[]]).tolist() == [0]
    assert edits([], []).shape == torch.Size([0])
