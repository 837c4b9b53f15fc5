"""Reader of CSV, TSV and JSONL files: their rows with the number of the line, to name where one is wrong.

UTF-8, with or without a byte order mark. In TSV files quotes mean nothing, as in GLUE's. Empty lines are no rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.files import read_file
from ptft.data.source import unknown
from ptft.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl")
Column = str | int
"""A name from the header (or a key of JSON objects), or a number from 0."""


class Columns(NamedTuple):
    """Which columns hold the texts, one or two, and which the label, if any.

    numbers: those of texts and label in a file whose first line does not hold the names; empty where it must.
    header: whether the first line is one; None: it is where a column has a name and stands in it.
    """

    text: tuple[Column, ...]
    label: Column | None
    numbers: tuple[int, ...] = ()
    header: bool | None = None

    @property
    def all(self) -> tuple[Column, ...]:
        return self.text if self.label is None else (*self.text, self.label)


class TextRecord(NamedTuple):
    """One example as text; `where` is its file and line."""

    texts: tuple[str, ...]
    label: str | None
    where: str


def read_records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, the fields of a row by name); a file that is neither .jsonl, .json nor .tsv is read as CSV.

    In CSV and TSV files the names are the first row, and fields that a row is too short for are missing.
    Raises DataError naming file and line of what is no such row.
    """
    rows = _objects(file) if file.suffix.lower() in (".jsonl", ".json") else _named_cells(file)
    for line, fields in rows:
        if isinstance(fields, DataError):
            raise fields
        yield line, fields


def read_texts(file: Path, columns: Columns, broken: Callable[[DataError], None]) -> list[TextRecord]:
    """Every row of a file, by the columns that are asked for.

    broken: gets an error naming file and line for each row that is none; it may raise it.
    Raises DataError where the file can't be read or a column is missing in all of it.
    """
    records = []
    for line, fields in _text_fields(file, columns):
        record = fields if isinstance(fields, DataError) else _text_record(f"{file}:{line}", fields, columns)
        if isinstance(record, DataError):
            broken(record)
        else:
            records.append(record)
    return records


def has_label(file: Path, columns: Columns) -> bool:
    """Whether the first row of the file has the label's column."""
    if file.suffix == ".jsonl":
        fields = next(_objects(file), (0, DataError("")))[1]
        return isinstance(fields, DataError) or columns.label in fields
    first_line = next(_cells(file), (0, []))[1]
    try:
        return max(_numbers(file, first_line, columns)[0]) < len(first_line)
    except DataError:
        return not set(map(str, columns.text)) <= set(first_line)


def _text_record(where: str, fields: dict[Column, str], columns: Columns) -> TextRecord | DataError:
    missing = [name for name in columns.all if name not in fields]
    if missing:
        return DataError(f"{where}: has no {_named(missing[0])}")
    texts = tuple(fields[name].strip() for name in columns.text)
    if not all(texts):
        return DataError(f"{where}: column {columns.text[texts.index('')]!r} holds no text")
    label = None if columns.label is None else fields[columns.label].strip()
    if label == "":
        return DataError(f"{where}: has no label in column {columns.label!r}")
    return TextRecord(texts, label, where)


def _text_fields(file: Path, columns: Columns) -> Iterator[tuple[int, dict[Column, str] | DataError]]:
    """(line, the fields as text of at least the columns that are asked for)."""
    if file.suffix != ".jsonl":
        yield from _chosen_cells(file, columns)
        return
    for line, fields in _objects(file):
        if isinstance(fields, DataError):
            yield line, fields
        else:
            yield line, {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}


def _chosen_cells(file: Path, columns: Columns) -> Iterator[tuple[int, dict[Column, str] | DataError]]:
    lines = _cells(file)
    number, first = next(lines, (0, []))
    if not first:
        raise DataError(f"{file}: the file is empty")
    places, is_header = _numbers(file, first, columns)
    for line, cells in lines if is_header else ((number, first), *lines):
        if len(cells) != len(first):
            yield line, _uneven(f"{file}:{line}", cells, first, "the header" if is_header else "the first line")
        else:
            yield line, {name: cells[place] for name, place in zip(columns.all, places, strict=True)}


def _named_cells(file: Path) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    lines = _cells(file)
    names = next(lines, (0, []))[1]
    for line, cells in lines:
        if any(cells[len(names) :]):
            yield line, _uneven(f"{file}:{line}", cells, names, "the header")
        else:
            yield line, dict(zip_longest(names, cells[: len(names)]))


def _uneven(where: str, cells: Sequence[str], first: Sequence[str], like: str) -> DataError:
    return DataError(f"{where}: has {len(cells)} columns, {like} has {len(first)}")


def _numbers(file: Path, first: Sequence[str], columns: Columns) -> tuple[list[int], bool]:
    """Where the columns stand, and whether the first line is a header. Raises DataError where one is missing."""
    names = [name for name in columns.all if isinstance(name, str)]
    absent = [name for name in names if name not in first]
    if absent and columns.numbers and len(absent) == len(names):
        return list(columns.numbers[: len(columns.all)]), False
    if absent:
        hint = "; dataset.text=0 dataset.label=1 number the columns of a file without a header"
        raise DataError(f"{file}:1: {unknown('column', absent[0], first)}{hint}")
    places = [name if isinstance(name, int) else list(first).index(name) for name in columns.all]
    if max(places) >= len(first):
        raise DataError(f"{file}:1: has no {_named(max(places))}; the line has {len(first)} columns")
    return places, bool(names) if columns.header is None else columns.header


def _named(column: Column) -> str:
    return f"column number {column} (they count from 0)" if isinstance(column, int) else f"column {column!r}"


def _cells(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, the cells of a row)."""
    text = read_file(file)
    if file.suffix.lower() == ".tsv":
        split = ((number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1))
        yield from ((number, [cell.rstrip("\r") for cell in cells]) for number, cells in split if cells != [""])
        return
    reader = csv.reader(io.StringIO(text))
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: is not CSV ({error})") from error


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    """(line, the object that it holds)."""
    for number, line in enumerate(read_file(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield number, DataError(f"{file}:{number}: is not JSON ({error})")
            continue
        yield number, fields if isinstance(fields, dict) else DataError(f"{file}:{number}: is not a JSON object")
