"""Base class of audio models: the log-mel spectrogram, on the device, and the mask of padding.

A prepared batch is float [B, F, M]; frames behind the end of a recording are NaN, so that whoever passes it along (to
random views, to a second network) passes the lengths along. Models zero them and mask what they become.

Axes: B batch, N samples, F frames, M mel bands, T tokens (frames, several together), D width, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Spec, length_mask
from ptft.data.audio.log_mel import LogMel, normalized
from ptft.data.audio.reader import FULL_SCALE
from ptft.errors import ConfigError


class SpeechBackbone(Backbone):
    """A backbone of sound, built as `Cls(spec, **options)`.

    mels: bands of the spectrogram; None is 40 below 12,000 samples a second, else 80.
    normalize: "recording" (mean 0 and deviation 1 over all of a recording's values), or "bands" (each band by itself).
    subsample: frames to a token, 1, 2 or 4: how many times the model halves time.
    Raises ConfigError where the Spec is not of audio, or an option can't be.
    """

    def __init__(self, spec: Spec, mels: int | None = None, normalize: str = "recording", subsample: int = 4) -> None:
        super().__init__()
        if spec.modality != "audio":
            raise ConfigError(
                f"model={type(self).__name__} hears audio, the dataset yields {spec.modality}: "
                "choose another model= or dataset="
            )
        if normalize not in ("recording", "bands"):
            raise ConfigError(f"model.normalize={normalize}: choose recording or bands")
        if subsample not in (1, 2, 4):
            raise ConfigError(f"model.subsample={subsample}: choose 1, 2 or 4 frames to a token")
        rate = int(spec.shape["rate"])
        self.mels = mels or (40 if rate < 12_000 else 80)
        if self.mels < 8:
            raise ConfigError(f"model.mels={mels}: at least 8")
        self.normalize, self.subsample = normalize, subsample
        self.logmel = LogMel(rate, self.mels)

    def prepare(self, raw: Tensor) -> Tensor:
        """int16 [B, N], every sample of it real -> float [B, F, M]."""
        return self.inputs({"input": raw})

    def inputs(self, batch: Batch) -> Tensor:
        """int16 or float [B, N], of which `length` (long [B]) samples are real -> float [B, F, M], NaN behind them."""
        raw = batch["input"]
        sound = raw / FULL_SCALE if raw.dtype == torch.int16 else raw
        lengths = batch.get("length", torch.full((raw.shape[0],), raw.shape[1], device=raw.device))
        none = not torch.compiler.is_compiling() and len(sound) == 0  # of which there is no FFT
        x = self.logmel(sound.new_zeros(1, sound.shape[1]))[:0] if none else self.logmel(sound)
        real = length_mask(self.logmel.frames(lengths), x.shape[1])
        return normalized(x, real, (1, 2) if self.normalize == "recording" else (1,))

    def token_counts(self, lengths: Tensor) -> Tensor:
        """Samples of recordings (long [B]) -> how many tokens each becomes, long [B]."""
        return self.logmel.frames(lengths).add(self.subsample - 1).div(self.subsample, rounding_mode="floor")

    def token_mask(self, x: Tensor) -> Tensor:
        """Prepared [B, F, M] -> which tokens are of the recording, bool [B, T]: those whose first frame is."""
        return real_frames(x)[:, :: self.subsample]


def real_frames(x: Tensor) -> Tensor:
    """Which frames of a prepared batch [B, F, M] are of the recording, bool [B, F]."""
    return ~x[:, :, 0].isnan()


class Halve(nn.Module):
    """A 3x3 convolution that halves the bands, and time where `stride` is 2; then a norm over channels, and GELU.

    The norm sees one place at a time, and what is padding is zero before every convolution: so no recording changes
    with what it is batched with.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(channels, out, 3, stride=(stride, 2), padding=1)
        self.norm = nn.LayerNorm(out)
        self.stride = stride

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, F, M], zero where `real` (bool [B, F]) is not -> the same, half as large."""
        x = self.norm(self.convolve(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        real = real[:, :: self.stride]
        return nn.functional.gelu(x) * real[:, None, :, None], real


def halved(count: int, times: int) -> int:
    """A side after so many convolutions of stride 2."""
    for _ in range(times):
        count = (count + 1) // 2
    return count


def strides(subsample: int, stages: int) -> list[int]:
    """Which stages halve time: the first ones."""
    return [2 if subsample >= 2 ** (i + 1) else 1 for i in range(stages)]
