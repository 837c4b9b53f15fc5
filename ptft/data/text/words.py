"""Sentences as words: their tokens, cut into parts where they are long, and which token begins each word.

Axes: T tokens. Sources and `stage=predict` read through the same functions; an item is such a part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.files import cells, is_blank, read_file
from ptft.data.ragged import padded
from ptft.data.readers import Row, Unreadable, of_files
from ptft.data.text import reader as text_reader
from ptft.data.text.examples import room
from ptft.data.tokenizer import Tokenizer

SUFFIXES = frozenset({".conll", ".bio", ".iob", ".iob2", ".conllu"})
"""Of files with a word a line; in others a line is a sentence."""
WORDS = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
"""What counts as a word where a sentence is plain text."""
NO_WORD = -1
"""Stands where a token begins no word."""


def word_ids(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """For every sentence and word its ids, at least one."""
    by_sentence = []
    for words, ids, index in zip(sentences, *tokenizer.encode_words(sentences), strict=True):
        parts: list[list[int]] = [[] for _ in words]
        for token, word in zip(ids, index, strict=True):
            parts[word].append(token)
        by_sentence.append(parts)
    return by_sentence


def cut_points(words: Sequence[Sequence[int]], budget: int) -> list[tuple[int, int]]:
    """Where to cut a sentence, given the ids of its words, so that no part has more than `budget` tokens.

    Pairs of the first word and the one after the last. A word that is longer is a part by itself, and is cut.
    """
    bounds, begin, size = [], 0, 0
    for place, ids in enumerate(words):
        if place > begin and size + len(ids) > budget:
            bounds.append((begin, place))
            begin, size = place, 0
        size += len(ids)
    return [*bounds, (begin, len(words))]


def tokens(tokenizer: Tokenizer, words: Sequence[Sequence[int]], budget: int) -> tuple[list[int], list[int]]:
    """The ids of a part with special ones around them, and for each the number of the word it begins, else NO_WORD."""
    ids = [token for word in words for token in word][:budget]
    begins = [place if first else NO_WORD for place, word in enumerate(words) for first in _first(len(word))][:budget]
    before, after = [tokenizer.cls] * (tokenizer.cls >= 0), [tokenizer.sep] * (tokenizer.sep >= 0)
    return [*before, *ids, *after], [*[NO_WORD] * len(before), *begins, *[NO_WORD] * len(after)]


def _first(count: int) -> list[bool]:
    return [True] + [False] * (count - 1)


@dataclass(frozen=True)
class SentencePart:
    """A part of a sentence to tag that fits into an example, with the ids of its words.

    sentence: number and name of the whole one, its file and first line.
    """

    sentence: tuple[int, str]
    words: tuple[str, ...]
    ids: list[list[int]]

    def __str__(self) -> str:
        return self.sentence[1]


def items(path: str, spec: Spec) -> list[SentencePart | Unreadable]:
    """The sentences at `path`: of .conll files the first column, empty lines between; of others a sentence a line."""
    found = of_files(text_reader.text_files(path, text_reader.SUFFIXES | SUFFIXES), _sentences)
    tokenizer = text_reader.tokenizer_of(spec)
    ids_of = iter(word_ids(tokenizer, [pair[1] for pair in found if not isinstance(pair, Unreadable)]))
    budget = room(tokenizer, 1, spec.shape["length"])
    parts: list[SentencePart | Unreadable] = []
    for number, pair in enumerate(found):
        if isinstance(pair, Unreadable):
            parts.append(pair)
        else:
            (name, words), ids = pair, next(ids_of)
            parts += [SentencePart((number, name), tuple(words[a:b]), ids[a:b]) for a, b in cut_points(ids, budget)]
    return parts


def _sentences(file: Path) -> list[tuple[str, list[str]]]:
    """The name and the words of each."""
    content = read_file(file)
    return _from_columns(file, content) if file.suffix.lower() in SUFFIXES else _from_lines(file, content)


def _from_lines(file: Path, content: str) -> list[tuple[str, list[str]]]:
    lines = ((f"{file}:{number}", WORDS.findall(line)) for number, line in enumerate(content.split("\n"), 1))
    return [(name, words) for name, words in lines if words]


def _from_columns(file: Path, content: str) -> list[tuple[str, list[str]]]:
    sentences: list[tuple[str, list[str]]] = []
    words: list[str] = []
    for number, line in enumerate([*content.split("\n"), ""], 1):
        if not is_blank(line):
            words.append(cells(line)[0])
        elif words:
            sentences.append((f"{file}:{number - len(words)}", words))
            words = []
    return sentences


def read(item: SentencePart, spec: Spec) -> Tensor:
    """Long [T, 2]: ids, and the number of the word that begins there, else NO_WORD."""
    tokenizer = text_reader.tokenizer_of(spec)
    return torch.tensor(tokens(tokenizer, item.ids, room(tokenizer, 1, spec.shape["length"]))).T


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """`input` long [B, T], `mask` bool [B, T], and `words` long [B, T], the number of the word that begins there."""
    values, mask = padded(items)
    ids, begins = values.unbind(-1)
    pad = spec.shape["tokenizer"]["pad"]
    return {"input": ids.masked_fill(~mask, pad), "mask": mask, "words": begins.masked_fill(~mask, NO_WORD)}


def describe(spec: Spec) -> str:
    return text_reader.describe(spec)


def finish(answered: Sequence[tuple[SentencePart, Row]], spec: Spec) -> list[Row]:
    """A row for each sentence: its words and their tags, with spaces between."""
    rows: list[Row] = []
    for _, group in groupby(answered, lambda pair: pair[0].sentence):
        parts = list(group)
        words = " ".join(word for part, _ in parts for word in part.words)
        rows.append({"path": str(parts[0][0]), "text": words, "tags": " ".join(str(row["tags"]) for _, row in parts)})
    return rows
