"""From the levels of a feature pyramid to the classes of pixels. Axes: B batch, D width, K classes, s finest stride."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ptft.objectives.detection.pyramid import GROUPS


class PixelHead(nn.Module):
    """Levels [B, D, H / s, W / s] of ever larger strides -> logits [B, K, H / s, W / s] at the finest one.

    All levels are brought to the finest and summed, as in the semantic branch of Kirillov et al. 2019, "Panoptic
    Feature Pyramid Networks", where each is convolved as it grows; here `depth` convolutions follow the sum, which cost
    less on small machines and see as much, for the pyramid has convolved its levels already.
    """

    def __init__(self, width: int, classes: int, depth: int) -> None:
        super().__init__()
        block = [
            (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU())
            for _ in range(depth)
        ]
        self.convolutions = nn.Sequential(*(layer for layers in block for layer in layers))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        finest, *coarser = levels
        for level in coarser:
            finest = finest + F.interpolate(level, finest.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.convolutions(finest))
        return logits
