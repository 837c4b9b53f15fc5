"""Rotation prediction objective: by how many quarter turns was the image rotated? (Gidaris et al. 2018)

Axes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Spec, Step
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.base import Unlabelled, count

TURNS = 4


class Rotation(Unlabelled):
    """A linear head names the turn; all four turns of every image are in the batch (section 2.1).

    options: those of `Unlabelled`.
    Raises ConfigError for images that are not square.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    capturable: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, spec: Spec, **options: Any) -> None:
        super().__init__(backbone, spec, **options)
        height, width = spec.shape["size"]
        if height != width:
            raise ConfigError(f"objective=rotation: turns square images only, dataset.size={[height, width]} is not")
        self.head = nn.Linear(backbone.width, TURNS)

    def learn(self, x: Tensor) -> Step:
        x = self.views(x)
        logits = self.head(self.features(torch.cat([x.rot90(turn, (2, 3)) for turn in range(TURNS)]))).float()
        turns = torch.arange(TURNS, device=x.device).repeat_interleave(len(x))
        total = F.cross_entropy(logits, turns, reduction="sum") / TURNS
        return Step(total, count(x), {"turned": (logits.detach().argmax(1) == turns).sum()})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """`rotation_accuracy`, and in evaluation those of `Unlabelled`."""
        return {"rotation_accuracy": float(sums["turned"] / (TURNS * sums["count"])), **super().metrics(sums)}
