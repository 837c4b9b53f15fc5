"""Inputs of speech encoders of transformers: samples (wav2vec 2.0 and its kin), or Whisper's log-mel spectrogram.

As in `ptft.models.audio.base` a prepared batch is NaN behind the end of a recording. Every recording becomes what
transformers makes of it alone, whatever it is batched with: models are told where it ends, those too that
transformers' own batches leave in the dark (`feat_extract_norm` "group").

Axes: B batch, N samples, F frames, M mel bands, T tokens, D width, C channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ptft.core import Batch, Features, Spec, length_mask
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.log_mel import normalized
from ptft.errors import ConfigError
from ptft.models.audio.base import real_frames

WAVES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
"""Kinds of model that hear samples through a stack of convolutions."""
KINDS = (*WAVES, "whisper")
RATE = 16_000
"""Samples a second, of all of them."""
WINDOW, HOP = 400, 160
"""Samples of a frame of Whisper's, and from one to the next."""
FLOOR, RANGE = -10.0, 8.0
"""The least logarithm (base 10) of a band's power, and how far below a recording's loudest they go."""


def prepared(config: Any) -> Any:
    """The configuration without what would draw random numbers of its own (spectral masks) or serves a decoder."""
    for key in ("mask_time_prob", "mask_feature_prob"):
        setattr(config, key, 0.0)
    if getattr(config, "add_adapter", False):
        config.add_adapter = False
    return config


def longest(config: Any) -> float | None:
    """Seconds of a recording at most; None where any number."""
    return config.max_source_positions * 2 * HOP / RATE if config.model_type == "whisper" else None


def spec(config: Any) -> Spec:
    """What a dataset for public weights looks like."""
    return Spec("audio", audio_reader.shape(RATE, longest(config)), "none")


def check(config: Any, given: Spec, name: str) -> None:
    """Raises ConfigError where the model hears another rate, or not as long, as the dataset yields."""
    rate, seconds, most = given.shape["rate"], given.shape["seconds"], longest(config)
    if rate != RATE:
        raise ConfigError(f"dataset.rate={rate}: model.name={name} hears {RATE} samples a second: dataset.rate={RATE}")
    if most is not None and (seconds is None or seconds > most):
        shown = "null" if seconds is None else f"{seconds:g}"
        raise ConfigError(
            f"dataset.seconds={shown}: model.name={name} hears {most:g} s at most; dataset.seconds={most:g} takes the "
            "middle of longer recordings"
        )


def frontend(net: nn.Module, config: Any, normalize: bool) -> Waves | Mels:
    """What feeds `net`, which is made ready for it."""
    return Mels(net, config) if config.model_type == "whisper" else Waves(net, config, normalize)


class Waves(nn.Module):
    """Samples, of a recording with mean 0 and variance 1 where `normalize` says so.

    net: a norm over time in it becomes one over a recording's own time; names of parameters stay.
    """

    def __init__(self, net: Any, config: Any, normalize: bool) -> None:
        super().__init__()
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        self.normalize = normalize
        if config.model_type == "wavlm":  # transformers' own call, of which torch warns
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        self.least = field(self.kernels, self.strides)
        first = net.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first.layer_norm = OwnTimeNorm(first.layer_norm)
        self.no_weight_decay = frozenset(name for name, _ in net.named_parameters() if name.endswith("original0"))
        self.late = [net.encoder.layer_norm] if getattr(config, "do_stable_layer_norm", False) else []

    def inputs(self, batch: Batch) -> Tensor:
        """int16 or float [B, N], of which `length` (long [B]) are real -> float [B, N, 1], NaN behind them."""
        sound, real = amplitudes(batch)
        x = sound.unsqueeze(2)
        return normalized(x, real, (1, 2), 1e-7) if self.normalize else x.masked_fill(~real.unsqueeze(2), torch.nan)

    def frames(self, lengths: Tensor, layers: int | None = None) -> Tensor:
        """How many frames so many samples become after `layers` convolutions, or all; long [B]."""
        for kernel, stride in list(zip(self.kernels, self.strides, strict=True))[:layers]:
            lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        return lengths

    def tokens(self, lengths: Tensor) -> Tensor:
        """Samples of recordings (long [B]) -> how many tokens each becomes, long [B]."""
        return self.frames(lengths.clamp(min=self.least))

    def forward(self, net: Any, x: Tensor, mask: Tensor | None) -> Features:
        """[B, N, 1] -> Features [B, T, D]. Shorter recordings than a frame are filled up to one with silence."""
        lengths = real_frames(x).sum(1).clamp(min=self.least)
        sound = x.squeeze(2).nan_to_num(0)
        sound = nn.functional.pad(sound, (0, max(0, self.least - sound.shape[1])))
        norm = getattr(net.feature_extractor.conv_layers[0], "layer_norm", None)
        if isinstance(norm, OwnTimeNorm):
            norm.frames = self.frames(lengths, 1)
        tokens = net(input_values=sound, attention_mask=length_mask(lengths, sound.shape[1]).long()).last_hidden_state
        return Features(tokens, length_mask(self.tokens(lengths), tokens.shape[1]))


