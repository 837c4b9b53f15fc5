"""CTC decoding: from the log-probabilities of frames to symbols, greedily or by beam search.

Axes: B batch, T frames, V symbols; the blank is the last of V + 1 scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.core import length_mask

NEVER = -math.inf
Beams = dict[tuple[int, ...], tuple[float, float]]
"""Prefix -> log-probabilities of the ways to it that end with a blank, and with its last symbol."""


def greedy(scores: Tensor, frames: Tensor, blank: int) -> list[list[int]]:
    """The likeliest symbol of each frame, equal neighbours once and blanks left out.

    scores: [B, T, V + 1], of which `frames` (long [B]) are real.
    """
    best = scores.argmax(-1)
    before = torch.nn.functional.pad(best, (1, 0), value=-1)[:, :-1]
    real = length_mask(frames, best.shape[1])
    kept = (best != before) & (best != blank) & real
    return [row[keep].tolist() for row, keep in zip(best.cpu(), kept.cpu(), strict=True)]


def beam_search(scores: Tensor, blank: int, width: int) -> tuple[list[int], float]:
    """The prefix with the highest probability, over all ways to spread it over the frames, and its logarithm.

    scores: log-probabilities [T, V + 1] of one recording. width: how many prefixes are kept after a frame; with as many
    as there are, the result is exact. Each has two probabilities, of ways that end with a blank and with its last
    symbol, since only after a blank the same symbol begins again (Hannun et al. 2014, "First-pass large vocabulary
    continuous speech recognition using bi-directional recurrent DNNs").

    Of many symbols only those that a kept prefix can end with are tried: the `width + 1` likeliest of a frame, as one
    of them may be its last, and the last symbols of the kept ones, which are reached in more than one way.
    """
    likely = scores.index_fill(1, torch.tensor(blank), -math.inf).topk(min(width + 1, blank)).indices.tolist()
    beams: Beams = {(): (0.0, NEVER)}
    for frame, likeliest in zip(scores.tolist(), likely, strict=True):
        grown = grow(beams, frame, blank, set(likeliest))
        beams = dict(sorted(grown.items(), key=lambda item: -plus(*item[1]))[:width])
    best = max(beams, key=lambda prefix: plus(*beams[prefix]))
    return list(best), plus(*beams[best])


def grow(beams: Beams, frame: Sequence[float], blank: int, symbols: set[int]) -> Beams:
    """The prefixes after one more frame of log-probabilities: the same ones, and with one of `symbols` behind them.

    What is the last symbol of a prefix is tried as well, for it is reached in more than one way.
    """
    grown: Beams = {}
    tried = sorted({*symbols, *(prefix[-1] for prefix in beams if prefix)})
    for prefix, (blanks, said) in beams.items():
        either = plus(blanks, said)
        _add(grown, prefix, either + frame[blank], NEVER)
        for symbol in tried:
            score = frame[symbol]
            if prefix and symbol == prefix[-1]:
                _add(grown, prefix, NEVER, said + score)
                _add(grown, (*prefix, symbol), NEVER, blanks + score)
            else:
                _add(grown, (*prefix, symbol), NEVER, either + score)
    return grown


def _add(beams: Beams, prefix: tuple[int, ...], blank: float, symbol: float) -> None:
    before = beams.get(prefix, (NEVER, NEVER))
    beams[prefix] = plus(before[0], blank), plus(before[1], symbol)


def plus(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))
