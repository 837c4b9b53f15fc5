"""Sentences as words: their tokens, cut into pieces where they are long, and which token begins each word.

Axes: T tokens. Sources and `stage=predict` read through the same functions; an item of `find` is a piece.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import text
from ptft.data.sentences import room
from ptft.data.tokenizer import Tokenizer
from ptft.data.uneven import padded
from ptft.errors import DataError

SUFFIXES = frozenset({".conll", ".bio", ".iob", ".iob2", ".conllu"})
"""Of files with a word a line; in others a line is a sentence."""
WORDS = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
"""What counts as a word where a sentence is plain text."""


def word_ids(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """For every sentence and word its ids, at least one."""
    found = []
    for words, ids, index in zip(sentences, *tokenizer.encode_words(sentences), strict=True):
        parts: list[list[int]] = [[] for _ in words]
        for token, word in zip(ids, index, strict=True):
            parts[word].append(token)
        found.append(parts)
    return found


def pieces(words: Sequence[Sequence[int]], budget: int) -> list[tuple[int, int]]:
    """Where to cut a sentence, given the ids of its words, so that no piece has more than `budget` tokens.

    Pairs of the first word and the one after the last. A word that is longer is a piece by itself, and is cut.
    """
    bounds, begin, size = [], 0, 0
    for place, ids in enumerate(words):
        if place > begin and size + len(ids) > budget:
            bounds.append((begin, place))
            begin, size = place, 0
        size += len(ids)
    return [*bounds, (begin, len(words))]


def tokens(tokenizer: Tokenizer, words: Sequence[Sequence[int]], budget: int) -> tuple[list[int], list[int]]:
    """The ids of a piece with special ones around them, and for each the number of the word it begins, else -1."""
    ids = [token for word in words for token in word][:budget]
    begins = [place if first else -1 for place, word in enumerate(words) for first in _first(len(word))][:budget]
    before, after = [tokenizer.cls] * (tokenizer.cls >= 0), [tokenizer.sep] * (tokenizer.sep >= 0)
    return [*before, *ids, *after], [*[-1] * len(before), *begins, *[-1] * len(after)]


def _first(count: int) -> list[bool]:
    return [True] + [False] * (count - 1)


@dataclass(frozen=True)
class Sentence:
    """A sentence to tag, and what to call it: its file and first line."""

    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def find(path: Path | str) -> list[Sentence]:
    """The sentences at `path`: of .conll files the first column, empty lines between; of others a sentence a line."""
    found: list[Sentence] = []
    for file in text.text_files(path, text.SUFFIXES | SUFFIXES):
        content = text.read_file(file)
        found += _from_columns(file, content) if file.suffix.lower() in SUFFIXES else _from_lines(file, content)
    return found


def _from_lines(file: Path, content: str) -> list[Sentence]:
    lines = ((number, WORDS.findall(line)) for number, line in enumerate(content.splitlines(), 1))
    return [Sentence(f"{file}:{number}", tuple(words)) for number, words in lines if words]


def _from_columns(file: Path, content: str) -> list[Sentence]:
    found: list[Sentence] = []
    words: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], 1):
        if line.strip():
            words.append(line.split()[0])
        elif words:
            found.append(Sentence(f"{file}:{number - len(words)}", tuple(words)))
            words = []
    return found


def read(item: Sentence, spec: Spec) -> Tensor:
    """Long [T, 2]: ids, and the number of the word that begins there, else -1. What is too long is cut off."""
    tokenizer = text.tokenizer_of(spec)
    budget = room(tokenizer, 1, spec.shape["length"])
    ids, begins = tokens(tokenizer, word_ids(tokenizer, [item.words])[0], budget)
    if not any(place >= 0 for place in begins):
        raise DataError(f"{item}: holds no words")
    return torch.tensor([ids, begins]).T


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """`input` long [B, T], `mask` bool [B, T], and `words` long [B, T], the number of the word that begins there."""
    values, mask = padded(items)
    pad = spec.shape["tokenizer"]["pad"]
    return {
        "input": values[..., 0].masked_fill(~mask, pad),
        "mask": mask,
        "words": values[..., 1].masked_fill(~mask, -1),
    }


def describe(spec: Spec) -> str:
    return text.describe(spec)


def finish(items: Sequence[Sentence], rows: Sequence[dict[str, Any]], spec: Spec) -> list[dict[str, Any]]:
    """The tags of each sentence beside its words; of words that were cut off the tag is O."""
    found = []
    for item, row in zip(items, rows, strict=True):
        tags = str(row["tags"]).split()
        tags += ["O"] * (len(item.words) - len(tags))
        found.append({**row, "text": " ".join(item.words), "tags": " ".join(tags)})
    return found