class OwnTimeNorm(nn.GroupNorm):
    """A norm of every channel over the first `frames` (long [B]) of each recording; those behind are set to 0."""

    frames: Tensor

    def __init__(self, like: nn.GroupNorm) -> None:
        super().__init__(like.num_groups, like.num_channels, like.eps)
        self.load_state_dict(like.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F] -> the same shape; every channel is a group of its own."""
        real = length_mask(self.frames, x.shape[2]).unsqueeze(1)
        count = self.frames.view(-1, 1, 1)
        x = x.float() * real
        mean = x.sum(2, keepdim=True) / count
        centred = (x - mean) * real
        variance = centred.square().sum(2, keepdim=True) / count
        scaled = centred * (variance + self.eps).rsqrt() * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)
        return scaled * real


class Mels(nn.Module):
    """Whisper's spectrogram (Radford et al. 2022, section 2.2), always of as many frames as the model has places for.

    net: its fixed positions become a buffer, so that they are not learned; names stay.
    """

    window: Tensor
    bands: Tensor
    no_weight_decay: frozenset[str] = frozenset()
    late: Sequence[nn.Module] = ()

    def __init__(self, net: Any, config: Any) -> None:
        super().__init__()
        self.count = 2 * int(config.max_source_positions)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("bands", mel_bands(int(config.num_mel_bins)), persistent=False)
        fixed = net.embed_positions.weight.detach()
        del net.embed_positions.weight
        net.embed_positions.register_buffer("weight", fixed)

    def inputs(self, batch: Batch) -> Tensor:
        """int16 or float [B, N], of which `length` (long [B]) are real -> float [B, F, M], NaN in frames without any.

        Raises ConfigError where the batch is longer than the model can hear.
        """
        sound, real = amplitudes(batch)
        if sound.shape[1] > self.count * HOP:
            raise ConfigError(f"dataset.seconds: the model hears {self.count * HOP / RATE:g} s at most")
        with torch.autocast(sound.device.type, enabled=False):
            sound = nn.functional.pad(sound, (0, self.count * HOP - sound.shape[1]))
            pieces = torch.stft(sound, WINDOW, HOP, window=self.window, return_complex=True)[:, :, :-1]
            power = pieces.abs().square().transpose(1, 2) @ self.bands
            log_mel = power.clamp(min=10**FLOOR).log10()
            log_mel = log_mel.maximum(log_mel.amax((1, 2), keepdim=True) - RANGE)
        return ((log_mel + 4) / 4).masked_fill(
            ~length_mask(_mel_frames(real.sum(1)), self.count).unsqueeze(2), torch.nan
        )

    def tokens(self, lengths: Tensor) -> Tensor:
        """Samples of recordings (long [B]) -> how many tokens each becomes, long [B]."""
        return (_mel_frames(lengths) + 1).div(2, rounding_mode="floor")

    def forward(self, net: Any, x: Tensor, mask: Tensor | None) -> Features:
        """[B, F, M] -> Features [B, T, D]; behind a recording the model hears silence, as it is used to."""
        real = real_frames(x)
        loudest = x.masked_fill(~real.unsqueeze(2), -torch.inf).amax((1, 2), keepdim=True)
        silence = (loudest - RANGE / 4).clamp(min=(FLOOR + 4) / 4)
        heard = torch.where(real.unsqueeze(2), x, silence)
        return Features(net(heard.transpose(1, 2)).last_hidden_state, real[:, ::2])


def _mel_frames(lengths: Tensor) -> Tensor:
    """How many frames have a window that any of so many samples are in, long [B]."""
    return (lengths + WINDOW // 2 + HOP - 1).div(HOP, rounding_mode="floor")


def amplitudes(batch: Batch) -> tuple[Tensor, Tensor]:
    """`input` as float [B, N], 0 behind the recordings, and which samples are real, bool [B, N]."""
    raw = batch["input"]
    sound = raw / audio_reader.FULL_SCALE if raw.dtype == torch.int16 else raw
    lengths = batch.get("length", torch.full((raw.shape[0],), raw.shape[1], device=raw.device))
    real = length_mask(lengths, raw.shape[1])
    return sound * real, real


def field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """How many samples the first frame of a stack of convolutions sees."""
    return 1 + sum((kernel - 1) * math.prod(strides[:i]) for i, kernel in enumerate(kernels))


def mel_bands(count: int) -> Tensor:
    """Triangles of equal area, [WINDOW / 2 + 1, M], that overlap by half from 0 Hz to half the rate.

    On Slaney's scale (Auditory Toolbox, 1998): even in Hz up to 1,000 (mel 15), even in log Hz above.
    """
    step = math.log(6.4) / 27
    mel = torch.linspace(0, 15 + math.log(RATE / 2000) / step, count + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel - 15) * step).exp())
    hertz = torch.arange(WINDOW // 2 + 1, dtype=torch.float64).unsqueeze(1) * (RATE / WINDOW)
    up = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return (torch.minimum(up, down).clamp(min=0) * 2 / (edges[2:] - edges[:-2])).float()
