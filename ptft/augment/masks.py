"""Random views of images that their masks follow, a whole batch at once on its device.

Axes: B batch, C channels, H, W size. Masks are uint8, the class of every pixel; 255 counts for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.augment.boxes import Geometry, View, grid

IGNORED = 255


class MaskViews(Geometry):
    """Random views of prepared images, float [B, C, H, W], and of their masks; in evaluation mode the identity.

    Of a mask the nearest pixel is seen; what lies outside counts for nothing. Options are those of `Geometry`.
    """

    def forward(self, x: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W], masks uint8 [B, H, W] -> the same."""
        if not self.training:
            return x, masks
        mirror = self._mirror(x)
        if self.zooms:
            x, masks = seen(x, masks, self._view(x, mirror))
        elif self.flip:
            turned = mirror < 0
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
            masks = torch.where(turned[:, None, None], masks.flip(2), masks)
        return self.colour(x), masks


def seen(x: Tensor, masks: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """The images and masks of a view of each: images by bilinear interpolation, the mean colour where is nothing."""
    where = grid(x, view)
    out = F.grid_sample(x, where, align_corners=False)
    lowered = masks.unsqueeze(1).float() - IGNORED  # what lies outside is 0 there, and 255 then
    nearest = F.grid_sample(lowered, where.float(), mode="nearest", align_corners=False)
    return out, (nearest.squeeze(1) + IGNORED).to(torch.uint8)
