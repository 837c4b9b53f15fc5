"""Encoders of speech: a transformer over convolved frames, and the conformer (Gulati et al. 2020).

Axes: B batch, F frames, M mel bands, T tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec, TokenBackbone
from ptft.errors import ConfigError
from ptft.models.audio.base import Halve, SpeechBackbone, halved, real_frames, strides
from ptft.models.layers.attention import Attention, AttentionMask, TransformerBlock
from ptft.models.layers.feed_forward import feed_forward
from ptft.models.layers.rotary import Rotary, RotaryAngles


class Convolve(nn.Module):
    """The conformer's convolution: a gate, a filter a channel over time, SiLU, a matrix.

    A layer norm stands where the paper has batch normalisation, whose statistics would count padding.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.filters = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner = nn.LayerNorm(width)
        self.project, self.dropout = nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """[B, T, D], and which tokens are real, bool [B, T] -> what is added to it, [B, T, D]."""
        x = F.glu(self.gate(self.norm(x)), dim=-1) * real.unsqueeze(-1)
        x = self.filters(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.dropout(self.project(F.silu(self.inner(x))))
        return out


class ConformerBlock(nn.Module):
    """Half an MLP, attention, convolution, half an MLP, a norm (section 2.4 of the paper)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float, kernel: int) -> None:
        super().__init__()
        self.before, self.after = (_network(width, mlp_ratio, dropout) for _ in range(2))
        self.attention = Attention(width, heads, dropout, bias=True, norm=True)
        self.convolve = Convolve(width, kernel, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: AttentionMask, rotation: RotaryAngles) -> Tensor:
        """As `TransformerBlock`; mask: of the real tokens."""
        assert mask.keys is not None
        x = x + 0.5 * self.before(x)
        x = x + self.attention(x, mask, rotation)
        x = x + self.convolve(x, mask.keys[:, 0, 0])
        out: Tensor = self.norm(x + 0.5 * self.after(x))
        return out


def _network(width: int, mlp_ratio: float, dropout: float) -> nn.Sequential:
    return feed_forward(width, round(width * mlp_ratio), nn.SiLU, dropout, norm=True)


class SpeechEncoder(SpeechBackbone, TokenBackbone):
    """Two convolutions over the spectrogram, a matrix to D, blocks over the tokens, a norm.

    block: makes one, called as a `TransformerBlock` without a cache.
    channels: of the convolutions. mels, normalize, subsample: as in `SpeechBackbone`.
    size: all options but dropout, by which it is built again.
    Raises ConfigError for sizes that can't be.
    """

    def __init__(
        self,
        spec: Spec,
        block: Callable[[], nn.Module],
        width: int,
        depth: int,
        heads: int,
        channels: int,
        dropout: float,
        mels: int | None,
        normalize: str,
        subsample: int,
    ) -> None:
        super().__init__(spec, mels, normalize, subsample)
        if min(width, depth, heads, channels) < 1 or width % heads:
            raise ConfigError(
                f"model.width={width}, model.depth={depth}, model.heads={heads}, model.channels={channels}: "
                "above 0, and heads must divide width"
            )
        self.width, self.cell = width, (self.subsample, self.mels)
        self.size: dict[str, Any] = {"width": width, "depth": depth, "heads": heads, "channels": channels}
        self.size |= {"mels": self.mels, "normalize": normalize, "subsample": subsample}
        self.stem = nn.ModuleList(
            Halve(before, channels, step) for before, step in zip((1, channels), strides(subsample, 2), strict=True)
        )
        self.project = nn.Linear(channels * halved(self.mels, 2), width)
        self.dropout = nn.Dropout(dropout)
        self.rotary = Rotary(width // heads, fused=False)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def embed(self, x: Tensor) -> Tensor:
        """Prepared [B, F, M] -> tokens [B, T, D]."""
        real = real_frames(x)
        x = x.nan_to_num(0).unsqueeze(1)
        for halve in self.stem:
            x, real = halve(x, real)
        tokens: Tensor = self.project(x.permute(0, 2, 3, 1).flatten(2))
        return tokens

    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> Features:
        """Embedded tokens [B, T, D], some of them perhaps replaced, and which are real (bool [B, T]) -> Features."""
        return Features(self.norm(self._through(tokens, mask, len(self.blocks))), mask)

    def _through(self, tokens: Tensor, mask: Tensor | None, count: int) -> Tensor:
        """Embedded tokens [B, T, D] -> as they leave the first `count` blocks."""
        tokens = self.dropout(tokens)
        attention_mask = AttentionMask.of(mask)
        rotation = self.rotary(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks[:count]:
            tokens = block(tokens, attention_mask, rotation)
        return tokens

    def behind(self, x: Tensor, count: int) -> Tensor:
        """Prepared [B, F, M] -> tokens as they leave the first `count` blocks, [B, T, D]."""
        return self._through(self.embed(x), self.token_mask(x), count)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, F, M] -> Features [B, T, D]; the mask is that of the recordings' ends."""
        return self.encode(self.embed(x), self.token_mask(x))

    def layers(self) -> list[list[nn.Module]]:
        blocks: list[list[nn.Module]] = [[block] for block in self.blocks]
        blocks[-1].append(self.norm)
        return [[self.stem, self.project], *blocks]


class AudioTransformer(SpeechEncoder):
    """A pre-norm transformer; mlp_ratio: the MLP's hidden width over D. The rest as in `SpeechEncoder`."""

    def __init__(
        self,
        spec: Spec,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        channels: int = 32,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        mels: int | None = None,
        normalize: str = "recording",
        subsample: int = 4,
    ) -> None:
        def block() -> nn.Module:
            network = partial(_network, width, mlp_ratio, dropout)
            return TransformerBlock(width, heads, network, bias=True, dropout=dropout, inner_norms=True)

        super().__init__(spec, block, width, depth, heads, channels, dropout, mels, normalize, subsample)
        self.size |= {"mlp_ratio": mlp_ratio}


class Conformer(SpeechEncoder):
    """The conformer; kernel: tokens that its convolutions span, an odd number. The rest as in `AudioTransformer`."""

    def __init__(
        self,
        spec: Spec,
        width: int = 144,
        depth: int = 16,
        heads: int = 4,
        channels: int = 32,
        mlp_ratio: float = 4.0,
        kernel: int = 31,
        dropout: float = 0.1,
        mels: int | None = None,
        normalize: str = "recording",
        subsample: int = 4,
    ) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"model.kernel={kernel}: an odd number of tokens")

        def block() -> nn.Module:
            return ConformerBlock(width, heads, mlp_ratio, dropout, kernel)

        super().__init__(spec, block, width, depth, heads, channels, dropout, mels, normalize, subsample)
        self.size |= {"mlp_ratio": mlp_ratio, "kernel": kernel}
