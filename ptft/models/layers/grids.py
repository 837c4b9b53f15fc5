"""Feature maps on the grids that `Backbone.maps` promises. Axes: B batch, C channels, H, W of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def on_grid(features: Tensor, image: Tensor, stride: int, before: int = 0) -> Tensor:
    """[B, C, h, w] of images [B, ., H, W] with `before` cells of zeros above and left, and below and right as many as
    make it [B, C, H / stride, W / stride], rounded up."""
    high, wide = (-(-side // stride) for side in image.shape[-2:])
    down, right = high - features.shape[-2] - before, wide - features.shape[-1] - before
    return F.pad(features, (before, right, before, down)) if before or down or right else features


def stride_of(features: Tensor, image: Tensor) -> int:
    """The power of two by which a map [B, C, h, w] is smaller than its images."""
    return int(2 ** max(0, round(math.log2(image.shape[-1] / features.shape[-1]))))


def last_of_each_size(stages: Sequence[Tensor], image: Tensor) -> list[Tensor]:
    """Of feature maps in their order the last one of each resolution, from the first that is no larger than images."""
    last = {features.shape[-2:]: features for features in stages}
    return [on_grid(features, image, stride_of(features, image)) for features in last.values()]
