"""What a backbone makes of images, pooled and as maps, and images of one backbone as another takes them.

Axes: B batch, C channels, H, W of an image, h, w of a map of features, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Features, Spec
from ptft.data.image.normaliser import normaliser
from ptft.data.image.reader import GREY
from ptft.errors import ConfigError

PREFIX = 8
"""Tokens before the patches (class tokens, registers) are at most so many."""


@dataclass(frozen=True)
class Seen:
    """How features of a backbone are read for images of one size: pooled, and as maps, from one pass where that is all.

    maps: (D, h, w) of each, the finest first; none where they are not asked for. prefix: tokens before those that are
        the cells of the last map; None where its cells are no tokens.
    """

    maps: tuple[tuple[int, int, int], ...] = ()
    prefix: int | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, backbone: Backbone, spec: Spec) -> Seen:
        """Tried with one image of noise of the Spec's size."""
        training, noise = backbone.training, torch.Generator().manual_seed(0)
        x = torch.randn(1, int(spec.shape["channels"]), *(int(side) for side in spec.shape["size"]), generator=noise)
        backbone.eval()
        maps, tokens = backbone.maps(x), backbone(x).tokens
        backbone.train(training)
        if not maps:
            return cls()
        shapes = tuple((each.shape[1], each.shape[2], each.shape[3]) for each in maps)
        cells = maps[-1].flatten(2).transpose(1, 2)
        before = tokens.shape[1] - cells.shape[1]
        if 0 <= before <= PREFIX and torch.equal(tokens[:, before:], cells):
            return cls(shapes, before)
        return cls(shapes)

    def __call__(self, backbone: Backbone, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Prepared images [B, C, H, W] -> pooled features [B, D], and the maps, each [B, D, h, w]."""
        if not self.maps:
            return backbone.pool(backbone(x)), []
        if len(self.maps) == 1 and self.prefix is not None:
            features = backbone(x)
            cells = features.tokens[:, self.prefix :].transpose(1, 2)
            return backbone.pool(features), [cells.unflatten(2, self.maps[0][1:])]
        maps = backbone.maps(x)
        features = Features(maps[-1].flatten(2).transpose(1, 2)) if self.prefix == 0 else backbone(x)
        return backbone.pool(features), maps


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
