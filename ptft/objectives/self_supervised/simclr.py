"""SimCLR objective: contrastive learning of two views of each example (Chen et al. 2020).

Axes: B batch, C channels, H height, W width, D width of projections.
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


class SimCLR(Comparing):
    """NT-Xent between the projections of two random views; every other view of the batch is a negative.

    The more images are compared, the higher the loss: `val/loss`, of an evaluation's larger batches, lies above
    training's, and both are comparable only with themselves.

    temperature: divides the cosines; lower means that the nearest negatives count more.
    hidden, out: widths of the projector, None for the backbone's. norm: BatchNorm in it, as published.
    options: those of `Unlabelled`.
    """

    capturable: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        temperature: float = 0.5,
        hidden: int | None = None,
        out: int = 128,
        norm: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        self.temperature = temperature
        self.projector = mlp([backbone.width, hidden or backbone.width, out], norm=norm)

    def projections(self, x: Tensor) -> Tensor:
        return paired(self.projector(self.features(torch.cat([self.views(x), self.views(x)]))))

    def judge(self, embedded: Tensor) -> Step:
        one, other = F.normalize(embedded.float(), dim=2).unbind(1)
        return Step(nt_xent(one, other, self.temperature), count(embedded), {})


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Two views [B, D] of length 1 -> the loss summed over B images: the mean of both views' (equation 1).

    With several processes the candidates are the views of all of them, the anchors this one's.
    """
    everyone, start = gathered(torch.stack([one, other], dim=1))
    total, anchors = len(everyone), torch.arange(start, start + len(one), device=one.device)
    candidates = everyone.transpose(0, 1).flatten(0, 1)
    with torch.autocast(one.device.type, enabled=False):
        logits = torch.cat([one, other]) @ candidates.T / temperature
    itself, positive = torch.cat([anchors, anchors + total]), torch.cat([anchors + total, anchors])
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(logits, positive, reduction="sum") / 2
