"""Marks in recordings: seen on the spectrogram, and heard. Axes: N samples, F frames, M bands."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.core import Spec
from ptft.data.audio.reader import FULL_SCALE, LOUDEST
from ptft.data.marked import marks
from ptft.data.marked.image import overlaid

CELLS, MOMENTS = (24, 8), 96
"""Of a spectrogram so many cells in time and in bands; of samples so many moments."""
HEIGHT, WIDTH = 240, 720
"""Pixels of a picture."""
HEARD = 0.25
"""The share of a recording's time that is left to be heard."""
FADE = 0.01
"""Seconds in which what is heard begins and ends."""


def units(raw: Tensor, x: Tensor, spec: Spec) -> Tensor:
    """Cells of time and bands; of models that hear samples moments. What is behind the end is of none."""
    frames, bands = x.shape[1:]
    real = int((~x[0, :, 0].isnan()).sum())
    owner = torch.full((frames, bands), -1)
    owner[:real] = marks.cells(real, bands, CELLS if bands > 1 else (MOMENTS, 1))
    return owner


def empty(x: Tensor, units: Tensor, spec: Spec) -> Tensor:
    """As loud as the recording is on the whole, everywhere."""
    return torch.where(x.isnan(), x, x.nanmean())


def named(raw: Tensor, units: Tensor, spec: Spec) -> dict[str, Any]:
    return {"grid": marks.grid(units[units[:, 0] >= 0])}


def draw(stem: Path, raw: Tensor, x: Tensor, values: Tensor | None, spec: Spec) -> dict[str, Path]:
    """A PNG, time from left to right and high bands above, and of what is marked a WAV besides."""
    rate, sound = int(spec.shape["rate"]), _samples(raw)
    real = ~x[0, :, 0].isnan()
    shown = x[0][real] if x.shape[2] > 1 else _spectrogram(sound, rate)
    low, high = shown.quantile(0.02), shown.quantile(0.995)
    grey = _upright(((shown - low) / (high - low).clamp(min=1e-6)).clamp(0, 1) * 255)
    picture = grey.expand(3, -1, -1)
    if values is not None:
        picture = overlaid(grey, _upright(values[real].float(), "nearest"))
    files = {"picture": stem.with_suffix(".png"), "sound": stem.with_suffix(".wav")}
    _save(files["picture"], picture)
    heard = sound if values is None else sound * gain(values[real].sum(1), len(sound), rate)
    _write(files["sound"], heard, rate)
    return files


def gain(marks_in_time: Tensor, samples: int, rate: int) -> Tensor:
    """Of frames [F] -> [N], 1 in the most marked quarter of the time and 0 elsewhere, fading between."""
    count = max(1, round(HEARD * len(marks_in_time)))
    chosen = torch.zeros(len(marks_in_time))
    chosen[marks_in_time.cpu().topk(count).indices] = 1
    steps = F.interpolate(chosen[None, None], samples, mode="nearest")
    fade = min(2 * round(FADE * rate / 2) + 1, 2 * ((samples - 1) // 2) + 1)
    faded: Tensor = F.avg_pool1d(steps, fade, stride=1, padding=fade // 2, count_include_pad=False)
    return faded[0, 0]


def _samples(raw: Tensor) -> Tensor:
    """int16 or amplitudes [N] -> float [N] from -1 to 1 on the CPU."""
    return (raw.cpu().float() / FULL_SCALE) if raw.dtype == torch.int16 else raw.cpu().float().clamp(-1, 1)


def _spectrogram(sound: Tensor, rate: int) -> Tensor:
    """[N] -> the logarithm of its power, [F, M], 25 ms a frame."""
    size = min(len(sound), max(16, rate // 40))
    pieces = sound.unfold(0, size, max(1, size // 2)) * torch.hann_window(size)
    power: Tensor = torch.fft.rfft(pieces).abs().square()
    return (power + 1e-6).log()


def _upright(values: Tensor, mode: str = "bilinear") -> Tensor:
    """[F, M] -> [HEIGHT, WIDTH], high bands above."""
    high_first = values.T.flip(0)[None, None].cpu()
    return F.interpolate(high_first, (HEIGHT, WIDTH), mode=mode, align_corners=False if mode == "bilinear" else None)[
        0, 0
    ]


def _save(file: Path, picture: Tensor) -> None:
    from PIL import Image

    Image.fromarray(picture.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()).save(file)


def _write(file: Path, sound: Tensor, rate: int) -> None:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((sound.clamp(-1, 1) * LOUDEST).round().to(torch.int16).numpy().astype("<i2").tobytes())
