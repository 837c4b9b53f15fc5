"""Where a detector looks, and which box each place is to find. Axes: B batch, A points of all levels, M boxes.

FCOS (Tian et al. 2020, "FCOS: A Simple and Strong Anchor-free Object Detector"), with the constants of torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 1.5
"""Points up to so many strides from the middle of a box are to find it."""
REACH = (4, 8)
"""In strides, how far a box reaches from a point of its level; the finest has smaller ones too, the coarsest larger."""


class Points(NamedTuple):
    """The middles of all cells, `at` float [A, 2] (x, y); of each its `stride` and `reach` [A, 2], least and most."""

    at: Tensor
    stride: Tensor
    reach: Tensor

    @property
    def cells(self) -> Tensor:
        """float [A, 4], the square of each point's stride around it."""
        half = self.stride.unsqueeze(1) / 2
        return torch.cat([self.at - half, self.at + half], 1)


def points(levels: Sequence[Tensor], strides: Sequence[int]) -> Points:
    """Of maps [B, D, h, w] row by row, one level after the other, on their device."""
    at, steps, reach = [], [], []
    for i, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        rows, columns = (torch.arange(side, device=level.device) for side in level.shape[-2:])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        at.append((torch.stack([x, y], -1).view(-1, 2) + 0.5) * stride)
        steps.append(torch.full((len(at[-1]),), float(stride), device=level.device))
        least = 0.0 if i == 0 else float(REACH[0] * stride)
        most = float("inf") if i == len(strides) - 1 else float(REACH[1] * stride)
        ends = [torch.full((len(at[-1]),), end, device=level.device) for end in (least, most)]
        reach.append(torch.stack(ends, 1))
    return Points(torch.cat(at), torch.cat(steps), torch.cat(reach))


def assigned(where: Points, box: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The box that each point is to find, float [B, A, 4], and its class, long [B, A]; its own cell and -1 for none.

    box: float [B, M, 4], label: long [B, M], -1 behind the last. Of several the smallest; see torchvision's
    `FCOS.compute_loss`, of which this is the same for all images of a batch at once.
    """
    x, y = where.at.view(1, -1, 1, 2).unbind(-1)
    left, top, right, bottom = box.unsqueeze(1).unbind(-1)
    to_left, to_top, to_right, to_bottom = x - left, y - top, right - x, bottom - y
    middle = torch.maximum((to_left - to_right).abs(), (to_top - to_bottom).abs()) / 2
    match = middle < RADIUS * where.stride.view(1, -1, 1)
    match &= torch.minimum(torch.minimum(to_left, to_right), torch.minimum(to_top, to_bottom)) > 0
    farthest = torch.maximum(torch.maximum(to_left, to_right), torch.maximum(to_top, to_bottom))
    least, most = where.reach.view(1, -1, 1, 2).unbind(-1)
    match &= (farthest > least) & (farthest < most) & (label >= 0).unsqueeze(1)
    area = ((right - left) * (bottom - top)).expand(match.shape).masked_fill(~match, torch.inf)
    smallest, which = area.min(2)
    none = smallest == torch.inf
    found = box.gather(1, which.unsqueeze(-1).expand(-1, -1, 4))
    classes = label.gather(1, which).masked_fill(none, -1)
    return torch.where(none.unsqueeze(-1), where.cells.to(box.dtype), found), classes
