"""Rotary position embedding (Su et al. 2021, "RoFormer", section 3.2.2).

Axes: B batch, T tokens, N heads, E width of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class RotaryAngles(NamedTuple):
    """Cosines and sines of positions, float32 [T, 1, 1, E / 2] or [B, T, 1, 1, E / 2]; `fused` as in `Rotary`."""

    cosine: Tensor
    sine: Tensor
    fused: bool


class Rotary(nn.Module):
    """The rotation angles of positions; they fall geometrically from 1 radian a token to 1 / `base`.

    head: E. Where it is odd, the last value of a head is not rotated.
    fused: multiply and add at once, which is faster; else each is rounded by itself, which differs in the last bit.
    """

    inv_freq: Tensor

    def __init__(self, head: int, base: float = 10_000.0, *, fused: bool = True) -> None:
        super().__init__()
        half = head // 2
        self.fused = fused
        self.register_buffer("inv_freq", base ** (-torch.arange(half) / half), persistent=False)

    def forward(self, positions: Tensor) -> RotaryAngles:
        """Positions long [T] or [B, T] -> their rotations."""
        angles = (positions.unsqueeze(-1).float() * self.inv_freq.float()).unsqueeze(-2).unsqueeze(-2)
        return RotaryAngles(angles.cos(), angles.sin(), self.fused)


def rotate(qkv: Tensor, rotation: RotaryAngles) -> Tensor:
    """Queries, keys and values [B, T, 3, N, E] -> the same shape; queries and keys rotated, values as they are."""
    cosine, sine = rotation.cosine.to(qkv.dtype), rotation.sine.to(qkv.dtype)
    rotated: Tensor = _Rotate.apply(qkv, cosine, sine, rotation.fused)
    return rotated


class _Rotate(torch.autograd.Function):
    """(a, b) -> (a cos - b sin, b cos + a sin) for the halves a and b of every query and key.

    The gradient of a rotation is the rotation back. It is written out, and done for queries and keys at once, because
    it would take a third of a small model's step otherwise.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cosine: Tensor, sine: Tensor, fused: bool) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        ctx.fused = fused
        return _rotated(qkv, cosine, sine, fused)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotated(gradient, cosine, -sine, ctx.fused), None, None, None


def _rotated(qkv: Tensor, cosine: Tensor, sine: Tensor, fused: bool) -> Tensor:
    out, half = torch.empty_like(qkv), cosine.shape[-1]
    first, second, rest = _split(qkv, half)
    out_first, out_second, out_rest = _split(out, half)
    torch.mul(first, cosine, out=out_first)
    torch.mul(second, cosine, out=out_second)
    if fused:
        out_first.addcmul_(second, sine, value=-1)
        out_second.addcmul_(first, sine)
    else:
        out_first -= second * sine
        out_second += first * sine
    if rest.shape[-1]:
        out_rest.copy_(rest)
    out[:, :, 2] = qkv[:, :, 2]
    return out


def _split(qkv: Tensor, half: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of queries and keys the two halves that are rotated into each other, and the rest of an odd width."""
    rotated = qkv[:, :, :2]
    return rotated[..., :half], rotated[..., half : 2 * half], rotated[..., 2 * half :]
