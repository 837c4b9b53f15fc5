"""Reader of CSV, TSV and JSON files: their rows with the number of the line, to name where one is wrong.

In TSV files quotes mean nothing, as in GLUE's. A JSON file holds an object a line, or a list of objects, whatever its
suffix. Empty lines are no rows. A cell without a character, null and NaN are missing values; words like NA are words.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ptft.data.files import json_values, nfc, read_file
from ptft.data.own.separator import SEPARATED, SEPARATORS, has_sep_line, separator
from ptft.data.own.text_record import Column, Columns, TextRecord
from ptft.errors import DataError, counted, unknown

JSON = frozenset({".jsonl", ".ndjson", ".json"})
SUFFIXES = frozenset({".csv", ".tsv"}) | JSON
QUOTED = 'in a quoted cell a quote is written twice ("")'

csv.field_size_limit(2**31 - 1)  # a text may be longer than Python's default of 131,072 characters


class RowError(DataError):
    """What is wrong with a row; `where` is its file and line."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


class EmptyRow(RowError):
    """A row whose cells are all empty, as spreadsheets leave them behind: it is left out, and no mistake of anybody."""

    def __init__(self, where: str) -> None:
        super().__init__(where, "is empty")


def records(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """(line, the fields of a row by name, or what is wrong with it); what is neither JSON nor .tsv is read as CSV.

    In CSV and TSV files the names are the first row, and fields that a row is too short for are missing.
    Raises DataError naming file and line where no further row can be read.
    """
    return objects_of(file) if file.suffix.lower() in JSON else _named_cells(file)


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


def read_texts(
    file: Path, columns: Columns, broken: Callable[[RowError], None], *, unlabelled: bool = False
) -> list[TextRecord]:
    """Every row of a file, by the columns that are asked for.

    broken: gets an error naming file and line for each row that is none; it may raise it.
    unlabelled: whether all labels may be missing, as where a file has no column for them.
    Raises DataError where the file can't be read or a column is missing in all of it.
    """
    usable = []
    for row in text_rows(file, columns, unlabelled=unlabelled):
        if isinstance(row, RowError):
            broken(row)
        else:
            usable.append(row)
    return usable


def text_rows(file: Path, columns: Columns, *, unlabelled: bool = False) -> Iterator[TextRecord | RowError]:
    """As `read_texts`, with an error in place of a row that can't be used."""
    rows = _texts_of_objects if file.suffix.lower() in JSON else _texts_of_cells
    for row in rows(file, columns, unlabelled):
        if isinstance(row, RowError) or all(row.texts):
            yield row
        else:
            yield RowError(row.where, f"column {columns.text[row.texts.index('')]!r} holds no text")


def first_cells(file: Path) -> list[str]:
    """The first row of a CSV or TSV file, empty where there is none; of a JSON file nothing."""
    return [] if file.suffix.lower() in JSON else _first(cells_of(file))[1]


def has_label(file: Path, columns: Columns) -> bool:
    """Whether the first row of the file has the label's column, if one is asked for; an empty file is told later."""
    if columns.label is None:
        return True
    if file.suffix.lower() in JSON:
        fields = next(objects_of(file), (0, None))[1]
        return not isinstance(fields, dict) or columns.label in [nfc(key) for key in fields]
    first = first_cells(file)
    try:
        return not first or _places(file, first, columns, True)[1] is not None
    except DataError:
        return True


def _texts_of_objects(file: Path, columns: Columns, unlabelled: bool) -> Iterator[TextRecord | RowError]:
    named = all(str(name).isascii() for name in (*columns.all, columns.group))
    needed = columns.text if unlabelled else columns.all
    for line, fields in objects_of(file):
        if isinstance(fields, RowError):
            yield fields
            continue
        values: Mapping[Any, Any] = fields if named else {nfc(key): value for key, value in fields.items()}
        missing = [name for name in needed if name not in values]
        if missing:
            keys = ", ".join(map(str, list(values)[:8]))
            yield RowError(f"{file}:{line}", f"has no {_named(missing[0])} ({keys})")
            continue
        where = f"{file}:{line}"
        if columns.group is not None and columns.group not in values:
            raise DataError(f"{where}: {unknown('column', str(columns.group), list(map(str, values)))} (dataset.group)")
        try:
            texts = tuple(text_of(values, name, where) for name in columns.text)
            label = None if columns.label is None else nfc(text_of(values, columns.label, where)) or None
            group = "" if columns.group is None else nfc(text_of(values, columns.group, where))
            yield TextRecord(texts, label, where, group)
        except RowError as error:
            yield error


def _texts_of_cells(file: Path, columns: Columns, unlabelled: bool) -> Iterator[TextRecord | RowError]:
    lines = cells_of(file)
    number, first = _first(lines)
    if not first:
        return
    texts, label, is_header = _places(file, first, columns, unlabelled)
    group = None if columns.group is None else _group_place(file, first, columns.group, is_header)
    like, width = "the header" if is_header else "the first line", len(first)
    one = texts[0] if len(texts) == 1 else None
    for line, row in lines if is_header else ((number, first), *lines):
        where = f"{file}:{line}"
        if isinstance(row, RowError):
            yield row
            continue
        if len(row) != width:
            yield _uneven(where, row, first, like)
            continue
        values = (row[one].strip(),) if one is not None else tuple(row[place].strip() for place in texts)
        if not values[0] and not any(map(str.strip, row)):
            yield EmptyRow(where)
        else:
            own_group = "" if group is None else nfc(row[group].strip())
            yield TextRecord(values, None if label is None else nfc(row[label].strip()) or None, where, own_group)


def _named_cells(file: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    lines = cells_of(file)
    names = _names(_first(lines)[1])
    if len(names) == 1 and (mark := next((mark for mark in SEPARATORS if mark in names[0]), "")):
        raise DataError(f"{file}:1: {SEPARATED.format(SEPARATORS[mark])}")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise DataError(f"{file}:1: has two columns {twice[0]!r}")
    for line, row in lines:
        if isinstance(row, RowError):
            yield line, row
        elif any(row[len(names) :]) or not any(map(str.strip, row)):
            yield line, _uneven(f"{file}:{line}", row, names, "the header")
        else:
            yield line, dict(zip_longest(names, row[: len(names)]))


def _uneven(where: str, row: Sequence[str], first: Sequence[str], like: str) -> RowError:
    if not any(map(str.strip, row)):
        return EmptyRow(where)
    return RowError(where, f"has {counted(len(row), 'columns')}, {like} has {len(first)}")


def _names(header: Sequence[str]) -> list[str]:
    return [nfc(cell.strip()) for cell in header]


def _places(file: Path, first: Sequence[str], columns: Columns, unlabelled: bool) -> tuple[list[int], int | None, bool]:
    """Where texts and label stand, and whether the first line is a header. Raises DataError where one is missing."""
    names, texts = _names(first), columns.text
    is_header = any(isinstance(name, str) for name in columns.all) if columns.header is None else columns.header
    absent = [name for name in columns.all if not _stands_in(name, names)]
    for mark, noun in SEPARATORS.items() if texts[0] in absent and len(first) == 1 else ():
        if texts[0] in [name.strip() for name in names[0].split(mark)]:
            raise DataError(f"{file}:1: {SEPARATED.format(noun)}")
    if columns.alone and absent and len(first) == len(texts):
        return list(range(len(texts))), None, bool(columns.header)
    if columns.numbers and len(absent) == len(columns.all):
        numbers = columns.numbers[: len(columns.all)]
        return list(numbers[: len(texts)]), numbers[-1] if columns.label is not None else None, False
    if unlabelled and absent == [columns.label]:
        absent, columns = [], columns._replace(label=None)
    if absent and isinstance(absent[0], int):
        raise DataError(f"{file}:1: has no {_named(absent[0])}; the line has {counted(len(first), 'columns')}")
    if absent:
        raise DataError(f"{file}:1: {unknown('column', str(absent[0]), names)}{columns.hint}")
    for name in columns.all:
        if isinstance(name, str) and names.count(name) > 1:
            raise DataError(f"{file}:1: has two columns {name!r}; dataset.text and dataset.label may be numbers")
    places = [name if isinstance(name, int) else names.index(name) for name in columns.all]
    return places[: len(texts)], None if columns.label is None else places[-1], is_header


def _group_place(file: Path, first: Sequence[str], column: Column, is_header: bool) -> int:
    """Where the group stands. Raises DataError where it does not."""
    names = _names(first) if is_header else []
    if isinstance(column, int):
        if column >= len(first):
            width = counted(len(first), "columns")
            raise DataError(f"{file}:1: has no {_named(column)} (dataset.group); the line has {width}")
        return column
    if names.count(column) != 1:
        what = f"has {names.count(column) or 'no'} columns {column!r}"
        raise DataError(f"{file}:1: {what} (dataset.group); it has {', '.join(names) or 'no header'}")
    return names.index(column)


def _stands_in(column: Column, names: Sequence[str]) -> bool:
    return column < len(names) if isinstance(column, int) else column in names


def _named(column: Column) -> str:
    return f"column number {column} (they count from 0)" if isinstance(column, int) else f"column {column!r}"


def cells_of(file: Path) -> Iterator[tuple[int, list[str] | RowError]]:
    """(the line on which a row begins, its cells)."""
    text = read_file(file)
    if file.suffix.lower() == ".tsv":
        split = ((number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1))
        yield from ((number, cells) for number, cells in split if cells != [""])
        return
    reader, before = csv.reader(io.StringIO(text), strict=True, delimiter=separator(text)), 0
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


def _first(lines: Iterator[tuple[int, list[str] | RowError]]) -> tuple[int, list[str]]:
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
