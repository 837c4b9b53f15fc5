"""Corruptions of images: noise, blur, JPEG and contrast (Hendrycks & Dietterich 2019), as strong as in CIFAR-C for
sides of up to 64 pixels and as in ImageNet-C beyond.

Axes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ptft.core import Batch, Examples, Spec
from ptft.data.corrupted.examples import Corruption, normal

SMALL = 64
"""Pixels of the shorter side."""
NOISE = (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation of Gaussian noise, of values from 0 to 1; of small images and of others, as what follows."""
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)
"""Standard deviation of a Gaussian blur in pixels, where the shorter side has 32 and 224; in proportion elsewhere, and
below 32 as there."""
SIDES = 32, 224
QUALITY = (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)
"""Of JPEG."""
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)
"""What deviations from an image's mean are multiplied by."""


def _is_large(batch: Batch) -> bool:
    return min(batch["input"].shape[-2:]) > SMALL


def noise(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    values = _shares(batch)
    drawn = normal(batch["index"].to(values.device), values[0].numel(), severity).view_as(values)
    return _pixels(batch, values + NOISE[_is_large(batch)][severity - 1] * drawn)


def blur(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    values = _shares(batch)
    large = _is_large(batch)
    sigma = BLUR[large][severity - 1] * max(min(values.shape[-2:]) / SIDES[large], not large)
    reach = min(max(1, round(4 * sigma)), min(values.shape[-2:]) - 1)
    places = torch.arange(-reach, reach + 1, device=values.device)
    weights = torch.softmax(-places.float().square() / (2 * sigma**2), 0)
    for axis in (2, 3):
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        kernel = weights.view(1, 1, -1, 1) if axis == 2 else weights.view(1, 1, 1, -1)
        padded = F.pad(values, pad, mode="reflect")
        values = F.conv2d(padded, kernel.expand(values.shape[1], -1, -1, -1), groups=values.shape[1])
    return _pixels(batch, values)


def jpeg(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    """On the CPU, an image at a time, by Pillow."""
    images = [_compressed(image, QUALITY[_is_large(batch)][severity - 1]) for image in batch["input"].cpu()]
    return {**batch, "input": torch.stack(images).to(batch["input"].device)}


def contrast(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    values = _shares(batch)
    mean = values.mean((2, 3), keepdim=True)
    return _pixels(batch, mean + CONTRAST[_is_large(batch)][severity - 1] * (values - mean))


def _compressed(image: Tensor, quality: int) -> Tensor:
    """uint8 [C, H, W] after JPEG."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, "JPEG", quality=quality)
    read = np.asarray(Image.open(out)).reshape(pixels.shape)
    return torch.from_numpy(read.copy()).permute(2, 0, 1)


def _shares(batch: Batch) -> Tensor:
    """uint8 [B, C, H, W] as float32 from 0 to 1."""
    return batch["input"].float() / 255


def _pixels(batch: Batch, values: Tensor) -> Batch:
    return {**batch, "input": (255 * values).round().clamp(0, 255).to(torch.uint8)}


KINDS: dict[str, Corruption] = {"noise": noise, "blur": blur, "jpeg": jpeg, "contrast": contrast}
