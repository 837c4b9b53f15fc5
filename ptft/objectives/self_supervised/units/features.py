"""What units are made of, a vector for each token: cepstra of its frames, or a layer of an earlier model.

Axes: B batch, F frames, M mel bands, C cepstra, T tokens (S frames each), D width of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Backbone, Objective, Spec, TokenBackbone
from ptft.errors import ConfigError

CEPSTRA = 13
"""C, at the most."""
REACH = 2
"""Frames to each side that a slope is taken over."""
Described = dict[str, Any]
"""`of` and `layer` as they were typed, and `model`, the node of the network up to that layer."""
Rebuild = Callable[[str, str], tuple[Objective, Spec]]
"""(path of a checkpoint, the key that names it) -> its objective with all weights, and its Spec."""
Network = Callable[[dict[str, Any], Spec], Backbone]
"""(a node of a model, a Spec) -> its backbone, if it may be built."""


class Cepstra(nn.Module):
    """Mel-frequency cepstral coefficients, their slope and its slope (Davis and Mermelstein 1980; Furui 1986).

    size: S, frames of a token. bands: M. width: D, which is 3 C.
    """

    transform: Tensor

    def __init__(self, size: int, bands: int) -> None:
        super().__init__()
        self.size, count = size, min(CEPSTRA, bands)
        self.width = 3 * count
        self.register_buffer("transform", cosines(bands, count), persistent=False)

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        """Prepared [B, F, M] -> the mean of the real frames of each of so many tokens, float32 [B, T, D]."""
        real = ~x[:, :, 0].isnan()
        with torch.autocast(x.device.type, enabled=False):
            now = x.float().nan_to_num(0) @ self.transform
            first = slope(now, real)
            values = torch.cat((now, first, slope(first, real)), 2).masked_fill(~real.unsqueeze(2), torch.nan)
            values = F.pad(values, (0, 0, 0, tokens * self.size - x.shape[1]), value=torch.nan)
            return values.view(len(x), tokens, self.size, self.width).nanmean(2).nan_to_num(0)


def cosines(bands: int, count: int) -> Tensor:
    """The first `count` cosines over `bands` (DCT-II), each of length 1: [M, C]."""
    places = (torch.arange(bands, dtype=torch.float64) + 0.5) * math.pi / bands
    waves = torch.cos(places.unsqueeze(1) * torch.arange(count))
    lengths: Tensor = waves.norm(dim=0)
    return (waves / lengths).float()


def slope(values: Tensor, real: Tensor) -> Tensor:
    """[B, F, C], and which frames are real (bool [B, F]) -> the slope of a line through those around each, [B, F, C].

    Before the first frame of a recording it goes on as that, behind its last one as the last.
    """
    places, last = torch.arange(values.shape[1], device=values.device), real.sum(1, keepdim=True) - 1
    total = torch.zeros_like(values)
    for step in range(1, REACH + 1):
        later = (places + step).minimum(last).unsqueeze(2).expand_as(values)
        total += step * (values.gather(1, later) - values[:, (places - step).clamp(min=0)])
    return total / (2 * sum(step**2 for step in range(1, REACH + 1)))


@runtime_checkable
class Layered(Protocol):
    """What a model of speech has whose layers can be clustered: it is built again by `size`, options of which are its
    `depth`, and `mels` and `normalize` of its spectrogram, and it shows tokens behind any of its blocks."""

    size: dict[str, Any]

    def behind(self, x: Tensor, count: int) -> Tensor:
        """Prepared [B, F, M] -> tokens as they leave the first `count` blocks, [B, T, D]."""


class Layer(nn.Module):
    """Tokens as a model has them behind a block; it neither learns nor moves, and is saved with the rest.

    net: its network as `described`, of which that is the last block. size: S, frames of a token that is asked for.
    """

    def __init__(self, net: Backbone, size: int) -> None:
        super().__init__()
        assert isinstance(net, TokenBackbone)
        assert isinstance(net, Layered)
        self.net, self.size, self.width, self.depth = net, size, net.width, int(net.size["depth"])
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor, tokens: int) -> Tensor:
        """Prepared [B, F, M] -> what stands in the middle of each of so many tokens, [B, T, D]."""
        found: Tensor = self.net.behind(x, self.depth)
        middle = (torch.arange(tokens, device=x.device) * self.size + self.size // 2) // self.net.cell[0]
        return found[:, middle.clamp(max=found.shape[1] - 1)]

    def take(self, net: nn.Module) -> None:
        """The weights of the whole network."""
        whole = net.state_dict()
        self.net.load_state_dict({name: whole[name] for name in self.net.state_dict()})


def described(path: str, layer: int | None, net: Backbone, theirs: Spec, own: Backbone, spec: Spec) -> Described:
    """What builds the network of the checkpoint at `path` up to a layer (None: the middle one) again.

    own, spec: the backbone that is to learn, and of what. Raises ConfigError naming `objective.units` for a network
    without such layers, or where the two do not hear the same spectrogram, or `objective.layer`.
    """
    if not isinstance(net, Layered):
        raise ConfigError(
            f"objective.units={path}: is a {type(net).__name__}; of model=audio_transformer and conformer_small layers "
            "can be clustered"
        )
    heard, given = hearing(net, theirs), hearing(own, spec)
    if heard != given:
        raise ConfigError(
            f"objective.units={path}: hears {heard}, this model {given}; dataset.rate, model.mels and model.normalize "
            "change that"
        )
    depth = int(net.size["depth"])
    if layer is not None and layer > depth:
        raise ConfigError(f"objective.layer={layer}: objective.units={path} has {depth} layers")
    target = f"{type(net).__module__}.{type(net).__qualname__}"
    node = {"_target_": target, **net.size, "depth": layer or (depth + 1) // 2, "dropout": 0.0}
    return {"of": path, "layer": layer, "model": node}


def hearing(net: object, spec: Spec) -> str:
    """The spectrogram that a model hears, in words."""
    if not isinstance(net, Layered):
        return f"what {type(net).__name__} makes of it"
    return f"{net.size['mels']} bands of {spec.shape['rate']} samples a second, normalised by {net.size['normalize']}"
