"""Views that change the values of pixels by what stands around them. Axes: B batch, C channels, H W size.

Randomness: `ptft.runtime.together.draws`, independent rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.runtime.together.draws import rand

LEAST, MOST = 0.1, 2.0
"""Standard deviations of the blur in pixels; it reaches over a tenth of the image (SimCLR, appendix A)."""


def blurred(x: Tensor, probability: float) -> Tensor:
    """float [B, C, H, W] -> a Gaussian blur of so many of the images, each of a width of its own."""
    b, c, h, w = x.shape
    chosen = rand(b, device=x.device) < probability
    sigma = LEAST + (MOST - LEAST) * rand(b, device=x.device)
    reach = max(1, min(h, w) // 20)
    places = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (places / sigma[:, None]) ** 2)
    kernel = torch.where(chosen[:, None], kernel / kernel.sum(1, keepdim=True), (places == 0).to(kernel.dtype))
    if b == 0:
        return x
    kernel = kernel.to(x.dtype).repeat_interleave(c, 0)[:, None, None]
    flat = F.pad(x.reshape(1, b * c, h, w), (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(flat, kernel, groups=b * c), kernel.transpose(2, 3), groups=b * c).view(b, c, h, w)


def solarized(x: Tensor, probability: float) -> Tensor:
    """float [B, C, H, W] -> so many of the images inverted where they are above the middle of their own range."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    chosen = rand(len(x), 1, 1, 1, device=x.device) < probability
    return torch.where(chosen & (x > (low + high) / 2), low + high - x, x)


def filtered(x: Tensor, picked: dict[str, Tensor]) -> Tensor:
    """RandAugment's sharpness, solarize and posterize, each where it was picked."""
    level = {name: picked[name].to(x.dtype)[:, None, None, None] for name in ("sharpness", "solarize", "posterize")}
    x = x + level["sharpness"] * (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    x = torch.where(x > high - level["solarize"].abs() * (high - low), low + high - x, x)
    # From 8 bits down to 4; a constant image has no steps at all.
    step = ((high - low) * 2 ** (level["posterize"].abs() - 8)).clamp(min=1e-6)
    return torch.where(level["posterize"] == 0, x, low + ((x - low) / step).floor() * step)
