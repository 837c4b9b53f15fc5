"""Rows of CSV, TSV and JSONL files: the texts and the label of each, with the line to name where one is wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Row(NamedTuple):
    """One example as text; `where` is its file and line."""

    texts: tuple[str, ...]
    label: str | None
    where: str


def read_rows(file: Path, columns: Columns, broken: Callable[[DataError], None]) -> list[Row]:
    """Every row of a file. `broken` gets an error naming file and line for each that is none; it may raise it.

    Raises DataError where the file can't be read or a column is missing in all of it.
    """
    lines = _objects(file) if file.suffix == ".jsonl" else _cells(file, columns)
    rows = []
    for line, cells in lines:
        found = cells if isinstance(cells, DataError) else _row(f"{file}:{line}", cells, columns)
        if isinstance(found, DataError):
            broken(found)
        else:
            rows.append(found)
    return rows


def has_label(file: Path, columns: Columns) -> bool:
    """Whether the first row of the file has the label's column."""
    if file.suffix == ".jsonl":
        first = next(_objects(file), (0, DataError("")))[1]
        return isinstance(first, DataError) or columns.label in first
    first_line = next(iter(_lines(file)), (0, []))[1]
    try:
        return max(_numbers(file, first_line, columns)[0]) < len(first_line)
    except DataError:
        return not set(map(str, columns.text)) <= set(first_line)


def _row(where: str, cells: dict[Column, str], columns: Columns) -> Row | DataError:
    missing = [name for name in columns.all if name not in cells]
    if missing:
        return DataError(f"{where}: has no {_named(missing[0])}")
    texts = tuple(cells[name].strip() for name in columns.text)
    if not all(texts):
        return DataError(f"{where}: column {columns.text[texts.index('')]!r} holds no text")
    label = None if columns.label is None else cells[columns.label].strip()
    if label == "":
        return DataError(f"{where}: has no label in column {columns.label!r}")
    return Row(texts, label, where)


def _cells(file: Path, columns: Columns) -> Iterator[tuple[int, dict[Column, str] | DataError]]:
    """(line, the cells of the columns that are asked for)."""
    lines = iter(_lines(file))
    number, first = next(lines, (0, []))
    if not first:
        raise DataError(f"{file}: the file is empty")
    places, is_header = _numbers(file, first, columns)
    for line, cells in lines if is_header else ((number, first), *lines):
        if len(cells) != len(first):
            like = "the header" if is_header else "the first line"
            yield line, DataError(f"{file}:{line}: has {len(cells)} columns, {like} has {len(first)}")
        else:
            yield line, {name: cells[place] for name, place in zip(columns.all, places, strict=True)}


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


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells). Tabs separate without quotes, as in GLUE's files; empty lines are none."""
    text = read_file(file)
    if file.suffix == ".tsv":
        split = ((number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1))
        yield from ((number, [cell.rstrip("\r") for cell in cells]) for number, cells in split if cells != [""])
        return
    reader = csv.reader(text.splitlines(keepends=True))
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: is not CSV ({error})") from error


def _objects(file: Path) -> Iterator[tuple[int, dict[Column, str] | DataError]]:
    """(line, its keys with their values as text)."""
    for number, line in enumerate(read_file(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            yield number, DataError(f"{file}:{number}: is not JSON ({error})")
            continue
        if isinstance(found, dict):
            yield number, {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
        else:
            yield number, DataError(f"{file}:{number}: is not a JSON object")
