"""Marks in texts: a value for each word. Axes: T tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Spec
from ptft.data.text.reader import tokenizer_of
from ptft.data.tokenizer import Tokenizer


def units(raw: Tensor, x: Tensor, spec: Spec) -> Tensor:
    """Words, each with the space before it; ids that stand for no text are of none."""
    tokenizer, ids = tokenizer_of(spec), raw.cpu()
    starts, stands = tokenizer.starts_word(ids).tolist(), (tokenizer.byte_lengths[ids] > 0).tolist()
    owner, word, fresh, blank = [], -1, True, False
    for token, is_start, is_text in zip(ids.tolist(), starts, stands, strict=True):
        if not is_text:
            owner.append(-1)
            fresh = True
            continue
        if fresh or (is_start and not blank):
            word, fresh, blank = word + 1, False, True
        blank = blank and not tokenizer.decode([token]).strip()
        owner.append(word)
    return torch.tensor(owner)


def empty(x: Tensor, units: Tensor, spec: Spec) -> Tensor:
    """The id that hides a token where the tokenizer has one, else that of unknown text, else padding; others stay."""
    tokenizer = tokenizer_of(spec)
    neutral = next((token for token in (tokenizer.mask, tokenizer.unk, tokenizer.pad) if token >= 0), 0)
    return torch.where(units.to(x.device) >= 0, torch.full_like(x, neutral), x)


def named(raw: Tensor, units: Tensor, spec: Spec) -> dict[str, Any]:
    tokenizer = tokenizer_of(spec)
    return {"words": [_word(tokenizer, raw[units == number]) for number in range(int(units.max()) + 1)]}


def _word(tokenizer: Tokenizer, ids: Tensor) -> str:
    return tokenizer.decode(ids.tolist()).strip()


def draw(stem: Path, raw: Tensor, x: Tensor, values: Tensor | None, spec: Spec) -> dict[str, Path]:
    """Nothing: words are shown where their values stand."""
    return {}
