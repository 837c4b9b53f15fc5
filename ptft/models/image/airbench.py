"""A small convolutional network for seconds (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").

Axes: B batch, C channels, H height, W width, T tokens (grid cells), D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec
from ptft.errors import ConfigError
from ptft.models.image.base import ImageBackbone, too_small
from ptft.models.layers.grids import on_grid

KERNEL = 2  # side of the whitened patches
LEAST = 9  # the first convolution takes one pixel, three poolings divide by 8
PIXELS = 5000 * 32 * 32  # as many as the 5,000 images of CIFAR-10 in the paper
RIDGE = 5e-4  # added to the eigenvalues: directions in which patches hardly differ are noise


class Group(nn.Module):
    """Convolution, halving by max pooling, norm, GELU; convolution, norm, GELU. Norms have a bias and no scale."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _identity_convolution(channels, width), _norm(width)
        self.conv2, self.norm2 = _identity_convolution(width, width), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, width, H // 2, W // 2]."""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(ImageBackbone):
    """A fixed 2x2 convolution that whitens patches and keeps both signs of them, GELU, and three groups.

    widths: filters of the three groups; the last one is D.
    bias_lr_scale: factor on the learning rate of the biases of norms and of the whitening. The paper's 64 is for plain
        gradient descent; Adam and its like need none.

    The whitening is computed from training images when a run starts from fresh weights (eigenvectors of the covariance
    of patches, each divided by the root of its eigenvalue) and never trained; its bias always is, where the paper stops
    after three epochs, for speed alone. Convolutions begin as the identity on as many channels as they take. Features
    are grid cells; `pool` takes their maximum over the image, for any size from 9 pixels on, and a ninth of it, which
    makes the logits of a fresh Linear as small as the paper's.
    Raises ConfigError for smaller images or other than three widths.
    """

    def __init__(self, spec: Spec, widths: Sequence[int] = (64, 256, 256), bias_lr_scale: float = 1.0) -> None:
        super().__init__(spec)
        if min(self.size) < LEAST:
            raise too_small("airbench", self.size, LEAST)
        if len(widths) != 3 or min(widths) < 1:
            raise ConfigError(f"model.widths={list(widths)}: three counts above 0")
        filters = 2 * self.channels * KERNEL**2
        self.whiten = nn.Conv2d(self.channels, filters, KERNEL)
        self.whiten.weight.requires_grad_(False)
        self.groups = nn.ModuleList(Group(*pair) for pair in zip((filters, *widths[:-1]), widths, strict=True))
        self.width = widths[-1]
        self.calibrates = max(1, PIXELS // (self.size[0] * self.size[1]))
        biases = [name for name, parameter in self.named_parameters() if parameter.ndim == 1]
        self.lr_scales = dict.fromkeys(biases, bias_lr_scale)

    def calibrate(self, sample: Tensor) -> None:
        """Whiten 2x2 patches, from prepared images [N, C, H, W]: filtered, their covariance is the identity."""
        count = self.channels * KERNEL**2
        covariance, patches = sample.new_zeros(count, count), 0
        for part in torch.split(sample, 500):
            unfolded = F.unfold(part, KERNEL).transpose(0, 1).flatten(1)
            covariance += unfolded @ unfolded.T
            patches += unfolded.shape[1]
        values, vectors = torch.linalg.eigh((covariance / patches).cpu())
        filters = vectors.T / (values + RIDGE).sqrt().unsqueeze(1)
        weight = torch.cat([filters, -filters]).view_as(self.whiten.weight)
        self.whiten.weight.copy_(weight)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, C, H, W] -> grid cells [B, T, D]. Images are never padded, so there is no mask."""
        x = F.gelu(self.whiten(x))
        for group in self.groups:
            x = group(x)
        return Features(x.flatten(2).transpose(1, 2))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Of the three groups, of strides 2, 4 and 8."""
        maps, image = [], x
        x = F.gelu(self.whiten(x))
        for i, group in enumerate(self.groups, 1):
            x = group(x)
            maps.append(on_grid(x, image, 2**i))
        return maps

    def pool(self, features: Features) -> Tensor:
        """[B, D]: a ninth of the largest value over the image."""
        return features.tokens.amax(1) / 9

    def takes(self, size: tuple[int, int]) -> bool:
        return min(size) >= LEAST

    def layers(self) -> list[list[nn.Module]]:
        return [[self.whiten], *([group] for group in self.groups)]


def _identity_convolution(channels: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[:channels].detach())
    return convolution


def _norm(width: int) -> nn.BatchNorm2d:
    """Running statistics follow within a few batches, as there are few (torch's momentum is one minus the paper's)."""
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
