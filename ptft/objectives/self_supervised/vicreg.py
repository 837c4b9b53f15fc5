"""VICReg objective: two views alike, each coordinate spread, no two coordinates the same (Bardes et al. 2022).

Axes: B batch, W the examples of all processes, D width of embeddings.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.core import Backbone, Spec, Step
from ptft.distributed.gather import gathered
from ptft.models.layers.mlp import mlp
from ptft.objectives.self_supervised.base import Comparing, count, paired

LEAST = 1e-4
"""Added to a variance before its root, whose slope at 0 has no end (section 4.1)."""


class VICReg(Comparing):
    """Invariance, variance and covariance of what an expander makes of two random views; no negatives, no teacher.

    invariance: weight of the mean squared difference of both views' embeddings.
    variance: weight of how far each coordinate's standard deviation over the batch is below 1.
    covariance: weight of the squared covariances of different coordinates, which decorrelates them.
    hidden, out: widths of the expander, hidden None for `out`. norm: BatchNorm in it, as published.
    options: those of `Unlabelled`.
    """

    capturable: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        hidden: int | None = None,
        out: int = 512,
        norm: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        wide = hidden or out
        self.expander = mlp([backbone.width, wide, wide, out], norm=norm)

    def projections(self, x: Tensor) -> Tensor:
        return paired(self.expander(self.features(torch.cat([self.views(x), self.views(x)]))))

    def judge(self, embedded: Tensor) -> Step:
        """Of several processes each has its share of the batch's terms, by its examples."""
        one, other = embedded.float().unbind(1)
        everyone = gathered(embedded.float())[0]
        spread, mixed = regularity(everyone)
        alike = (one - other).square().mean(1).sum()
        total = self.invariance * alike + len(one) * (self.variance * spread + self.covariance * mixed)
        return Step(total, count(embedded), {})


def regularity(embedded: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of two views, float32 [W, 2, D] -> the variance and the covariance terms (equations 1 and 3)."""
    with torch.autocast(embedded.device.type, enabled=False):
        views = embedded.transpose(0, 1)
        centred = views - views.mean(1, keepdim=True)
        covariance = centred.transpose(1, 2) @ centred / max(len(embedded) - 1, 1)
    variances = covariance.diagonal(dim1=1, dim2=2)
    spread = F.relu(1 - (variances + LEAST).sqrt()).mean(1).sum()
    squares = covariance.square().sum((1, 2)) - variances.square().sum(1)
    return spread, squares.sum() / embedded.shape[2]
