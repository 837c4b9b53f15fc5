"""DINOv2 objective: DINO of images and of hidden patches, balanced answers, spread features (Oquab et al. 2023).

Axes: B batch, T patches, N of them that may be hidden, D width of features, K prototypes, W rows of all processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Features, Spec, Step, TokenBackbone
from ptft.distributed.gather import gathered
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.base import count
from ptft.objectives.self_supervised.dino import DINO, GLOBAL, Head, cross_entropy
from ptft.objectives.self_supervised.mae import chosen
from ptft.runtime.together.draws import rand

ROUNDS = 3
"""Times that prototypes and rows are balanced in turn (section 4)."""


class DINOv2(DINO):
    """DINO whose student also says of hidden patches of large crops what the teacher says of them, unhidden (iBOT).

    In half of the large crops patches are replaced by a learned token, and a head of their own answers for them. The
    teacher's answers are balanced over the batch by Sinkhorn and Knopp's iterations in the place of a moving center,
    and KoLeo drives each image away from the one that is nearest to it.

    mask_ratio: smallest and largest share of the patches that is hidden in a crop where some are.
    patch_weight: of the loss of hidden patches, beside that of images. koleo: weight of the spread of features.
    options: those of `DINO`, of which `center_momentum` does nothing.
    Raises ConfigError for a backbone whose patches can't be replaced.
    """

    heads: ClassVar[tuple[str, ...]] = ("head", "patch_head")
    patch_head: Head
    backbone: TokenBackbone

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        mask_ratio: Sequence[float] = (0.1, 0.5),
        patch_weight: float = 1.0,
        koleo: float = 0.1,
        **options: Any,
    ) -> None:
        if not isinstance(backbone, TokenBackbone):
            raise ConfigError(
                f"objective=dinov2: model {type(backbone).__name__} can't encode an image with patches replaced; "
                "choose model=vit_tiny or model=vit_small"
            )
        super().__init__(backbone, spec, **options)
        (high, wide), (low, most) = (int(side) for side in spec.shape["size"]), mask_ratio
        self.tokens = (high // backbone.cell[0]) * (wide // backbone.cell[1])
        self.mask_ratio, self.hidden = (low, most), max(1, round(most * self.tokens))
        self.patch_weight, self.koleo = patch_weight, koleo
        self.hidden_token = nn.Parameter(torch.empty(backbone.width).normal_(std=0.02))

    def learn(self, x: Tensor) -> Step:
        large = self.views(x.repeat(GLOBAL, 1, 1, 1))
        places, weights = self.masks(large)
        seen = self._student(large, places, weights)
        pooled = self.backbone.pool(seen)
        features = [pooled]
        if self.local_crops:
            features.append(self.features(self.local_views(x.repeat(self.local_crops, 1, 1, 1))))
        answers = (self.head(torch.cat(features)) / self.temperature).log_softmax(1)
        targets, patch_targets = self.balanced(large, places, weights)
        crops = GLOBAL + self.local_crops
        total = cross_entropy(targets.view(GLOBAL, len(x), -1), answers.view(crops, len(x), -1))
        patches = chosen(seen.tokens[:, self.backbone.prefix :], places).flatten(0, 1)
        errors = -(patch_targets * (self.patch_head(patches) / self.temperature).log_softmax(1)).sum(1)
        total = total + self.patch_weight * (errors * weights.flatten()).sum() / GLOBAL
        spread = torch.stack([nearness(crop) for crop in pooled.chunk(GLOBAL)]).mean()
        return Step(total + self.koleo * spread, count(x), {})

    def masks(self, large: Tensor) -> tuple[Tensor, Tensor]:
        """Of crops [2 B, …] which patches may be hidden, long [2 B, N], and their weights, float32 of the same shape:
        0 for one that is shown, of a crop's others all the same, 1 in sum."""
        order = rand(len(large), self.tokens, device=large.device).argsort(dim=1)[:, : self.hidden]
        chance = rand(len(large), 2, device=large.device)
        low, high = self.mask_ratio
        share = low + (high - low) * chance[:, 0]
        hidden = ((share * self.tokens).round().clamp(1, self.hidden) * (chance[:, 1] < 0.5)).unsqueeze(1)
        here = torch.arange(self.hidden, device=large.device) < hidden
        return order, here / hidden.clamp(min=1)

    def _student(self, large: Tensor, places: Tensor, weights: Tensor) -> Features:
        tokens = self.backbone.embed(large)
        hidden = torch.zeros(tokens.shape[:2], device=large.device).scatter(1, places, (weights > 0).float()) > 0
        return self.backbone.encode(torch.where(hidden.unsqueeze(2), self.hidden_token.to(tokens.dtype), tokens))

    @torch.no_grad()
    def balanced(self, large: Tensor, places: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's shares of the prototypes, of large crops [2 B, K] and of their patches [2 B N, K]."""
        backbone = cast(TokenBackbone, self.teacher["backbone"])
        features = backbone(large)
        patches = chosen(features.tokens[:, backbone.prefix :], places).flatten(0, 1)
        images = self.teacher["head"](backbone.pool(features))
        cells = self.teacher["patch_head"](patches)
        whole = torch.ones(len(large), device=large.device)
        of_patches = sinkhorn(cells / self.teacher_temperature, (weights.flatten() > 0).float())
        return sinkhorn(images / self.teacher_temperature, whole), of_patches

    def recentre(self) -> None:
        """Nothing: there is no center."""


def sinkhorn(logits: Tensor, rows: Tensor) -> Tensor:
    """float32 [B, K], and 1 for each row that counts, else 0, [B] -> shares [B, K] of sum 1, 0 in rows that don't.

    Over all processes, prototypes have equal shares of all rows, nearly (Caron et al. 2020, section 3.1).
    """
    everyone, start = gathered(torch.cat([logits, rows.unsqueeze(1)], dim=1))
    logits, counts = everyone[:, :-1], everyone[:, -1:]
    shares = (logits - logits.amax()).exp() * counts if len(logits) else logits
    for _ in range(ROUNDS):
        shares = shares / shares.sum(0, keepdim=True).clamp(min=1e-30)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-30)
    return shares[start : start + len(rows)]


def nearness(features: Tensor) -> Tensor:
    """[B, D] -> minus the log of each row's distance to the nearest other of all processes, as directions, summed over
    B (Sablayrolles et al. 2019); 0 where there is no other."""
    with torch.autocast(features.device.type, enabled=False):
        points = F.normalize(features.float(), dim=1)
        everyone, start = gathered(points)
        if len(everyone) < 2 or not len(points):
            return 0 * everyone.sum()
        own = torch.arange(start, start + len(points), device=points.device).unsqueeze(1)
        nearest = (points @ everyone.T).detach().scatter(1, own, -2).argmax(1)
        distances: Tensor = (points - everyone[nearest]).norm(dim=1)
        logs: Tensor = (distances + 1e-8).log()
        return -logs.sum()
