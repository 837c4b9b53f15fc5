"""Multi-head self-attention and the transformer block, for images, text and audio.

Axes: B batch, N heads, T tokens, S tokens that are attended to, E width of a head, D = N E.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.models.layers.drop_path import DropPath
from ptft.models.layers.feed_forward import BiasFreeFeedForward, feed_forward
from ptft.models.layers.rotary import RotaryAngles, rotate


class KVCache:
    """Keys and values [B, N, S, E] of the tokens so far, of one block."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else self.kept[0].shape[2]

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of further tokens, and return all."""
        if self.kept is not None:
            key, value = torch.cat([self.kept[0], key], dim=2), torch.cat([self.kept[1], value], dim=2)
        self.kept = (key, value)
        return self.kept


@dataclass(frozen=True)
class AttentionMask:
    """Which tokens attend to which.

    keys: bool [B, 1, 1, S] or [B, 1, T, S], True where a token may be attended to; None: all may.
    causal: a token attends only to itself and those before it.
    """

    keys: Tensor | None = None
    causal: bool = False

    @classmethod
    def of(cls, real: Tensor | None) -> AttentionMask:
        """Every token attends to the real ones, bool [B, S]; None: to all."""
        return cls(None if real is None else real[:, None, None, :])

    @classmethod
    def of_documents(cls, document: Tensor, causal: bool) -> AttentionMask:
        """Tokens attend to those of their own document, long [B, T]; what is behind the last is a document, too."""
        same = document.unsqueeze(2) == document.unsqueeze(1)
        return cls((same.tril() if causal else same).unsqueeze(1))

    @classmethod
    def of_text(cls, real: Tensor | None, causal: bool, cached: bool) -> AttentionMask:
        """real: bool [B, S]. cached: whether these are single tokens that follow those of a `KVCache`.

        In a causal model padding stands behind every real token, where none of them attends to it, unless cached tokens
        contain some.
        """
        if not cached and (causal or real is None or (_is_asked(real) and bool(real.all()))):
            return cls(None, causal)
        return cls.of(real)


def _is_asked(real: Tensor) -> bool:
    """Whether the values of a mask may decide what is computed: elsewhere they would be waited for, or, in a program
    that is exported, decide for all inputs."""
    return real.device.type == "cpu" and not torch.compiler.is_exporting()


ALL_TO_ALL = AttentionMask()


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2).

    bias: of both linear maps. norm: whether it begins with a layer norm of its own.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, bias: bool, norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: AttentionMask = ALL_TO_ALL,
        rotation: RotaryAngles | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D].

        rotation: of the tokens' positions, from `Rotary`. cache: keys and values of the S - T tokens
        before these.
        """
        b, t, d = x.shape
        qkv = self.qkv(self.norm(x)).view(b, t, 3, self.heads, d // self.heads)
        if rotation is not None:
            qkv = rotate(qkv, rotation)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(key, value)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.keys, is_causal=mask.causal)
        mixed: Tensor = self.dropout(self.project(x.transpose(1, 2).reshape(b, t, d)))
        return mixed


class TransformerBlock(nn.Module):
    """Pre-norm residual block (Xiong et al. 2020): attention, then a feed-forward network.

    network: makes the feed-forward network. bias: of the attention's linear maps. eps: of the norms.
    inner_norms: whether attention and network have the norms in them, so that the block has none.
    drop_path: rate of stochastic depth.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        network: Callable[[], nn.Module],
        *,
        bias: bool,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        inner_norms: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if inner_norms else nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, heads, dropout, bias=bias, norm=inner_norms)
        self.norm2 = nn.Identity() if inner_norms else nn.LayerNorm(width, eps=eps)
        self.mlp = network()
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Tensor,
        mask: AttentionMask = ALL_TO_ALL,
        rotation: RotaryAngles | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """As `Attention`: [B, T, D] -> [B, T, D]."""
        x = x + self.drop_path(self.attention(self.norm1(x), mask, rotation, cache))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


def vit_block(width: int, heads: int, mlp_ratio: float, dropout: float, drop_path: float) -> TransformerBlock:
    """The block of the vision transformer: biases, GELU, dropout in the network as well (Dosovitskiy et al. 2021)."""

    def network() -> nn.Module:
        return feed_forward(width, round(width * mlp_ratio), nn.GELU, dropout)

    return TransformerBlock(width, heads, network, bias=True, dropout=dropout, drop_path=drop_path, eps=1e-6)


def bias_free_block(
    width: int, heads: int, mlp_ratio: float, activation: str, dropout: float, drop_path: float
) -> TransformerBlock:
    """The block of language models: no biases in the matrices; activation: "gelu" or "swiglu"."""

    def network() -> nn.Module:
        return BiasFreeFeedForward(width, mlp_ratio, activation, dropout)

    return TransformerBlock(width, heads, network, bias=False, dropout=dropout, drop_path=drop_path)
