"""A convolutional network over log-mel spectrograms.

Axes: B batch, F frames, M mel bands, C channels, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec
from ptft.errors import ConfigError
from ptft.models.audio.base import Halve, SpeechBackbone, halved, real_frames, strides


class Stage(nn.Module):
    """A convolution that halves, then y + a 3x3 convolution of y, after a norm over channels and GELU."""

    def __init__(self, channels: int, out: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.halve = Halve(channels, out, stride)
        self.norm = nn.LayerNorm(out)
        self.convolve = nn.Conv2d(out, out, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, F, M], zero where `real` (bool [B, F]) is not -> the same, half as large."""
        x, real = self.halve(x, real)
        cells = real[:, None, :, None]
        inner = F.gelu(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)) * cells
        return x + self.dropout(self.convolve(inner)) * cells, real


class AudioCNN(SpeechBackbone):
    """Stages of two convolutions that halve the bands, the first ones time too; then a matrix over each moment's cells.

    channels: of every stage, two at least. width: D. dropout: on residual branches and on the tokens.
    mels, normalize, subsample: as in `SpeechBackbone`.
    """

    def __init__(
        self,
        spec: Spec,
        channels: Sequence[int] = (32, 64, 128),
        width: int = 128,
        dropout: float = 0.1,
        mels: int | None = None,
        normalize: str = "recording",
        subsample: int = 4,
    ) -> None:
        super().__init__(spec, mels, normalize, subsample)
        if len(channels) < 2 or min(*channels, width) < 1:
            raise ConfigError(f"model.channels={list(channels)}, model.width={width}: two counts at least, above 0")
        steps = strides(subsample, len(channels))
        self.stages = nn.ModuleList(
            Stage(before, after, step, dropout)
            for before, after, step in zip([1, *channels[:-1]], channels, steps, strict=True)
        )
        self.dense = nn.Linear(channels[-1] * halved(self.mels, len(channels)), width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.width = width

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """[B, F, M] -> Features [B, T, D]; the mask is that of the recordings' ends."""
        mask, real = self.token_mask(x), real_frames(x)
        x = x.nan_to_num(0).unsqueeze(1)
        for stage in self.stages:
            x, real = stage(x, real)
        tokens = self.norm(self.dense(x.permute(0, 2, 3, 1).flatten(2)))
        return Features(self.dropout(F.gelu(tokens)), mask)

    def layers(self) -> list[list[nn.Module]]:
        return [*([stage] for stage in self.stages), [self.dense, self.norm]]
