"""The online probe: against plain loops, at chance where labels say nothing, and without a trace in the model."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ptft.data.examples import MemoryExamples
from ptft.data.image.digits import Digits
from ptft.metrics.knn import MOST, Probe, normalised, spread, vote


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_votes_are_those_of_a_plain_loop():
    bank, asked = (normalised(torch.randn(n, 5, generator=generator(n))) for n in (90, 30))
    labels = torch.randint(4, (90,), generator=generator())
    expected = []
    for row in asked.double().numpy():
        cosines = [float(row @ other) for other in bank.double().numpy()]
        nearest = sorted(zip(cosines, labels.tolist(), strict=True), reverse=True)[:20]
        votes = [sum(math.exp(cosine / 0.07) for cosine, k in nearest if k == wanted) for wanted in range(4)]
        expected.append(int(np.argmax(votes)))
    assert vote(asked, bank, labels, 4).tolist() == expected


def flat(batch):
    """Features that need no model: the pixels."""
    return batch["input"].flatten(1).float() / 255


def measured(train, val, classes=10):
    """`knn` and `feature_std` over batches of 100, the last a short one."""
    probe, sums = Probe(train, classes), {}
    for start in range(0, len(val), 100):
        batch = val.take(torch.arange(start, min(start + 100, len(val))))
        for name, value in probe.sums(flat, batch).items():
            sums[name] = sums.get(name, 0) + value
    return probe.metrics(sums)


def test_pixels_of_digits_are_good_features_and_shuffled_labels_are_chance():
    source = Digits(size=8)
    train, val = source.split("train"), source.split("val")
    assert measured(train, val)["knn"] > 0.95
    shuffled = train.at(torch.arange(len(train)), train.labels[torch.randperm(len(train), generator=generator())])
    assert measured(shuffled, val)["knn"] == pytest.approx(0.1, abs=0.05)


def test_spread_is_one_on_the_sphere_and_zero_at_a_point():
    sphere = normalised(torch.randn(4000, 64, generator=generator()))
    point = normalised(torch.ones(500, 64))
    for values, expected in ((sphere, 1.0), (point, 0.0)):
        found = spread(values.sum(0), values.square().sum(0), torch.tensor(len(values)))
        assert found == pytest.approx(expected, abs=0.02)
        assert found == pytest.approx(float(values.double().std(0, correction=0).mean()) * 8, abs=1e-3)


class Counting(MemoryExamples):
    """How many examples were asked for at a time."""

    def __init__(self, *given):
        super().__init__(*given)
        self.taken = []

    def take(self, indices):
        self.taken.append(indices)
        return super().take(indices)


def test_the_bank_is_spread_over_the_split_and_computed_once_until_it_is_forgotten():
    count = 5001
    images = torch.randint(256, (count, 1, 2, 2), generator=generator(), dtype=torch.uint8)
    train = Counting(images, torch.arange(count) % 7)
    probe, calls = Probe(train, 7), []

    def encode(given):
        calls.append(len(given["input"]))
        return flat(given)

    batch = {"input": images[:3], "label": torch.zeros(3, dtype=torch.long)}
    for _ in range(3):
        probe.sums(encode, batch)
    assert sum(calls) == MOST + 3 * 3
    chosen = train.taken[-1]
    assert (len(chosen), int(chosen[0]), int(chosen[-1])) == (MOST, 0, count - 1)
    assert set((chosen[1:] - chosen[:-1]).tolist()) == {2, 3}
    probe.forget()
    probe.sums(encode, batch)
    assert sum(calls) == 2 * MOST + 4 * 3


def test_without_labels_there_is_only_the_spread():
    images = torch.randint(256, (20, 1, 2, 2), generator=generator(), dtype=torch.uint8)
    unlabelled = MemoryExamples(images, None)
    assert measured(unlabelled, unlabelled, 0).keys() == {"feature_std"}
    assert measured(None, MemoryExamples(images, torch.zeros(20, dtype=torch.long)), 2).keys() == {"feature_std"}


def test_a_module_in_evaluation_mode_is_left_as_it_is():
    norm = nn.BatchNorm1d(4).eval()
    images = torch.randint(256, (20, 1, 2, 2), generator=generator(), dtype=torch.uint8)
    train, before = MemoryExamples(images, torch.arange(20) % 2), torch.get_rng_state()
    sums = Probe(train, 2).sums(lambda batch: norm(flat(batch)), train.take(torch.arange(20)))
    assert not any(value.requires_grad for value in sums.values())
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(torch.get_rng_state(), before)
