"""Feature pyramids: from the maps of a backbone to maps of one width at the strides that a detector looks at.

Axes: B batch, C channels, H, W of an image, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from ptft.core import Backbone, Spec
from ptft.errors import ConfigError

FINEST = 8
"""The finest stride of images that have CELLS cells a side or more at it."""
CELLS = 16
COARSEST, FEWEST, MOST = 128, 4, 5
"""The coarsest stride, how many cells the longer side has there at least, and how many levels there are at the most."""
GROUPS = 32
"""Of the norms, as in torchvision's heads: widths are a multiple of it."""


class Maps(NamedTuple):
    """What a backbone's maps are: the stride and the channels of each, the finest first."""

    strides: list[int]
    channels: list[int]


class _Trunk(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.backbone.maps(x)


def maps_of(backbone: Backbone, spec: Spec, objective: str = "detect") -> Maps:
    """Found without computing them, on the meta device. Raises ConfigError for a backbone that has none."""
    size, channels = spec.shape["size"], int(spec.shape["channels"])
    trunk, training = _Trunk(backbone), backbone.training
    tensors = {name: value.to("meta") for name, value in [*trunk.named_parameters(), *trunk.named_buffers()]}
    trunk.eval()
    try:
        with torch.no_grad():
            maps = torch.func.functional_call(trunk, tensors, (torch.empty(1, channels, *size, device="meta"),))
    finally:
        trunk.train(training)
    if not maps:
        raise ConfigError(
            f"objective={objective}: model={type(backbone).__name__} names no feature maps; cnn, convnet, airbench, "
            "vit, torchvision, timm, huggingface and networks of your own that give [B, D, H, W] do"
        )
    return Maps([-(-size[0] // each.shape[2]) for each in maps], [each.shape[1] for each in maps])


def strides_for(size: Sequence[int], finest: int | None, maps: Maps, usual: int = FINEST) -> list[int]:
    """The strides to look at: from the finest, each twice the one before, as long as there are cells enough.

    finest: as typed; None: the usual one, or less for small images; of several maps none is finer than the finest one.
    Raises ConfigError for what is no power of two.
    """
    if finest is not None and (finest < 1 or finest & (finest - 1)):
        raise ConfigError(f"objective.finest={finest}: a power of two: 4, 8 or 16, say")
    side, stride = max(size), finest or usual
    while finest is None and stride > 2 and side < CELLS * stride:
        stride //= 2
    if len(maps.strides) > 1:
        stride = max(stride, maps.strides[0])
    strides = [stride]
    while len(strides) < MOST and 2 * strides[-1] <= COARSEST and side >= FEWEST * 2 * strides[-1]:
        strides.append(2 * strides[-1])
    return strides


def pyramid(maps: Maps, strides: Sequence[int], width: int) -> nn.Module:
    """What turns a backbone's maps into maps [B, width, H / s, W / s] of these strides."""
    if len(maps.strides) == 1:
        return SimplePyramid(maps.strides[0], maps.channels[0], strides, width)
    return TopDown(maps, strides, width)


class TopDown(nn.Module):
    """A feature pyramid network (Lin et al. 2017) over the maps of these strides.

    Strides beyond the coarsest map are convolved from it, and are levels of the pyramid as the others are.
    """

    def __init__(self, maps: Maps, strides: Sequence[int], width: int) -> None:
        super().__init__()
        self.used = [i for i, stride in enumerate(maps.strides) if stride in strides]
        self.skipped = 0
        channels = [maps.channels[i] for i in self.used]
        last, coarser = maps.channels[-1], list[nn.Module]()
        beyond = [stride for stride in strides if stride > maps.strides[-1]]
        if not self.used:  # all maps are finer: the last one is halved until it is coarse enough
            self.skipped = (strides[0] // maps.strides[-1]).bit_length() - 2
            beyond = [maps.strides[-1] << k for k in range(1, self.skipped + 1 + len(strides))]
        for _ in beyond:
            coarser.append(_halved(last, width))
            last = width
        channels += [width] * (len(beyond) - self.skipped)
        self.coarser = nn.ModuleList(coarser)
        self.fpn = FeaturePyramidNetwork(channels, width)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        levels, x = [maps[i] for i in self.used], maps[-1]
        for i, step in enumerate(self.coarser):
            x = step(x)
            if i >= self.skipped:
                levels.append(x)
        return list(self.fpn({str(i): level for i, level in enumerate(levels)}).values())


class SimplePyramid(nn.Module):
    """Levels from one map alone: finer ones by transposed convolutions, coarser ones by convolutions of stride 2.

    Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection", section 3; of a coarser level
    they take every second cell of the map, which of a small network's fine map would see little of the image.
    """

    def __init__(self, stride: int, channels: int, strides: Sequence[int], width: int) -> None:
        super().__init__()
        self.native = stride
        self.strides = list(strides)
        finer = [each for each in strides if each < stride]
        self.up = nn.ModuleDict({str(each): _grown(channels, width, stride // each) for each in finer})
        down, last, at = {}, channels, stride
        while at < strides[-1]:
            at *= 2
            down[str(at)] = _halved(last, width)
            last = width
        self.down = nn.ModuleDict(down)
        before = [width if each != stride else channels for each in strides]
        self.out = nn.ModuleList(_finished(each, width) for each in before)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        (x,) = maps
        levels = {self.native: x, **{int(at): grow(x) for at, grow in self.up.items()}}
        for at, halve in self.down.items():
            x = halve(x)
            levels[int(at)] = x
        return [finish(levels[at]) for at, finish in zip(self.strides, self.out, strict=True)]


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width)


def _halved(channels: int, width: int) -> nn.Sequential:
    """[B, channels, h, w] -> [B, width, h / 2, w / 2], rounded up."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), _norm(width), nn.ReLU())


def _grown(channels: int, width: int, factor: int) -> nn.Sequential:
    """[B, channels, h, w] -> [B, width, h * factor, w * factor]."""
    parts: list[nn.Module] = []
    while factor > 1:
        parts += [nn.ConvTranspose2d(channels, width, 2, stride=2, bias=False), _norm(width), nn.GELU()]
        channels, factor = width, factor // 2
    return nn.Sequential(*parts)


def _finished(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False),
        _norm(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        _norm(width),
    )
