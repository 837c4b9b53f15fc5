"""Sentences as words, from files with a word a line or a sentence a line: their tokens, and which begins each word.

Axes: T tokens. Sources and `stage=predict` read through the same functions; an item is a part of a sentence that fits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.files import BLANKS, cells, is_blank, nfc, read_lines
from ptft.data.ragged import padded
from ptft.data.readers import Row, Unreadable, of_files
from ptft.data.text import reader as text_reader
from ptft.data.text.examples import room
from ptft.data.tokenizer import Tokenizer
from ptft.errors import DataError, counted
from ptft.metrics.chunk_tags import IOB, from_iob

SUFFIXES = frozenset({".conll", ".bio", ".iob", ".iob2", ".conllu"})
"""Of files with a word a line; in others a line is a sentence, unless its columns show that it is a word."""
WORDS = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
"""What counts as a word where a sentence is plain text."""
NO_WORD = -1
"""Stands where a token begins no word."""
DOCUMENT = "-DOCSTART-"
"""Stands in the place of a word where a document begins (Tjong Kim Sang & De Meulder 2003)."""
MOST_STRANGE = 1 / 2
"""The share of lines with a tag that training had not, up to which a file still shows that it is in columns."""
NUMBER = re.compile(r"\d+")
"""What counts the words of a sentence in CoNLL-U."""
FORM = 1
"""The column of the words in CoNLL-U."""
UNSPOKEN = re.compile(r"\d+-\d+|\d+\.\d+")
"""CoNLL-U's numbers of a range of words that are written as one, and of a word that is not written."""


class Block(NamedTuple):
    """A sentence: the columns of its words, and their lines in the file."""

    rows: list[list[str]]
    lines: list[int]


class ColumnFile(NamedTuple):
    """The sentences of a file, and the lines before sentences that were taken for comments.

    counts: whether the column of the words holds CoNLL-U's numbers of them.
    """

    sentences: list[Block]
    comments: list[int]
    counts: bool


def read_columns(file: Path, token: int) -> ColumnFile:
    """The sentences in a file whose words stand in the column `token`.

    Not among them are marks of documents; comments, which begin with # before a sentence; and where the first column
    counts the words, ranges of words and words that are not written. Raises DataError for an unreadable file.
    """
    universal = file.suffix.lower() == ".conllu"
    sentences: list[Block] = []
    comments: list[int] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for number, line in enumerate([*read_lines(file), ""], 1):
        if not is_blank(line):
            rows.append(_cells(line))
            lines.append(number)
            continue
        skipped = _comments(rows, universal)
        comments += lines[:skipped]
        sentences += _parts(Block(rows[skipped:], lines[skipped:]), token, universal)
        rows, lines = [], []
    counts = universal and bool(sentences) and all(_counts(block.rows, token) for block in sentences)
    return ColumnFile(sentences, [] if universal else comments, counts)


def _cells(line: str) -> list[str]:
    """The columns of a line: between tabs where there are some, else between blanks."""
    return [cell.strip(BLANKS) for cell in line.split("\t")] if "\t" in line else cells(line)


def _comments(rows: Sequence[list[str]], universal: bool) -> int:
    """How many lines before the words of a sentence are comments: they begin with #, and have other columns or a =."""
    count = 0
    while count < len(rows) and rows[count][0].startswith("#"):
        count += 1
    if universal:
        return count
    width = len(rows[-1]) if rows else 0
    while count and len(rows[count - 1]) == width and not any("=" in cell for cell in rows[count - 1]):
        count -= 1
    return count


def _parts(block: Block, token: int, universal: bool) -> list[Block]:
    """The sentence without what is no word of it; several where a mark of a document stands between."""
    rows, lines = block
    plain = [row[0] for row in rows if not UNSPOKEN.fullmatch(row[0])]
    counted = universal or (token != 0 and plain == [str(i + 1) for i in range(len(plain))])
    parts: list[Block] = [Block([], [])]
    for row, line in zip(rows, lines, strict=True):
        if -len(row) <= token < len(row) and row[token] == DOCUMENT:
            parts.append(Block([], []))
        elif not (counted and UNSPOKEN.fullmatch(row[0])):
            parts[-1].rows.append(row)
            parts[-1].lines.append(line)
    return [part for part in parts if part.rows]


def _counts(rows: Sequence[list[str]], token: int) -> bool:
    return all(-len(row) <= token < len(row) and NUMBER.fullmatch(row[token]) for row in rows)


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


class Asked(NamedTuple):
    """A sentence to tag: what to call it, its words, and what else its row of a table says."""

    name: str
    words: Sequence[str]
    passed: dict[str, Any]


