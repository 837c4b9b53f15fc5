"""The survey's small convolutional network. Axes: B batch, C channels, H height, W width, T tokens (one), D width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec
from ptft.errors import ConfigError
from ptft.models.image.base import ImageBackbone, too_small
from ptft.models.layers.grids import on_grid

LEAST = 6  # two valid 3x3 convolutions and one 2x2 pooling leave one cell


class CNN(ImageBackbone):
    """Conv 3x3, ReLU, Conv 3x3, ReLU, MaxPool 2, Flatten, Linear, ReLU: the network of LeCun et al. 1998 as tutorials
    write it today. At 28x28x1 it has 9,216 flat features and, with a head of 10 classes, 1,199,882 parameters.

    The flat features go cell by cell and not channel by channel as in `nn.Flatten`: so they lie in memory in the
    channels-last layout, and flattening copies nothing.

    channels: filters of the two convolutions; width: D. Features are one token, [B, 1, D].
    Raises ConfigError where an image is smaller than 6 pixels.
    """

    def __init__(self, spec: Spec, channels: Sequence[int] = (32, 64), width: int = 128) -> None:
        super().__init__(spec)
        if min(self.size) < LEAST:
            raise too_small("cnn", self.size, LEAST)
        if len(channels) != 2 or min(*channels, width) < 1:
            raise ConfigError(f"model.channels={list(channels)}, model.width={width}: two counts and a width above 0")
        first, second = channels
        height, breadth = ((side - 4) // 2 for side in self.size)
        self.conv1 = nn.Conv2d(self.channels, first, 3)
        self.conv2 = nn.Conv2d(first, second, 3)
        self.dense = nn.Linear(height * breadth * second, width)
        self.width = width

    def _convolve(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        # ReLU is monotone, so after the pooling it gives exactly what it gives before it, on a quarter of the values.
        return F.relu(F.max_pool2d(self.conv2(x), 2))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What stands before the flat features, of stride 2; the convolutions leave a cell out at each side."""
        return [on_grid(self._convolve(x), x, 2, before=1)]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, C, H, W] -> one token [B, 1, D]. Images are never padded, so there is no mask."""
        x = self._convolve(x)
        x = F.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1)))
        return Features(x.unsqueeze(1))

    def pool(self, features: Features) -> Tensor:
        """[B, D]: the one token."""
        return features.tokens.squeeze(1)

    def layers(self) -> list[list[nn.Module]]:
        return [[self.conv1], [self.conv2], [self.dense]]

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Takes a hidden layer over channels, then cells (`linear.weight`, as after `nn.Flatten`) into this order."""
        weights, resized = super().adapt(weights)
        flat = weights.get("linear.weight")
        if flat is None or flat.shape != self.dense.weight.shape:
            return weights, resized
        rest = {name: value for name, value in weights.items() if not name.startswith("linear.")}
        by_cell = flat.view(flat.shape[0], self.conv2.out_channels, -1).transpose(1, 2).flatten(1)
        return {**rest, "dense.weight": by_cell, "dense.bias": weights["linear.bias"]}, resized
