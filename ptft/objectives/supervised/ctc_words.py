"""When words are said: an alignment of what was heard with the frames, and how sure each word is.

Axes: T frames, V symbols, U symbols of a text; the blank is the last of V + 1 scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptft.core import Spec
from ptft.data.audio.transcripts import UNITS, join


class Span(NamedTuple):
    """The frames [begin, end) at which a symbol is heard, and the mean log-probability that it has there."""

    begin: int
    end: int
    score: float


def words_of(scores: Tensor, symbols: Sequence[int], spec: Spec, seconds: float) -> list[dict[str, Any]]:
    """Each word, `from` and `to` in seconds, and its `confidence`, 0 to 1.

    scores: log-probabilities [T, V + 1]. seconds: of a frame. A word's confidence is the geometric mean of what its
    symbols have at their frames. CTC says when a symbol is recognised, which may be later than it begins.
    """
    spans = align(scores, symbols)
    words, begun = [], list[int]()
    for place in (*range(len(symbols)), None):
        ends = place is None or (begun and _begins_word(symbols[place], symbols[place - 1], spec))
        if ends and begun:
            inner = [i for i in begun if join([symbols[i]], spec).strip()]
            if text := join([symbols[i] for i in begun], spec).strip():
                first, last = spans[inner[0]], spans[inner[-1]]
                sure = math.exp(sum(spans[i].score for i in inner) / len(inner))
                found = {"from": round(first.begin * seconds, 3), "to": round(last.end * seconds, 3)}
                words.append({"word": text, **found, "confidence": round(sure, 4)})
            begun = []
        if place is not None:
            begun.append(place)
    return words


def _begins_word(symbol: int, before: int, spec: Spec) -> bool:
    """Whether a word begins at a symbol: each is one, or it, or the one before, has a space there."""
    if UNITS[spec.shape["units"]]:
        return True
    return spec.classes[symbol].startswith(" ") or spec.classes[before].endswith(" ")


def align(scores: Tensor, symbols: Sequence[int]) -> list[Span]:
    """The frames of every symbol on the likeliest way to say all of them in order (Viterbi; Graves et al. 2006).

    scores: log-probabilities [T, V + 1]. A symbol that has no frame, where the frames are too few, stands at the last.
    """
    blank, frames = scores.shape[1] - 1, len(scores)
    labels = torch.tensor([blank, *(label for symbol in symbols for label in (symbol, blank))])
    given = scores.float().cpu()[:, labels].double()
    skips = torch.zeros(len(labels), dtype=torch.bool)
    skips[3::2] = labels[3::2] != labels[1:-2:2]  # from one symbol to another there need be no blank
    best = torch.full((len(labels),), -math.inf, dtype=torch.float64)
    best[:2] = given[0, :2] if frames else best[:2]
    moves = torch.zeros(frames, len(labels), dtype=torch.long)
    for frame in range(1, frames):
        one, two = best.roll(1), best.roll(2).masked_fill(~skips, -math.inf)
        one[0] = -math.inf
        best, moves[frame] = torch.stack([best, one, two]).max(0)
        best = best + given[frame]
    return _spans(given, moves, best, len(symbols))


def _spans(given: Tensor, moves: Tensor, best: Tensor, count: int) -> list[Span]:
    """Back along the moves: where each of `count` symbols is."""
    if not len(moves) or not count:
        return [Span(0, 0, -math.inf)] * count
    state, path = len(best) - 1 - int(best[-2] > best[-1]), list[int]()
    for frame in range(len(moves) - 1, -1, -1):
        path.append(state)
        state -= int(moves[frame, state])
    path.reverse()
    spans = []
    for number in range(count):
        own = [frame for frame, at in enumerate(path) if at == 2 * number + 1]
        begin, end = (own[0], own[-1] + 1) if own else (len(path) - 1, len(path))
        spans.append(Span(begin, end, float(given[begin:end, 2 * number + 1].mean())))
    return spans
