"""How images are scaled. Axes: B batch, C channels, H W size."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""How images are resized, by the names that timm and torchvision use; all but nearest are antialiased."""


def scaled(images: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Uint8 [B, C, H, W] -> [B, C, *size] as Pillow scales files, to a rounding: lanczos, which tensors don't know, by
    itself; the nearest pixel is the one its middle lies in."""
    if how == "lanczos":
        planes = [Image.fromarray(plane) for plane in images.flatten(0, 1).cpu().numpy()]
        found = [np.asarray(plane.resize(size[::-1], INTERPOLATIONS[how])) for plane in planes]
        return torch.from_numpy(np.stack(found)).view(*images.shape[:2], *size).to(images.device)
    if how == "nearest":
        down, across = (_nearest(own, new).to(images.device) for own, new in zip(images.shape[2:], size, strict=True))
        return images[..., down, :][..., across]
    return functional.interpolate(images.float(), size, mode=how, antialias=True).round_().clamp_(0, 255)


def _nearest(own: int, new: int) -> Tensor:
    """Which of `own` pixels in a row each of `new` ones is: where their middles lie, added up as Pillow does."""
    middles = np.cumsum(np.r_[own / new / 2, np.full(new - 1, own / new)])
    return torch.from_numpy(middles.astype(np.int64).clip(max=own - 1))
