"""A small convolutional network with batch statistics.

Axes: B batch, C channels, H height, W width, T cells of the last stage, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ptft.core import Features, Spec
from ptft.errors import ConfigError
from ptft.models.image.base import ImageBackbone, too_small
from ptft.models.layers.grids import on_grid


class Convnet(ImageBackbone):
    """Stages of 3x3 convolution, BatchNorm (Ioffe & Szegedy 2015) and ReLU, with 2x2 max pooling between them.

    Features are the cells of the last stage, whose mean is the pooled vector (Lin et al. 2014, section 3.2), so images
    of any size from 2 ** (stages - 1) pixels will do. With the default channels it has 389,000 parameters.

    channels: filters of each stage; the last is D.
    """

    def __init__(self, spec: Spec, channels: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__(spec)
        if not channels or min(channels) < 1:
            raise ConfigError(f"model.channels={list(channels)}: a count above 0 for each stage")
        self.least: int = 2 ** (len(channels) - 1)
        if not self.takes(self.size):
            raise too_small("convnet", self.size, self.least)
        before = [self.channels, *channels[:-1]]
        self.stages = nn.ModuleList(
            _stage(wide, narrow, pooled=i > 0) for i, (wide, narrow) in enumerate(zip(before, channels, strict=True))
        )
        self.width = channels[-1]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, C, H, W] -> [B, T, D]. Images are never padded, so there is no mask."""
        for stage in self.stages:
            x = stage(x)
        return Features(x.flatten(2).transpose(1, 2))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Of every stage, of strides 1, 2, 4 and so on."""
        maps, image = [], x
        for i, stage in enumerate(self.stages):
            x = stage(x)
            maps.append(on_grid(x, image, 2**i))
        return maps

    def takes(self, size: tuple[int, int]) -> bool:
        return min(size) >= self.least

    def layers(self) -> list[list[nn.Module]]:
        return [[stage] for stage in self.stages]


def _stage(wide: int, narrow: int, *, pooled: bool) -> nn.Sequential:
    """[B, wide, H, W] -> [B, narrow, H, W], of half the height and width where it is `pooled` first."""
    convolution = nn.Conv2d(wide, narrow, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    parts = [convolution, nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
    return nn.Sequential(*([nn.MaxPool2d(2)] if pooled else []), *parts)
