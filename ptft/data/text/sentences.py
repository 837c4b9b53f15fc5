"""Texts by themselves or in pairs, for one answer each. Sources and `stage=predict` read through the same functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.own import separator
from ptft.data.own.text_record import Columns
from ptft.data.own.text_rows import is_header, may_be_names
from ptft.data.ragged import Ragged
from ptft.data.readers import Items, Unreadable, of_files, text_fields, with_fields
from ptft.data.records import SUFFIXES, RowError, first_cells, names_of
from ptft.data.text import reader as text_reader
from ptft.data.text.examples import encoded, fitted, in_a_row, joined, room
from ptft.data.tokenizer import Tokenizer
from ptft.errors import DataError, are, counted

PARQUET = ".parquet"
HINT = "; input_text=NAME says how the column of the texts is called here, or give a file of texts alone"


def sentences(tokenizer: Tokenizer, texts: Sequence[Sequence[str]], length: int) -> tuple[Ragged, int]:
    """One text or a pair each -> their ids with special ones around them, `length` at most, and how many are cut."""
    if not texts:
        return in_a_row([]), 0
    columns = [encoded(tokenizer, column) for column in zip(*texts, strict=True)]
    most = room(tokenizer, len(columns), length)
    whole = torch.stack([column.lengths for column in columns]).sum(0)
    return joined(fitted(columns, most), tokenizer), int((whole > most).sum())


def cut_note(split: str, cut: int, count: int, length: int) -> str:
    """What is to be said of a split of which `cut` of `count` texts are longer."""
    return f"{split}: {cut:,} of {counted(count, 'texts')} {are(cut)} cut by dataset.length={length}"


@dataclass(frozen=True)
class Sentences:
    """A text or a pair, and its file and line."""

    name: str
    texts: tuple[str, ...]
    passed: dict[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.name


with_columns = text_reader.with_columns


def items(path: str, spec: Spec) -> Items:
    """The rows of tables at `path`, by the columns that were trained on; of other files the lines, pairs with a tab."""
    columns = Columns(tuple(spec.shape["columns"]), None, header=spec.shape.get("header"), alone=True, hint=HINT)
    if spec.shape.get("named"):
        columns = text_reader.columns_of(spec)
    files = text_reader.text_files(path, text_reader.SUFFIXES | SUFFIXES | {PARQUET})
    notes: list[str] = []
    rows = Items(of_files(files, lambda file: _of_file(file, columns, spec.classes, notes)))
    separator_notes = dict.fromkeys(
        note for file in files if file.suffix.lower() in SUFFIXES for note in separator.notes(file)
    )
    rows.notes = (*separator_notes, *filter(None, (_header_note(file, columns) for file in files)), *notes)
    return rows


def of_lines(lines: Sequence[tuple[str, str]], spec: Spec) -> list[Sentences | Unreadable]:
    """Texts that stand in no file, or pairs with a tab between, each with what to call it."""
    return [_line(text_reader.TextItem(name, text), len(spec.shape["columns"])) for name, text in lines]


def _of_file(file: Path, columns: Columns, classes: Sequence[str], notes: list[str]) -> list[Sentences | Unreadable]:
    if file.suffix.lower() == PARQUET:
        from ptft.data.text import huggingface  # which reads the rest through this module

        return huggingface.parquet_items(file, columns)
    table, first = file.suffix.lower() in SUFFIXES, _first_cells(file)
    if not table and len(first) > 1 and set(columns.text) <= set(first) and may_be_names(first):
        table = True
        notes.append(f"{file.name} is read as a table, whose header is its first line ({', '.join(first)[:60]})")
    elif not table and first == list(columns.text):
        notes.append(f"the first line of {file.name} ({first[0]}) is answered as well, and no header")
    numbered = all(isinstance(name, int) for name in columns.text)
    if not table:
        text_reader.require_lines(file, columns)
    if table and numbered and not columns.header and is_header(first, classes):
        columns = columns._replace(header=True)
        notes.append(f"the first line of {file.name} ({', '.join(first)[:60]}) is a header and is left out")
    if table:
        return [
            Unreadable(row.where, row, fields) if isinstance(row, RowError) else Sentences(row.where, row.texts, fields)
            for row, fields in with_fields(file, columns, notes)
        ]
    return [_line(item, len(columns.text)) for item in text_reader.lines_of(file)]


def _header_note(file: Path, columns: Columns) -> str | None:
    """What to say of a first line that may be a header of other names than those that were trained on."""
    if file.suffix.lower() not in SUFFIXES or not all(isinstance(name, str) for name in columns.text):
        return None
    first = _first_cells(file)
    if len(first) != len(columns.text) or set(columns.text) & set(first):
        return None
    return (
        f"the first line of {file.name} ({', '.join(first)[:60]}) is answered as well; no column is {columns.text[0]!r}"
    )


def _first_cells(file: Path) -> list[str]:
    """The names in the first row of a file that is no JSON; nothing where that can't be read, which is told later."""
    try:
        return names_of(first_cells(file))
    except DataError:
        return []


def _line(item: text_reader.TextItem | Unreadable, columns: int) -> Sentences | Unreadable:
    if isinstance(item, Unreadable):
        return item
    texts = tuple(item.text.split("\t")) if columns > 1 else (item.text,)
    if len(texts) == columns:
        return Sentences(item.name, texts, text_fields(texts))
    what = f"holds {counted(len(texts), 'texts')}, the checkpoint was trained on {columns}, with a tab between"
    return Unreadable(item.name, DataError(f"{item}: {what}"), text_fields((item.text,)))


def find_whole(path: Path | str) -> list[Sentences | Unreadable]:
    """The texts at `path`, each file as one."""
    whole = text_reader.find_whole(path)
    return [item if isinstance(item, Unreadable) else Sentences(item.name, (item.text,)) for item in whole]


def read(item: Sentences, spec: Spec) -> Tensor:
    """Its ids, long [T], with special ones around them; what is too long is cut."""
    return sentences(text_reader.tokenizer_of(spec), [item.texts], spec.shape["length"])[0].values.long()


def remark(item: Sentences, value: Tensor, spec: Spec) -> str | None:
    """What is to be said of texts that were too long."""
    tokenizer = text_reader.tokenizer_of(spec)
    free = room(tokenizer, len(item.texts), int(spec.shape["length"]))
    return text_reader.only_a_part(value, spec, lambda: sum(map(len, tokenizer.encode(list(item.texts)))), free)


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    return text_reader.collate(items, spec)


def describe(spec: Spec) -> str:
    return text_reader.describe(spec)
