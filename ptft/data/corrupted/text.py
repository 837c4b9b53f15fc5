"""Corruptions of texts: typing errors. Axes: B batch, T tokens."""

from __future__ import annotations

import random

import torch

from ptft.core import Batch, Examples, Spec
from ptft.data.corrupted.examples import Corruption
from ptft.data.ragged import padded
from ptft.data.text.reader import tokenizer_of
from ptft.data.tokenizer import Tokenizer

TYPOS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""The share of letters that are swapped with the next one, left out, doubled or taken for another one."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def typos(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    """Each part of a text between special tokens is written anew, and cut where it is more tokens than a model reads.

    The batch is as wide as the longest of it is now.
    """
    tokenizer, ids, length = tokenizer_of(spec), batch["input"].cpu(), int(spec.shape["length"])
    special = (tokenizer.byte_lengths == 0).tolist()
    rows = [
        _retyped(row[real].tolist(), special, tokenizer, random.Random(f"{index} {severity}"), severity, length)
        for row, real, index in zip(ids, batch["mask"].cpu(), batch["index"].tolist(), strict=True)
    ]
    written, real = padded([torch.tensor(row, dtype=torch.long) for row in rows], tokenizer.pad)
    device = batch["input"].device
    return {**batch, "input": written.to(device), "mask": real.to(device)}


def _retyped(
    ids: list[int], special: list[bool], tokenizer: Tokenizer, draw: random.Random, severity: int, room: int
) -> list[int]:
    """ids: of real tokens. room: how many there may be of them."""
    parts: list[list[int]] = [[]]
    for token in ids:
        if special[token]:
            parts += [[token], []]
        else:
            parts[-1].append(token)
    texts = [i for i, part in enumerate(parts) if part and not special[part[0]]]
    for i in texts:
        parts[i] = tokenizer.encode([misspelt(tokenizer.decode(parts[i]), draw, TYPOS[severity - 1])])[0]
    while (over := sum(map(len, parts)) - room) > 0:
        longest = max(texts, key=lambda i: len(parts[i]))
        del parts[longest][-min(over, max(1, len(parts[longest]) // 8)) :]
    return [token for part in parts for token in part]


def misspelt(text: str, draw: random.Random, share: float) -> str:
    """The text, each of its letters wrong with this chance."""
    letters = list(text)
    for i, letter in enumerate(letters):
        if not letter.isalpha() or draw.random() >= share:
            continue
        kind = draw.randrange(4)
        if kind == 0 and i + 1 < len(letters):
            letters[i], letters[i + 1] = letters[i + 1], letter
        elif kind == 1:
            letters[i] = ""
        elif kind == 2:
            letters[i] = letter * 2
        else:
            letters[i] = draw.choice(LETTERS)
    return "".join(letters)


KINDS: dict[str, Corruption] = {"typos": typos}