@dataclass(frozen=True)
class SentencePart:
    """A part of a sentence to tag that fits into an example, with the ids of its words.

    sentence: number and name of the whole one, its file and first line. passed: what else its row of a table says.
    """

    sentence: tuple[int, str]
    words: tuple[str, ...]
    ids: list[list[int]]
    passed: dict[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.sentence[1]


with_columns = text_reader.with_columns


def items(path: str, spec: Spec) -> list[SentencePart | Unreadable]:
    """The sentences at `path`: of files with a word a line the column that was trained on, else a sentence a line."""

    def sentences(file: Path) -> Sequence[Asked | Unreadable]:
        in_columns = [] if spec.shape.get("named") else _from_columns(file, spec)
        return in_columns or _words_of(text_reader.lines_of(file, text_reader.columns_of(spec)))

    return _cut(of_files(text_reader.text_files(path, text_reader.SUFFIXES | SUFFIXES), sentences), spec)


def of_lines(lines: Sequence[tuple[str, str]], spec: Spec) -> list[SentencePart | Unreadable]:
    """Sentences that stand in no file, each with what to call it."""
    return _cut(_words_of(text_reader.of_lines(lines, spec)), spec)


def _cut(sentences: Sequence[Asked | Unreadable], spec: Spec) -> list[SentencePart | Unreadable]:
    """Sentences and their words as parts that fit."""
    tokenizer = text_reader.tokenizer_of(spec)
    ids_of = iter(word_ids(tokenizer, [asked.words for asked in sentences if not isinstance(asked, Unreadable)]))
    budget = room(tokenizer, 1, spec.shape["length"])
    parts: list[SentencePart | Unreadable] = []
    for number, asked in enumerate(sentences):
        if isinstance(asked, Unreadable):
            parts.append(asked)
        else:
            (name, words, passed), ids = asked, next(ids_of)
            pieces = cut_points(ids, budget)
            parts += [SentencePart((number, name), tuple(words[a:b]), ids[a:b], passed) for a, b in pieces]
    return parts


def _words_of(lines: Sequence[text_reader.TextItem | Unreadable]) -> list[Asked | Unreadable]:
    sentences = [
        item if isinstance(item, Unreadable) else Asked(item.name, WORDS.findall(item.text), item.passed)
        for item in lines
    ]
    return [item for item in sentences if isinstance(item, Unreadable) or item.words]


def _from_columns(file: Path, spec: Spec) -> list[Asked]:
    """Nothing of a file that is not in columns."""
    token = spec.shape.get("token", 0)
    if (read := read_columns(file, token)).counts:
        token, read = FORM, read_columns(file, FORM)
    blocks = read.sentences
    if file.suffix.lower() not in SUFFIXES and not _are_tagged(blocks, spec):
        return []
    if all(len(row) == 1 for block in blocks for row in block.rows):
        token = 0
    for rows, lines in blocks:
        for row, line in zip(rows, lines, strict=True):
            if not -len(row) <= token < len(row):
                width = counted(len(row), "columns")
                raise DataError(f"{file}:{line}: has {width}; the words were in dataset.token={token}")
    return [Asked(f"{file}:{lines[0]}", [row[token] for row in rows], {}) for rows, lines in blocks]


def _are_tagged(blocks: Sequence[Block], spec: Spec) -> bool:
    """Whether every line has several columns, with one of the known tags at its place in most of them.

    New data may have tags that training had not; where the lines have other numbers of columns, all must be known.
    """
    token, tag = spec.shape.get("token", 0), spec.shape.get("tag", -1)
    rows = [row for block in blocks for row in block.rows]
    if not rows or any(len(row) < 2 or not -len(row) <= min(tag, token) <= max(tag, token) < len(row) for row in rows):
        return False
    tags = {
        *spec.classes,
        *(f"{letter}{name[1:]}" for name in spec.classes if name != "O" for letter in spec.shape.get("scheme", "")),
    }
    strange = sum(nfc(row[tag]) not in tags for row in rows)
    return strange == 0 or (strange <= MOST_STRANGE * len(rows) and len({len(row) for row in rows}) == 1)


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


def part_of(item: SentencePart) -> tuple[int, str]:
    """Its sentence."""
    return item.sentence


def finish(answered: Sequence[tuple[SentencePart, Row]], spec: Spec) -> list[Row]:
    """A row for each sentence: its words and their tags in the scheme of the training data, with spaces between."""
    rows: list[Row] = []
    scheme = spec.shape.get("scheme", IOB)
    for _, group in groupby(answered, lambda pair: pair[0].sentence):
        parts = list(group)
        words = " ".join(word for part, _ in parts for word in part.words)
        tags = " ".join(str(row["tags"]) for _, row in parts).split(" ")
        rows.append({"path": str(parts[0][0]), "text": words, "tags": " ".join(from_iob(tags, scheme))})
    return rows
