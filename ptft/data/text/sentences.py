"""Texts by themselves or in pairs, for one answer each. Sources and `stage=predict` read through the same functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.ragged import Ragged
from ptft.data.records import SUFFIXES, Columns, read_texts
from ptft.data.text import reader as text_reader
from ptft.data.text.examples import encoded, fitted, joined, room
from ptft.data.tokenizer import Tokenizer
from ptft.errors import DataError


def sentences(tokenizer: Tokenizer, texts: Sequence[Sequence[str]], length: int) -> Ragged:
    """One text or a pair each -> their ids with special ones around them, `length` at most."""
    columns = [encoded(tokenizer, column) for column in zip(*texts, strict=True)]
    fit = fitted(columns, room(tokenizer, len(columns), length))
    return joined(fit, tokenizer.cls, tokenizer.sep)


@dataclass(frozen=True)
class Sentences:
    """A text or a pair, and its file and line."""

    name: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def items(path: str, spec: Spec) -> list[Sentences]:
    """The rows of tables at `path`, by the columns that were trained on; of other files the lines, pairs with a tab.

    Raises DataError naming file and line of what is none.
    """
    sentences: list[Sentences] = []
    for file in text_reader.text_files(path, text_reader.SUFFIXES | set(SUFFIXES)):
        columns = spec.shape["columns"]
        if file.suffix in SUFFIXES:
            numbered = Columns(tuple(columns), None, numbers=tuple(range(len(columns))))
            sentences += [Sentences(row.where, row.texts) for row in read_texts(file, numbered, _refuse)]
        else:
            sentences += [_line(item, len(columns)) for item in text_reader.find(file)]
    return sentences


def _refuse(error: DataError) -> None:
    raise error


def _line(item: text_reader.Item, columns: int) -> Sentences:
    texts = tuple(item.text.split("\t")) if columns > 1 else (item.text,)
    if len(texts) != columns:
        raise DataError(
            f"{item}: holds {len(texts)} texts, the checkpoint was trained on {columns}, with a tab between"
        )
    return Sentences(item.name, texts)


def find_whole(path: Path | str) -> list[Sentences]:
    """The texts at `path`, each file as one."""
    return [Sentences(item.name, (item.text,)) for item in text_reader.find_whole(path)]


def read(item: Sentences, spec: Spec) -> Tensor:
    """Its ids, long [T], with special ones around them; what is too long is cut."""
    return sentences(text_reader.tokenizer_of(spec), [item.texts], spec.shape["length"]).values.long()


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    return text_reader.collate(items, spec)


def describe(spec: Spec) -> str:
    return text_reader.describe(spec)
