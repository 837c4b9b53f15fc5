"""BYOL objective: predict a momentum teacher's projection of another view; no negatives (Grill et al. 2020).

Axes: B batch, C channels, H height, W width, D width of projections.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Spec, Step
from ptft.models.layers.mlp import mlp
from ptft.objectives.self_supervised.base import Unlabelled, count
from ptft.objectives.self_supervised.momentum_encoder import Teacher


class BYOL(Unlabelled):
    """Backbone, projector and predictor learn to say the projection of the other view that the teacher gives.

    momentum: how much of itself the teacher keeps at a step at first; rises to 1 (section 3.2).
    hidden, out: widths of projector and predictor; hidden None is twice the backbone's.
    options: those of `Unlabelled`.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        momentum: float = 0.99,
        hidden: int | None = None,
        out: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        wide = hidden or 2 * backbone.width
        self.projector = mlp([backbone.width, wide, out])
        self.predictor = mlp([out, wide, out])
        self.teacher = Teacher(self.students(), momentum)

    def students(self) -> dict[str, nn.Module]:
        """What the teacher is a copy of."""
        return {"backbone": self.backbone, "projector": self.projector}

    def learn(self, x: Tensor) -> Step:
        views = torch.cat([self.views(x), self.views(x)])
        predicted = self.predictor(self.projector(self.features(views)))
        one, other = self.target(views).chunk(2)
        return Step(distance(predicted, torch.cat([other, one])), count(x), {})

    @torch.no_grad()
    def target(self, views: Tensor) -> Tensor:
        """The teacher's projections of prepared images, [B, D]."""
        backbone = cast(Backbone, self.teacher["backbone"])
        projections: Tensor = self.teacher["projector"](backbone.pool(backbone(views)))
        return projections

    def begin(self) -> None:
        self.teacher.begin(self.students())

    def advance(self, step: int, steps: int) -> None:
        self.teacher.follow(self.students(), step, steps)


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """[B, D] twice -> the sum of the squared distances of their directions (equation 2)."""
    return (2 - 2 * F.cosine_similarity(predicted.float(), target.float())).sum()
