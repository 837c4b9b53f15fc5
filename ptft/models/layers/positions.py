"""Positions of patches: sines, and fitting learned ones to another grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Learned positions [H, W, D] on another grid, by antialiased bicubic interpolation (Dosovitskiy et al. 2021, 3.2).

    Returns the very same tensor where the grid is the same; in a program that is exported, whose grid may be any, equal
    values.
    """
    if not torch.compiler.is_exporting() and tuple(positions.shape[:2]) == grid:
        return positions
    # In float32: half-precision checkpoints have no bicubic kernel on every device.
    image = positions.permute(2, 0, 1).unsqueeze(0).float()
    resized = F.interpolate(image, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return resized.squeeze(0).permute(1, 2, 0).to(positions.dtype).contiguous()


def sine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed positions of a grid -> [H, W, D]: half of the width for the row, half for the column.

    Each half as in Vaswani et al. 2017, section 3.5: sines, then cosines, of wavelengths from 2π to 20,000π. What a
    width that 4 does not divide leaves over is 0.
    """
    quarter = width // 4
    rates = torch.exp(-math.log(10_000) * torch.arange(quarter) / max(quarter, 1))
    rows, columns = torch.meshgrid(*(torch.arange(side).float() for side in grid), indexing="ij")
    angles = [places.unsqueeze(2) * rates for places in (rows, columns)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=2)
    return F.pad(waves, (0, width - 4 * quarter))
