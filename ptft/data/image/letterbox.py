"""Images brought to a size whole, with a border: scaled until they fit, at the top left, and filled up with the mean.

So a pixel of the input is a place of the image, and back again: both axes have a factor and nothing is added.
Axes: H, W size of the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ptft.core import Spec

FIT = "letterbox"
"""What `Spec.shape` calls it."""


def inside(whole: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """(height, width) that an image of `whole` = (height, width) has inside an input of `size` = (H, W)."""
    scale = min(size[0] / whole[0], size[1] / whole[1])
    high, wide = (max(1, min(limit, round(side * scale))) for side, limit in zip(whole, size, strict=True))
    return high, wide


def ratios(wholes: Tensor, spec: Spec) -> Tensor:
    """Long [N, 2], (height, width) of images -> pixels of the input for one of theirs, float64 [N, 2] (across, down).

    Of images that are letterboxed, and of those that are stretched.
    """
    size = torch.tensor(spec.shape["size"], dtype=torch.float64)
    if spec.shape["fit"] == FIT:
        scale = (size / wholes).amin(1, keepdim=True)
        size = (wholes * scale).round().clamp(min=1).minimum(size)
    return (size / wholes).flip(1)


def fill(spec: Spec) -> tuple[int, ...]:
    """The colour of the border: 0 once an image is normalised, but for rounding."""
    mean = spec.mean or (0.5,) * int(spec.shape["channels"])
    return tuple(round(255 * value) for value in mean)


def boxed(image: Image.Image, spec: Spec, whole: Sequence[int], how: Image.Resampling) -> Image.Image:
    """An image of mode "L" or "RGB" in an input of the Spec's size.

    whole: its own (height, width), which are others than those of `image` where it was decoded smaller.
    """
    height, width = spec.shape["size"]
    high, wide = inside(whole, (height, width))
    if image.size != (wide, high):
        image = image.resize((wide, high), how)
    if (high, wide) == (height, width):
        return image
    colour = fill(spec)
    canvas = Image.new(image.mode, (width, height), colour[0] if len(colour) == 1 else colour)
    canvas.paste(image)
    return canvas


def padded(images: Tensor, spec: Spec) -> Tensor:
    """uint8 [B, C, h, w] filled up to the Spec's size, [B, C, H, W]."""
    height, width = spec.shape["size"]
    colour = torch.tensor(fill(spec), dtype=torch.uint8, device=images.device).view(1, -1, 1, 1)
    out = colour.expand(len(images), images.shape[1], height, width).clone()
    out[..., : images.shape[2], : images.shape[3]] = images
    return out
