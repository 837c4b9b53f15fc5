"""Reader of CSV, TSV and JSON files: their rows with the number of the line, to name where one is wrong.

In TSV files quotes mean nothing, as in GLUE's. A JSON file holds an object a line, or a list of objects, whatever its
suffix. Empty lines are no rows. A cell without a character, null and NaN are missing values; words like NA are words.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ptft.data.files import json_values, nfc, read_file, unified
from ptft.data.own.separator import SEPARATED, SEPARATORS, has_sep_line, separator
from ptft.data.own.text_record import Column
from ptft.errors import DataError, counted

JSON = frozenset({".jsonl", ".ndjson", ".json"})
SUFFIXES = frozenset({".csv", ".tsv"}) | JSON
QUOTED = 'in a quoted cell a quote is written twice ("")'

csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's default of 131,072 characters


class RowError(DataError):
    """What is wrong with a row; `where` is its file and line."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


class NoRow(RowError):
    """A line that holds no row, and is no mistake of anybody: it is left out. kind: what one is called, and several."""

    kind: tuple[str, str]


class EmptyRow(NoRow):
    """A row whose cells are all empty, as spreadsheets leave them behind."""

    kind = ("empty line", "empty lines")

    def __init__(self, where: str) -> None:
        super().__init__(where, "is empty")


class HeaderRow(NoRow):
    """The header once more, where tables were written one behind another."""

    kind = ("line that repeats the header", "lines that repeat the header")

    def __init__(self, where: str) -> None:
        super().__init__(where, "repeats the header")


def records(file: Path, as_written: bool = False) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """(line, the fields of a row by name, or what is wrong with it); what is neither JSON nor .tsv is read as CSV.

    In CSV and TSV files the names are the first row, and fields that a row is too short for are missing.
    as_written: whether lines within a cell end as they do there, for what is handed on; what is read of it has \\n.
    Raises DataError naming file and line where no further row can be read.
    """
    return objects_of(file) if file.suffix.lower() in JSON else _named_cells(file, as_written)


def check_single(value: Any, name: Column, where: str) -> None:
    """Raises RowError for a list or an object, whose text would be Python's or JSON's and nobody's."""
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        raise RowError(where, f"column {name!r} holds {kind} and not one value")


def text_of(fields: Mapping[Any, Any], name: Column, where: str) -> str:
    """A field without blanks around it; empty where it is missing. Raises RowError for a list or an object."""
    value = fields.get(name)
    if isinstance(value, str):
        return value.strip()
    check_single(value, name, where)
    return "" if value is None or value != value else json.dumps(value)


def first_cells(file: Path) -> list[str]:
    """The first row of a CSV or TSV file, empty where there is none; of a JSON file nothing."""
    return [] if file.suffix.lower() in JSON else first_of(cells_of(file))[1]


def _named_cells(file: Path, as_written: bool) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    lines = cells_of(file, as_written)
    names = names_of(first_of(lines)[1])
    if len(names) == 1 and (mark := next((mark for mark in SEPARATORS if mark in names[0]), "")):
        raise DataError(f"{file}:1: {SEPARATED.format(SEPARATORS[mark])}")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise DataError(f"{file}:1: has two columns {twice[0]!r}")
    for line, row in lines:
        if isinstance(row, RowError):
            yield line, row
        elif any(row[len(names) :]) or not any(map(str.strip, row)):
            yield line, uneven(f"{file}:{line}", row, names, "the header")
        elif repeats(row, names):
            yield line, HeaderRow(f"{file}:{line}")
        else:
            yield line, dict(zip_longest(names, row[: len(names)]))


def uneven(where: str, row: Sequence[str], first: Sequence[str], like: str) -> RowError:
    """What is wrong with a row that has other columns than the first one, which is called `like`."""
    if not any(map(str.strip, row)):
        return EmptyRow(where)
    return RowError(where, f"has {counted(len(row), 'columns')}, {like} has {len(first)}")


def names_of(header: Sequence[str]) -> list[str]:
    """The names of columns that stand in a first row."""
    return [nfc(cell.strip()) for cell in header]


def repeats(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row as wide as the header holds the names that stand there."""
    return row[-1].strip() == names[-1] and names_of(row) == names


def cells_of(file: Path, as_written: bool = False) -> Iterator[tuple[int, list[str] | RowError]]:
    """(the line on which a row begins, its cells). as_written: see `records`."""
    written = read_file(file, as_written)
    text = unified(written)
    if file.suffix.lower() == ".tsv":
        split = ((number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1))
        yield from ((number, cells) for number, cells in split if cells != [""])
        return
    reader, before = csv.reader(io.StringIO(written, newline=""), strict=True, delimiter=separator(text)), 0
    while True:
        try:
            for cells in reader:
                line, before = before + 1, reader.line_num
                if cells and (line > 1 or not has_sep_line(text)):
                    yield line, cells
            return
        except csv.Error as error:
            several = reader.line_num > before + 1
            if not several and "expected after" in str(error):
                before = reader.line_num
                yield before, RowError(f"{file}:{before}", f"goes on behind a closing quote; {QUOTED}")
                continue
            what = f"a quote begins a cell of several lines and is not closed, or stands in it ({error})"
            raise DataError(f"{file}:{before + 1}: {what}; {QUOTED}") from error


def first_of(lines: Iterator[tuple[int, list[str] | RowError]]) -> tuple[int, list[str]]:
    """The first row and its line, no cells where there is none. Raises RowError where it is none."""
    line, cells = next(lines, (0, []))
    if isinstance(cells, RowError):
        raise cells
    return line, cells


def objects_of(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """(line, the object that it holds)."""
    for line, value in json_values(read_file(file)):
        if isinstance(value, ValueError):
            yield line, RowError(f"{file}:{line}", f"is not JSON ({value})")
        else:
            yield line, _fields(value, f"{file}:{line}")


def _fields(value: Any, where: str) -> dict[str, Any] | RowError:
    if not isinstance(value, dict):
        return RowError(where, "is not a JSON object")
    filled = any(
        cell is not None and cell == cell and (not isinstance(cell, str) or cell.strip()) for cell in value.values()
    )
    return value if filled else EmptyRow(where)
