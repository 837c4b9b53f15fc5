"""Grids in networks of timm: of their features, of positions, and those of one grid on another.

Axes: N, M positions, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ptft.models.layers.positions import resize_positions


class _Trunk(nn.Module):
    """A network up to its features."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net.forward_features(x)


def features_of(net: nn.Module, shape: tuple[int, ...]) -> Any:
    """What the trunk makes of images of this shape, without computing it: tensors on the meta device."""
    trunk = _Trunk(net)
    tensors = {name: value.to("meta") for name, value in [*trunk.named_parameters(), *trunk.named_buffers()]}
    with torch.no_grad():
        return torch.func.functional_call(trunk, tensors, (torch.empty(shape, device="meta"),))


def grids(net: Any) -> dict[str, tuple[tuple[int, int], Tensor]]:
    """Name of each parameter that holds positions on a grid -> the grid, and the parameter: [1, N, D] or [N, heads]."""
    by_name: dict[str, tuple[tuple[int, int], Tensor]] = {}
    for name, own in net.named_parameters():
        module: Any = net.get_submodule(name.rpartition(".")[0])
        if name.endswith("relative_position_bias_table") and hasattr(module, "window_size"):
            high, wide = module.window_size
            by_name[name] = (2 * high - 1, 2 * wide - 1), own
        elif name.endswith("pos_embed") and own.ndim == 3 and hasattr(module, "patch_embed"):
            high, wide = module.patch_embed.grid_size
            by_name[name] = (high, wide), own
    return by_name


def regridded(old: Tensor, own: Tensor, grid: tuple[int, int], first: int, before: tuple[int, int] | None) -> Tensor:
    """[N, D] of a grid and some rows besides, on another grid, [M, D]: these rows stay, `first` of them first.

    before: the old grid; None takes it for square. Returns the same tensor where that can't be.
    """
    besides = own.shape[0] - grid[0] * grid[1]
    side = round(max(0, old.shape[0] - besides) ** 0.5)
    high, wide = before or (side, side)
    if besides < 0 or high * wide != old.shape[0] - besides:
        return old
    cells = old[first : first + high * wide].view(high, wide, -1)
    return torch.cat([old[:first], resize_positions(cells, grid).flatten(0, 1), old[first + high * wide :]])
