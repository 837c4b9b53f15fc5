"""What a backbone makes of images, pooled and as a grid, and images of one backbone as another takes them.

Axes: B batch, C channels, H, W of an image, h, w of a grid of features, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Spec
from ptft.data.image.normaliser import normaliser
from ptft.data.image.reader import GREY
from ptft.errors import ConfigError

PREFIX = 8
"""Tokens before the patches (class tokens, registers) are at most so many."""


@dataclass(frozen=True)
class Seen:
    """How features of a backbone are read for images of one size.

    grid: (h, w) of the last grid, None where it has none. width: D of that. prefix: tokens before those of the grid;
        None where the grid is not among the tokens, and `maps` gives it.
    """

    grid: tuple[int, int] | None
    width: int
    prefix: int | None

    @classmethod
    @torch.no_grad()
    def of(cls, backbone: Backbone, spec: Spec, *, grid: bool) -> Seen:
        """Tried with one black image of the Spec; grid: whether one is looked for."""
        nothing = cls(None, backbone.width, None)
        if not grid:
            return nothing
        training = backbone.training
        x = torch.zeros(1, int(spec.shape["channels"]), *(int(side) for side in spec.shape["size"]))
        backbone.eval()
        maps, tokens = backbone.maps(x), backbone(x).tokens
        backbone.train(training)
        if not maps:
            return nothing
        high, wide = maps[-1].shape[2:]
        before = tokens.shape[1] - high * wide
        if 0 <= before <= PREFIX:
            return cls((high, wide), tokens.shape[2], before)
        return cls((high, wide), maps[-1].shape[1], None)

    def __call__(self, backbone: Backbone, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prepared images [B, C, H, W] -> pooled features [B, D], and the grid [B, D, h, w]."""
        features = backbone(x)
        pooled = backbone.pool(features)
        if self.grid is None:
            return pooled, None
        if self.prefix is None:
            return pooled, backbone.maps(x)[-1]
        return pooled, features.tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)


class Images(nn.Module):
    """Images that are prepared for one Spec, float [B, C, H, W] -> the same images for another.

    They are brought to the other's channels and normalisation, and stretched to its size.
    """

    def __init__(self, given: Spec, wanted: Spec) -> None:
        super().__init__()
        high, wide = wanted.shape["size"]
        self.size, self.channels = (int(high), int(wide)), int(wanted.shape["channels"])
        if {self.channels, int(given.shape["channels"])} - {1, 3} and self.channels != given.shape["channels"]:
            raise ConfigError(
                f"objective.teacher: takes {self.channels} channels, the dataset yields {given.shape['channels']}; "
                "dataset.channels changes it"
            )
        for name, spec in (("given", given), ("wanted", wanted)):
            scale, offset = normaliser(spec)
            self.register_buffer(f"{name}_scale", scale, persistent=False)
            self.register_buffer(f"{name}_offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        raw = (x - self.get_buffer("given_offset")) / self.get_buffer("given_scale")
        if raw.shape[1] < self.channels:
            raw = raw.expand(-1, self.channels, -1, -1)
        elif raw.shape[1] > self.channels:
            raw = (raw * raw.new_tensor(GREY).view(-1, 1, 1)).sum(1, keepdim=True)
        if raw.shape[2:] != self.size:
            raw = F.interpolate(raw, self.size, mode="bilinear", antialias=True)
        return torch.addcmul(self.get_buffer("wanted_offset"), raw, self.get_buffer("wanted_scale"))
