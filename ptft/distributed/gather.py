"""Tensors of all processes as one, with gradient.

Axes: B examples of this process, W those of all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ptft.runtime.together.alone import current


def alone() -> bool:
    """Whether this process computes by itself, as it does while a run is built."""
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return not (several and current().ready)


def gathered(x: Tensor) -> tuple[Tensor, int]:
    """[B, …] -> ([W, …] of all processes in their order, and where this one's begin in it); B may differ.

    The gradient of what every process makes of the whole comes back to the process that the rows are from.
    """
    if alone():
        return x, 0
    sizes = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.full((), len(x), device=x.device))
    lengths = [int(size) for size in sizes]
    whole: Tensor = _Gather.apply(x, lengths)
    return whole, sum(lengths[: dist.get_rank()])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: list[int]) -> Tensor:
        """Padded to the longest, because all that is sent has the same shape."""
        ctx.start, ctx.length = sum(lengths[: dist.get_rank()]), len(x)
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        summed = grads[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed[ctx.start : ctx.start + ctx.length], None
