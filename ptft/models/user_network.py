"""A network of the user's own as a backbone: any module that maps images to features. Axes: see `models.image.base`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.core import Features, Spec
from ptft.errors import ConfigError, first_line
from ptft.models.image.base import ImageBackbone
from ptft.models.layers.grids import last_of_each_size

SHAPES = "[B, D], [B, T, D] or [B, D, H, W]"


class UserNetwork(ImageBackbone):
    """A module whose forward maps normalised images, float [B, C, H, W], to features [B, D], tokens [B, T, D] or maps
    [B, D, H, W]. What it returns for two empty images says which, and how large D is; lazy layers get their shapes so.

    Raises ConfigError, naming `model._target_`, for a module that does otherwise.
    """

    def __init__(self, spec: Spec, network: nn.Module) -> None:
        super().__init__(spec)
        self.net = network
        self.dims, self.width = self._shape()

    def _shape(self) -> tuple[int, int]:
        name, shape = type(self.net).__name__, [2, self.channels, *self.size]
        self.net.eval()
        try:
            with torch.no_grad():
                out = self.net(torch.zeros(shape))
        except Exception as error:  # whatever a stranger's network may raise
            reason = first_line(error)
            raise ConfigError(
                f"model._target_: {name} fails on images {shape} ({type(error).__name__}: {reason})"
            ) from error
        finally:
            self.net.train()
        if not isinstance(out, Tensor) or out.ndim not in (2, 3, 4) or len(out) != 2 or not out.is_floating_point():
            seen = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ConfigError(f"model._target_: {name} maps images {shape} to {seen}; it must give float {SHAPES}")
        return out.ndim, out.shape[1 if out.ndim == 4 else -1]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, C, H, W] -> [B, T, D]; a vector is one token, a map a token for each of its places."""
        out: Tensor = self.net(x)
        if self.dims == 4:
            return Features(out.flatten(2).transpose(1, 2))
        return Features(out.unsqueeze(1) if self.dims == 2 else out)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map that it gives, as one of the nearest power of two; none where it gives vectors or tokens."""
        return last_of_each_size([self.net(x)], x) if self.dims == 4 else []

    def layers(self) -> list[list[nn.Module]]:
        """Its children that learn, in their order; those of a Sequential or ModuleList in its place."""
        flat: list[nn.Module] = []
        for child in self.net.children():
            flat += list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        return [[module] for module in flat if any(True for _ in module.parameters())]
