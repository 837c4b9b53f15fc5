"""VICReg's loss: against loops, and what each of its terms punishes."""

import pytest
import torch

from ptft.core import Spec
from ptft.models.image.cnn import CNN
from ptft.objectives.self_supervised.vicreg import VICReg, regularity

SPEC = Spec("image", {"size": [8, 8], "channels": 1, "fit": "none"})


def embeddings(count=7, width=4):
    return torch.randn(count, 2, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(embedded):
    """Equations 1 to 4 of Bardes et al. 2022: the three terms, number by number."""
    count, _, width = embedded.shape
    alike = sum(((embedded[i, 0] - embedded[i, 1]) ** 2).mean() for i in range(count)) / count
    spread = mixed = 0.0
    for view in (0, 1):
        columns = [embedded[:, view, j] for j in range(width)]
        spread += sum(max(0.0, 1 - (column.var() + 1e-4).sqrt()) for column in columns) / width
        for j, one in enumerate(columns):
            for k, other in enumerate(columns):
                if j != k:
                    mixed += (((one - one.mean()) * (other - other.mean())).sum() / (count - 1)) ** 2 / width
    return float(alike), float(spread), float(mixed)


def test_the_loss_is_that_of_loops_over_numbers():
    objective = VICReg(CNN(SPEC, channels=(2, 4), width=8), SPEC, invariance=3.0, variance=5.0, covariance=7.0)
    alike, spread, mixed = by_hand(embeddings())
    step = objective.judge(embeddings())
    assert float(step.total) == pytest.approx(7 * (3 * alike + 5 * spread + 7 * mixed), rel=1e-5)
    assert int(step.count) == 7


def test_collapse_and_copies_cost_and_independent_spread_does_not():
    point = torch.zeros(6, 2, 3)
    assert float(regularity(point)[0]) == pytest.approx(2 * (1 - 0.01), abs=1e-6)
    copied = embeddings(200, 1).expand(-1, -1, 3).float()
    free = 2 * embeddings(200, 3).float()
    assert regularity(copied)[1] > 1 > 0.3 > regularity(free)[1]
    assert float(regularity(free)[0]) == 0


def test_one_example_has_no_statistics_and_no_trouble():
    spread, mixed = regularity(embeddings(1).float())
    assert torch.isfinite(spread)
    assert float(mixed) == 0
