"""Blocks of a transformer: self-attention with rotary positions and a cache of keys and values, and an MLP.

Axes: B batch, N heads, T tokens, S tokens that are looked at, E width of a head, D = N E.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.models.layers.drop_path import DropPath


class Rotary(nn.Module):
    """Positions as rotations of pairs of a head's values, by angles that fall geometrically (Su et al. 2021, 3.2.2)."""

    speeds: Tensor

    def __init__(self, head: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.register_buffer("speeds", base ** (-torch.arange(0, head, 2) / head), persistent=False)

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [T] or [B, T] -> cosines and sines float32, [T, 1, 1, E / 2] or [B, T, 1, 1, E / 2]."""
        angles = (places.unsqueeze(-1).float() * self.speeds.float()).unsqueeze(-2).unsqueeze(-2)
        return angles.cos(), angles.sin()


class _Rotate(torch.autograd.Function):
    """(a, b) -> (a cos - b sin, b cos + a sin) for the halves a and b of every query and key; values stay.

    Written out, and of all three at once, because it is a third of a small model's step otherwise: the gradient of a
    rotation is the rotation back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotated(gradient, cosine, -sine), None, None


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    out = torch.empty_like(x)
    (a, b), (first, second) = x[:, :, :2].chunk(2, dim=-1), out[:, :, :2].chunk(2, dim=-1)
    torch.mul(a, cosine, out=first).addcmul_(b, sine, value=-1)
    torch.mul(b, cosine, out=second).addcmul_(a, sine)
    out[:, :, 2] = x[:, :, 2]
    return out


def rotate(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Queries, keys and values [B, T, 3, N, E]; queries and keys are turned by their positions' cosines and sines."""
    cosine, sine = (part.to(x.dtype) for part in turns)
    turned: Tensor = _Rotate.apply(x, cosine, sine)
    return turned


class Cache:
    """Keys and values [B, N, S, E] of the tokens so far, of one block."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else self.kept[0].shape[2]

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """With those of more tokens after them."""
        if self.kept is not None:
            key, value = torch.cat([self.kept[0], key], dim=2), torch.cat([self.kept[1], value], dim=2)
        self.kept = (key, value)
        return self.kept


@dataclass(frozen=True)
class Sight:
    """Who sees whom: `allowed` bool [B, 1, 1, S] or None for all; `causal`: only what stands before.

    turns: the rotations of the tokens' positions, where there are any.
    """

    allowed: Tensor | None
    causal: bool
    turns: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, mask: Tensor | None, causal: bool, continues: bool, turns: tuple[Tensor, Tensor] | None) -> Sight:
        """mask: bool [B, S] of real tokens. continues: whether these are single tokens after cached ones.

        In a causal model padding stands behind every real token, out of its sight, unless cached tokens hold some.
        """
        if continues:
            return cls(None if mask is None else mask[:, None, None, :], False, turns)
        if causal or mask is None or (mask.device.type == "cpu" and bool(mask.all())):
            return cls(None, causal, turns)
        return cls(mask[:, None, None, :], False, turns)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sight: Sight, cache: Cache | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; with a cache, T more tokens of the texts whose keys and values it holds."""
        b, t, d = x.shape
        parts = self.qkv(x).view(b, t, 3, self.heads, d // self.heads)
        if sight.turns is not None:
            parts = rotate(parts, sight.turns)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(key, value)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=sight.allowed, is_causal=sight.causal)
        mixed: Tensor = self.dropout(self.project(x.transpose(1, 2).reshape(b, t, d)))
        return mixed


class FeedForward(nn.Module):
    """Two matrices with GELU between them, or SwiGLU of about as many parameters (Shazeer 2020)."""

    def __init__(self, width: int, mlp_ratio: float, activation: str, dropout: float) -> None:
        super().__init__()
        self.gated = activation == "swiglu"
        hidden = round(width * mlp_ratio)
        if self.gated:
            hidden = -(-2 * hidden // 3 // 8) * 8
        self.expand = nn.Linear(width, 2 * hidden if self.gated else hidden, bias=False)
        self.project = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = self.expand(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            x = F.silu(gate) * x
        else:
            x = F.gelu(x)
        out: Tensor = self.dropout(self.project(x))
        return out


class Block(nn.Module):
    """Pre-norm residual block: attention, then the feed-forward part."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, activation: str, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, mlp_ratio, activation, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, sight: Sight, cache: Cache | None = None) -> Tensor:
        """As Attention: [B, T, D] -> [B, T, D]."""
        x = x + self.drop_path(self.attention(self.norm1(x), sight, cache))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out
