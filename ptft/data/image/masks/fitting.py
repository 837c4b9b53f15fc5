"""Masks brought to the size of inputs as their images are, and back. Axes: h, w of an image, H, W of an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ptft.core import Spec
from ptft.data.image import letterbox

IGNORED = 255
"""The number of pixels that count for nothing: of no class, of crowds, of the border."""
Pixels = NDArray[np.uint8]


def fitted(mask: Pixels, spec: Spec) -> Tensor:
    """uint8 [h, w] -> uint8 [H, W]: the nearest pixel of each, and a border that counts for nothing."""
    height, width = spec.shape["size"]
    high, wide = _inside(mask.shape, spec)
    if mask.shape != (high, wide):
        mask = np.asarray(Image.fromarray(mask).resize((wide, high), Image.Resampling.NEAREST))
    out = torch.full((height, width), IGNORED, dtype=torch.uint8)
    out[:high, :wide] = torch.from_numpy(mask.copy())
    return out


def to_original(mask: Tensor, whole: tuple[int, int], spec: Spec) -> Pixels:
    """uint8 [H, W] of an input -> uint8 [h, w] of its image of the size `whole`, without the border.

    Each class is resized by itself, bilinearly, and of a pixel the one that is most wins: edges stay smooth.
    """
    high, wide = _inside(whole, spec)
    mask = mask[:high, :wide]
    if (high, wide) == whole:
        return np.array(mask.numpy(), dtype=np.uint8)
    classes = np.unique(mask.numpy())
    most, found = torch.zeros(whole), torch.full(whole, int(classes[0]), dtype=torch.uint8)
    for k in classes.tolist():  # one at a time, so that memory does not grow with them
        own = (mask == k)[None, None].float()
        share = functional.interpolate(own, whole, mode="bilinear", align_corners=False)[0, 0]
        found[share > most] = k
        most = torch.maximum(most, share)
    return np.array(found.numpy(), dtype=np.uint8)


def _inside(whole: Sequence[int], spec: Spec) -> tuple[int, int]:
    """(height, width) that an image has inside its input."""
    height, width = spec.shape["size"]
    return letterbox.inside(whole, (height, width)) if spec.shape["fit"] == letterbox.FIT else (height, width)
