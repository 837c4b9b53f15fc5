"""Recordings longer than those of the training, heard in windows of that length that overlap (stage=predict).

Each window's frames count up to the middle of what it shares with the next one, where both have heard what is around.
Axes: B batch, N samples, W windows, T frames, V symbols.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ptft.core import Backbone, Batch
from ptft.data.ragged import pad

Hear = Callable[[Batch], tuple[Tensor, Tensor]]
"""A batch -> its scores [B, T, V + 1], and how many of each recording's frames are real, long [B]."""
AT_ONCE = 16
"""Windows that are heard together."""
SHARED = 3
"""A window shares this part (a third) with the next one."""


def heard(hear: Hear, backbone: Backbone, batch: Batch, longest: int) -> tuple[Tensor, Tensor]:
    """As `hear`, of a batch with recordings of more than `longest` samples: [B, T, V + 1], 0 behind them, and long [B].

    batch: `input` [B, N], and `length` (long [B]) of them.
    """
    waves, lengths = batch["input"], batch["length"].tolist()
    step = _samples_a_frame(hear, backbone, waves, longest)
    begins = [starts(length, longest, step) for length in lengths]
    parts = [waves[i, a : min(a + longest, lengths[i])] for i, own in enumerate(begins) for a in own]
    scores = _in_turn(hear, parts)
    rows, first = list[Tensor](), 0
    for own in begins:
        rows.append(_joined(scores[first : first + len(own)], [round(begin / step) for begin in own]))
        first += len(own)
    values, frames = pad(rows)
    return values, frames.to(values.device)


def starts(length: int, longest: int, step: float) -> list[int]:
    """Where the windows of a recording of `length` samples begin: whole frames of `step` apart, the last at its end."""
    if length <= longest:
        return [0]
    frames = max(1, int(longest * (1 - 1 / SHARED) / step))
    count = -(-(length - longest) // max(1, round(frames * step)))
    last = -int(-(length - longest) // step)
    return [round(min(i * frames, last) * step) for i in range(count + 1)]


def _samples_a_frame(hear: Hear, backbone: Backbone, waves: Tensor, longest: int) -> float:
    """How far frames are apart: as the backbone says, else as many as a window has."""
    counts = backbone.token_counts(torch.tensor([longest, longest + 2**24]).to(waves.device))
    if counts is not None:
        return max(1, round(2**24 / max(1, int(counts[1] - counts[0]))))
    silence = {"input": waves.new_zeros(1, longest), "length": torch.full((1,), longest, device=waves.device)}
    return longest / max(1, int(hear(silence)[1]))


def _in_turn(hear: Hear, parts: list[Tensor]) -> list[Tensor]:
    """Of each window [n] its scores [T, V + 1], of as many frames as are real."""
    scores = list[Tensor]()
    for first in range(0, len(parts), AT_ONCE):
        waves, lengths = pad(parts[first : first + AT_ONCE])
        values, frames = hear({"input": waves, "length": lengths.to(waves.device)})
        scores += [row[:count] for row, count in zip(values, frames.tolist(), strict=True)]
    return scores


def _joined(windows: list[Tensor], places: list[int]) -> Tensor:
    """Scores [T, V + 1] of windows that begin at these frames of their recording -> those of the whole of it."""
    ends = [place + len(window) for place, window in zip(places, windows, strict=True)]
    seams = [(end + place) // 2 for end, place in zip(ends[:-1], places[1:], strict=True)]
    cuts = zip(windows, places, [0, *seams], [*seams, ends[-1]], strict=True)
    return torch.cat([window[max(0, begin - place) : end - place] for window, place, begin, end in cuts])
