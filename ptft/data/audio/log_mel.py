"""Log-mel spectrograms on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError

WINDOW, HOP = 0.025, 0.010
"""Seconds of a frame, and from one to the next."""


QUIET = 1e-6
"""Added to the power in a band before its logarithm is taken: about that of 16-bit rounding."""


class LogMel(nn.Module):
    """The logarithm of the power in `mels` bands, equally wide on the mel scale, of every frame.

    Frame t holds the samples from t * hop on, so that no frame of a recording depends on what follows it in the batch.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, rate: int, mels: int) -> None:
        super().__init__()
        self.size, self.hop = round(WINDOW * rate), round(HOP * rate)
        self.fft = 2 ** math.ceil(math.log2(self.size) + 1)  # twice as fine as need be: low bands are narrow
        self.register_buffer("window", torch.hann_window(self.size, periodic=False), persistent=False)
        self.register_buffer("bands", mel_bands(rate, self.fft, mels), persistent=False)

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames recordings of so many samples have, long [B]; at least one."""
        return (lengths - self.size).clamp(min=0).div(self.hop, rounding_mode="floor") + 1

    def forward(self, sound: Tensor) -> Tensor:
        """Amplitudes float [B, N] -> float32 [B, F, M]."""
        with torch.autocast(sound.device.type, enabled=False):
            if sound.shape[1] < self.size:
                sound = nn.functional.pad(sound, (0, self.size - sound.shape[1]))
            pieces = sound.float().unfold(1, self.size, self.hop) * self.window
            power = torch.fft.rfft(pieces, self.fft).abs().square()
            mels: Tensor = (power @ self.bands + QUIET).log()
        return mels


def mel_bands(rate: int, fft: int, mels: int) -> Tensor:
    """Triangles, [fft / 2 + 1, M], that overlap by half from 20 Hz to half the rate (Davis & Mermelstein 1980).

    mel = 2595 log10(1 + Hz / 700) (O'Shaughnessy 1987). Raises ConfigError where a band holds no frequency.
    """
    top, low = (2595 * math.log10(1 + hertz / 700) for hertz in (rate / 2, 20.0))
    edges = 700 * (10 ** (torch.linspace(low, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.arange(fft // 2 + 1, dtype=torch.float64).unsqueeze(1) * (rate / fft)
    up = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    bands = torch.minimum(up, down).clamp(min=0).float()
    if not bool((bands.sum(0) > 0).all()):
        raise ConfigError(f"model.mels={mels}: too many for {rate} samples a second, some bands would be empty")
    return bands


def normalized(x: Tensor, real: Tensor, axes: tuple[int, ...], least: float = 1e-5) -> Tensor:
    """[B, F, M] less its mean over `axes` and divided by its deviation, of real frames (bool [B, F]); NaN elsewhere.

    least: what is added to the variance.
    """
    weight = real.unsqueeze(2).to(x.dtype).expand_as(x)
    count = weight.sum(axes, keepdim=True)
    mean = (x * weight).sum(axes, keepdim=True) / count
    variance = ((x - mean).square() * weight).sum(axes, keepdim=True) / count
    return ((x - mean) / (variance + least).sqrt()).masked_fill(~real.unsqueeze(2), torch.nan)
