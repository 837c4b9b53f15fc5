"""Random views of spectrograms on their device; no loops over samples.

Axes: B batch, F frames, M mel bands, P pieces. Randomness: `ptft.runtime.together.draws`, independent rows; the noise
of a recording follows from one number of its row, so that it is the same whatever it is padded to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError
from ptft.runtime.together.draws import rand, randint
from ptft.runtime.together.splitmix import normal
from ptft.validators import is_number, is_whole

LIMITS: dict[str, tuple[float, float]] = {"shift": (0, 10_000), "speed": (0, 0.5), "time_masks": (0, 100)}
LIMITS |= {"time_width": (0, 1), "freq_masks": (0, 100), "freq_width": (0, 1), "noise": (0, 10)}
LIMITS |= {"pitch": (0, 0.5), "tone": (0, 10)}
WHOLE = ("shift", "time_masks", "freq_masks")
CURVES = 4
"""Half cosines over the bands that a recording's tone is changed by: the level, a slope, and two bends."""


class SpectrogramViews(nn.Module):
    """Random views of a prepared batch, float [B, F, M] with NaN behind each recording -> the same shape and lengths.

    In evaluation mode the identity.

    shift: up to so many frames later or earlier. speed: up to so large a fraction faster or slower, around the middle;
        both by one linear interpolation in time. What then lies outside goes on with the first or last frame.
    pitch: up to so large a fraction higher or lower, by one linear interpolation between bands, as in another vocal
        tract (Jaitly & Hinton 2013). tone: standard deviation of each of the curves over the bands that are added to
        all of a recording, as another microphone, room and distance would.
    time_masks: how many pieces of time are set to the mean, each up to `time_width` of the recording;
        freq_masks: how many bands of frequency, each up to `freq_width` of all (SpecAugment: Park et al. 2019).
    noise: standard deviation of what is added to every value, which is normalised.
    Raises ConfigError naming `objective.views.KEY`.
    """

    def __init__(
        self,
        *,
        shift: int = 0,
        speed: float = 0.0,
        time_masks: int = 0,
        time_width: float = 0.2,
        freq_masks: int = 0,
        freq_width: float = 0.2,
        noise: float = 0.0,
        pitch: float = 0.0,
        tone: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__()
        for key in unknown:
            raise ConfigError(f"objective.views.{key} does not exist for audio; there are {', '.join(LIMITS)}")
        values = (shift, speed, time_masks, time_width, freq_masks, freq_width, noise, pitch, tone)
        for (key, (low, high)), value in zip(LIMITS.items(), values, strict=True):
            whole = key in WHOLE
            if not (is_whole if whole else is_number)(value) or not low <= value <= high:
                raise ConfigError(f"objective.views.{key}={value}: a {'whole ' * whole}number from {low} to {high}")
        self.shift, self.speed, self.noise = shift, speed, noise
        self.time_masks, self.time_width = time_masks, time_width
        self.freq_masks, self.freq_width = freq_masks, freq_width
        self.pitch, self.tone = pitch, tone

    def forward(self, x: Tensor) -> Tensor:
        """float [B, F, M] -> a new view of every recording; the batch itself is left as it is."""
        if not self.training:
            return x
        lengths = (~x[:, :, 0].isnan()).sum(1)
        if self.shift or self.speed:
            x = self._move(x, lengths)
        if self.pitch:
            x = self._warp(x)
        if self.tone:
            x = x + self._tones(x)
        if self.noise:
            keys = randint(2**62, len(x), device=x.device)
            x = x + self.noise * normal(keys, x.shape[1] * x.shape[2]).view_as(x)
        if self.time_masks:
            hidden = pieces(lengths, x.shape[1], self.time_masks, self.time_width)
            x = torch.where(hidden.unsqueeze(2) & ~x.isnan(), 0, x)
        if self.freq_masks:
            hidden = pieces(torch.full_like(lengths, x.shape[2]), x.shape[2], self.freq_masks, self.freq_width)
            x = torch.where(hidden.unsqueeze(1) & ~x.isnan(), 0, x)
        return x

    def _move(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Every frame from where it was at another speed and start, between two frames."""
        b, device = len(x), x.device
        last, middle = (lengths - 1).unsqueeze(1), (lengths - 1).unsqueeze(1) / 2
        places = torch.arange(x.shape[1], device=device)
        factor = 1 + self.speed * (2 * rand(b, 1, device=device) - 1)
        moved = self.shift * (2 * rand(b, 1, device=device) - 1)
        source = ((places - middle) * factor + middle + moved).clamp(min=0).minimum(last.float())
        early = source.floor().long()
        later = (early + 1).minimum(last)
        before, after = (x.gather(1, index.unsqueeze(2).expand_as(x)) for index in (early, later))
        between = torch.lerp(before, after, (source - early).unsqueeze(2).to(x.dtype))
        return between.masked_fill((places > last).unsqueeze(2), torch.nan)

    def _warp(self, x: Tensor) -> Tensor:
        """Every band from where it was at another pitch, between two bands; above the highest it goes on as there."""
        bands = torch.arange(x.shape[2], device=x.device)
        factor = 1 + self.pitch * (2 * rand(len(x), 1, device=x.device) - 1)
        source = ((bands + 0.5) * factor - 0.5).clamp(0, x.shape[2] - 1)
        low = source.floor().long()
        high = (low + 1).clamp(max=x.shape[2] - 1)
        below, above = (x.gather(2, index.unsqueeze(1).expand_as(x)) for index in (low, high))
        return torch.lerp(below, above, (source - low).unsqueeze(1).to(x.dtype))

    def _tones(self, x: Tensor) -> Tensor:
        """What is added to each band, [B, 1, M]: a sum of half cosines; uniform weights of deviation `tone`."""
        places = (torch.arange(x.shape[2], device=x.device) + 0.5) * torch.pi / x.shape[2]
        curves = torch.cos(torch.arange(CURVES, device=x.device)[:, None] * places)
        weights = self.tone * 3**0.5 * (2 * rand(len(x), CURVES, device=x.device) - 1)
        return (weights @ curves).to(x.dtype).unsqueeze(1)


def pieces(lengths: Tensor, size: int, count: int, width: float) -> Tensor:
    """`count` random pieces of rows with `lengths` (long [B]), each up to `width` of its row: bool [B, size]."""
    chance = rand(2, len(lengths), count, device=lengths.device, rows=1)
    span = (chance[0] * ((width * lengths.unsqueeze(1)).floor() + 1)).floor()
    start = (chance[1] * (lengths.unsqueeze(1) - span + 1)).floor()
    places = torch.arange(size, device=lengths.device)[:, None, None]
    return ((places >= start) & (places < start + span)).any(2).T
