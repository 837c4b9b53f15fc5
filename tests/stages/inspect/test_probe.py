"""Likely wrong labels: confident learning, and a probe that answers what it has not seen."""

import torch

from ptft.stages.inspect import probe


def test_confident_learning_by_hand():
    """Classes of mean self-confidence 0.8 and 0.6: one of each is surely the other, one is merely unsure."""
    probability = torch.tensor([[0.9, 0.1]] * 6 + [[0.2, 0.8]] + [[0.1, 0.9]] * 5 + [[0.95, 0.05]] + [[0.55, 0.45]])
    labels = torch.tensor([0] * 7 + [1] * 7)
    assert torch.allclose(probe.thresholds(probability, labels), torch.tensor([5.6 / 7, 5.0 / 7]))
    rows, likely, sure = probe.likely_wrong(probability, labels)
    assert rows.tolist() == [12, 6]
    assert likely.tolist() == [0, 1]
    assert torch.allclose(sure, torch.tensor([0.9, 0.6]))


def test_a_probe_has_not_seen_what_it_answers():
    """Labels that nothing says are guessed no better than chance, though each group of two has one label twice."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 8, generator=generator).repeat_interleave(2, 0)
    labels = torch.randint(2, (100,), generator=generator).repeat_interleave(2)
    groups = torch.arange(100).repeat_interleave(2)
    assert len(set(zip(groups.tolist(), probe.folds(groups, 0).tolist(), strict=True))) == 100
    apart = probe.probabilities(features, labels, groups, 2, 0).argmax(1) == labels
    seen = probe.probabilities(features, labels, torch.arange(200), 2, 0).argmax(1) == labels
    assert 0.3 < float(apart.float().mean()) < 0.7
    assert float(seen.float().mean()) > float(apart.float().mean()) + 0.1
