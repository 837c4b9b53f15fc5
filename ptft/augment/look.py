"""A look at some images: what decides how random views of them may be made. Axes: N images, C channels, H W size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SAME = 0.06
"""By how much, of values from 0 to 1, pixels of one ground may differ."""
COLOURLESS = 0.01
"""Mean difference between the channels of an image, of values from 0 to 1, below which it is grey."""
PLAIN = 0.6
"""Share of the pixels at the border that are of one ground, in the mean of all images, from which on they are plain."""


class Look(NamedTuple):
    """grey: without colours. plain: on a ground of one tone, as characters and drawings are; photos are not.

    size: (H, W). images: how many were looked at.
    """

    grey: bool
    plain: bool
    size: tuple[int, int]
    images: int

    def __str__(self) -> str:
        height, width = self.size
        ground = "on a plain ground" if self.plain else "on no plain ground"
        return f"{'grey' if self.grey else 'coloured'}, {ground}, {width}\N{MULTIPLICATION SIGN}{height} pixels"


def look_at(images: Tensor) -> Look:
    """uint8 [N, C, H, W], or float of 0 to 1 -> what they show. One image at least."""
    x = images / 255 if images.dtype == torch.uint8 else images
    spread = (x.amax(1) - x.amin(1)).mean((1, 2))
    border = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1]], 2)
    middle = (border.shape[2] - 1) // 2
    ground = border.sort(2).values[:, :, middle : middle + 1]  # the median, which CUDA has no repeatable kernel for
    plain = ((border - ground).abs() < SAME).all(1).float().mean()
    height, width = x.shape[-2:]
    return Look(
        bool((spread < COLOURLESS).float().mean() > 0.9), bool(plain >= PLAIN), (int(height), int(width)), len(x)
    )
