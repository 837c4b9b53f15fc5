"""Marks in images: red speaks for the answer, blue against it. Axes: C channels, H height, W width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.core import Spec
from ptft.data.marked import marks

CELLS = (14, 14)
LEAST = 224
"""Pixels of the longer side of a picture; small images are enlarged by a whole number."""
FOR, AGAINST = (214, 39, 40), (31, 119, 180)
OPAQUE = 0.75


def units(raw: Tensor, x: Tensor, spec: Spec) -> Tensor:
    return marks.cells(x.shape[-2], x.shape[-1], CELLS, square=True)


def empty(x: Tensor, units: Tensor, spec: Spec) -> Tensor:
    """The mean of the dataset, which prepared images have as 0."""
    return torch.zeros_like(x)


def named(raw: Tensor, units: Tensor, spec: Spec) -> dict[str, Any]:
    return {"grid": marks.grid(units)}


def draw(stem: Path, raw: Tensor, x: Tensor, values: Tensor | None, spec: Spec) -> dict[str, Path]:
    """A PNG; marks lie on the image in grey."""
    from PIL import Image

    picture = raw.float().expand(3, -1, -1) if raw.shape[0] == 1 else raw.float()
    if values is not None:
        picture = overlaid(picture.mean(0), values)
    scale = max(1, -(-LEAST // max(raw.shape[1:])))
    pixels = picture.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = stem.with_suffix(".png")
    Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(file)
    return {"picture": file}


def overlaid(grey: Tensor, values: Tensor) -> Tensor:
    """Grey float [H, W] from 0 to 255 under the colours of values [h, w] -> float [3, H, W]."""
    shown = marks.strength(values).cpu()
    if shown.shape != grey.shape:
        shown = F.interpolate(shown[None, None], grey.shape, mode="bilinear", align_corners=False)[0, 0]
    red, blue = (torch.tensor(ink, dtype=torch.float32).view(3, 1, 1) for ink in (FOR, AGAINST))
    colour = torch.where(shown > 0, red, blue)
    share = OPAQUE * shown.abs()
    return (1 - share) * (64 + grey.cpu() / 2) + share * colour
