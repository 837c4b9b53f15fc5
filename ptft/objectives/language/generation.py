"""Generation of text token by token, with a cache of keys and values or without.

Axes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ptft.core import Batch, IncrementalDecoder, TokenBackbone
from ptft.data.ragged import padded

COLDEST = 1e-8
"""Divided by less, logits as float32 are apart so far that one token is certain, and at last no numbers any more."""


class LanguageModel(Protocol):
    """An objective that knows what follows features."""

    backbone: TokenBackbone

    def next_logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class SamplingParameters:
    """How texts are continued.

    length: tokens at most. temperature: divides the logits; 0 takes the likeliest. top_k: only so many of the likeliest
    (Fan et al. 2018); top_p: only the likeliest that hold this share together (Holtzman et al. 2020). seed: decides the
    draws, and every text has its own, whatever else is in the batch. cache: keep keys and values; without it everything
    is computed again for every token.
    """

    length: int = 200
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    cache: bool = True

    def __call__(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Logits [B, V] and numbers in 0..1 [B] -> ids long [B]."""
        if self.temperature < COLDEST:
            return logits.argmax(-1)
        values, ids = (logits / self.temperature).sort(-1, descending=True)
        share = values.softmax(-1)
        before = share.cumsum(-1) - share
        if self.top_k is not None:
            share[:, self.top_k :] = 0
        if self.top_p is not None:
            share = share.masked_fill(before >= self.top_p, 0)
        cumulative = share.cumsum(-1)
        position = torch.searchsorted(cumulative, uniform.unsqueeze(1) * cumulative[:, -1:], right=True)
        return ids.gather(1, position.clamp(max=ids.shape[1] - 1)).squeeze(1)


class NoCache:
    """A decoder that computes everything again: for models that keep nothing, and to compare with those that do."""

    def __init__(self, backbone: TokenBackbone) -> None:
        self.backbone = backbone

    def prefill(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.rows = [row[real] for row, real in zip(ids, mask, strict=True)]
        hidden = self.backbone(ids, mask).tokens
        return hidden[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]  # type: ignore[no-any-return]

    def step(self, ids: Tensor) -> Tensor:
        rows = [torch.cat([row, token.view(1)]) for row, token in zip(self.rows, ids, strict=True)]
        return self.prefill(*padded(rows))


def generate(
    model: LanguageModel, batch: Batch, sampling: SamplingParameters, window: int, end: int
) -> list[list[int]]:
    """Continuations of a batch's texts (`input`, `mask`), each up to the token `end` or of `sampling.length` tokens.

    window: how many tokens the model may see. When a text fills them, it goes on from the later half of its own; all
    are read anew then, which of many texts of different lengths costs time, and changes none of the others.
    """
    cached = model.backbone.decoder() if sampling.cache else None
    decoder: IncrementalDecoder = cached or NoCache(model.backbone)
    texts: list[list[int]] = [ids[mask].tolist() for ids, mask in zip(batch["input"], batch["mask"], strict=True)]
    lengths, uniforms = [len(text) for text in texts], _uniform_numbers(batch, sampling)
    finished = torch.zeros(len(texts), dtype=torch.bool, device=uniforms.device)
    starts, room, ids = [0] * len(texts), 0, batch["input"][:, -1]
    for position in range(sampling.length):
        if room == 0:
            seen, room = _last_parts(texts, starts, window)
            hidden = decoder.prefill(*(part.to(uniforms.device) for part in seen))
        else:
            hidden = decoder.step(ids)
        ids = sampling(model.next_logits(hidden), uniforms[:, position])
        finished, room = finished | (ids == end), room - 1
        for text, token, ended in zip(texts, ids.tolist(), finished.tolist(), strict=True):
            text += [] if ended else [token]
        if bool(finished.all()):
            break
    return [text[length:] for text, length in zip(texts, lengths, strict=True)]


def _uniform_numbers(batch: Batch, sampling: SamplingParameters) -> Tensor:
    """Numbers in 0..1, [B, length]: every text's own, by its `index` where there is one."""
    ids = batch["input"]
    numbers = batch["index"].tolist() if "index" in batch else range(len(ids))
    generators = [torch.Generator().manual_seed(sampling.seed * 1_000_003 + number) for number in numbers]
    return torch.stack([torch.rand(sampling.length, generator=generator) for generator in generators]).to(ids.device)


def _last_parts(texts: list[list[int]], starts: list[int], window: int) -> tuple[tuple[Tensor, Tensor], int]:
    """What the model reads of the texts, padded, with its mask, and how many tokens have room after it.

    starts: where it begins to read each; of those that fill the window it moves, so that none depends on the others.
    """
    for row, text in enumerate(texts):
        if len(text) - starts[row] >= window:
            starts[row] = len(text) - max(1, window // 2)
    seen = [torch.tensor(text[start:]) for text, start in zip(texts, starts, strict=True)]
    return padded(seen), window - max(map(len, seen))
