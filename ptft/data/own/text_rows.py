"""Tables as texts: the rows of CSV, TSV and JSON files by the columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.data.files import nfc
from ptft.data.label_sets import cells
from ptft.data.own.separator import SEPARATED, SEPARATORS
from ptft.data.own.text_record import Column, Columns, TextRecord
from ptft.data.records import (
    JSON,
    EmptyRow,
    HeaderRow,
    RowError,
    cells_of,
    first_cells,
    first_of,
    names_of,
    objects_of,
    repeats,
    text_of,
    uneven,
)
from ptft.errors import DataError, counted, unknown

HEADERS = frozenset(("label", "labels", "class", "target", "category", "score", "text", "sentence", "sentence1"))
"""What columns are often called."""
NAME = 3
"""Words of a column's name at the most."""


def is_header(cells: Sequence[str], classes: Sequence[str] = ()) -> bool:
    """Whether the cells of a first line are names of columns, one of them a usual one that is none of the classes."""
    usual = HEADERS - {name.lower() for name in classes}
    return not usual.isdisjoint(name.lower() for name in names_of(cells)) and may_be_names(cells)


def may_be_names(cells: Sequence[str]) -> bool:
    """Whether the cells of a first line are as short as names of columns."""
    return all(len(cell.split()) <= NAME for cell in cells)


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


def has_label(file: Path, columns: Columns) -> bool:
    """Whether the first row of the file has the label's column, if one is asked for; an empty file is told later."""
    if columns.label is None:
        return True
    if file.suffix.lower() in JSON:
        fields = next(objects_of(file), (0, None))[1]
        return not isinstance(fields, dict) or columns.label in [nfc(key) for key in fields]
    first = first_cells(file)
    try:
        return not first or bool(_places(file, first, columns, True)[1])
    except DataError:
        return True


def column_names(file: Path) -> list[str]:
    """What the first row of a file calls its columns, or has in them where they have no names."""
    if file.suffix.lower() in JSON:
        fields = next(objects_of(file), (0, None))[1]
        return [nfc(key) for key in fields] if isinstance(fields, dict) else []
    return list(names_of(first_cells(file)))


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
            label = _label_of(values, columns, where)
            group = "" if columns.group is None else nfc(text_of(values, columns.group, where))
            split = "" if columns.split is None else nfc(text_of(values, columns.split, where))
            yield TextRecord(texts, label, where, group, split)
        except RowError as error:
            yield error


def _label_of(values: Mapping[Any, Any], columns: Columns, where: str) -> str | None:
    """The label of an object, None where it has none or none is asked for. Raises RowError."""
    if columns.label is None:
        return None
    if columns.has_sets:
        names = [str(name) for name in columns.labels]
        return cells.of_fields(values, names, columns.separator, where) if columns.label in values else None
    return nfc(text_of(values, columns.label, where)) or None


def _with_labels(
    record: TextRecord, row: Sequence[str], places: Sequence[int], columns: Columns
) -> TextRecord | RowError:
    """The record with the labels of its row of cells, of which there may be several; or what is wrong with them."""
    try:
        if columns.separator is not None:
            return record._replace(label=cells.of_value(row[places[0]], columns.separator, columns.label, record.where))
        flags = zip(columns.flags, (row[place] for place in places), strict=True)
        return record._replace(label=cells.of_flags(flags, record.where))
    except RowError as error:
        return error


def _texts_of_cells(file: Path, columns: Columns, unlabelled: bool) -> Iterator[TextRecord | RowError]:
    lines = cells_of(file)
    number, first = first_of(lines)
    if not first:
        return
    texts, labels, is_header = _places(file, first, columns, unlabelled)
    label, has_sets = labels[0] if labels else None, columns.has_sets and bool(labels)
    group = None if columns.group is None else _group_place(file, first, columns.group, is_header)
    split = None if columns.split is None else names_of(first).index(columns.split)
    like, width = "the header" if is_header else "the first line", len(first)
    one = texts[0] if len(texts) == 1 else None
    names = names_of(first) if is_header else []
    for line, row in lines if is_header else ((number, first), *lines):
        where = f"{file}:{line}"
        if isinstance(row, RowError):
            yield row
            continue
        if len(row) != width:
            yield uneven(where, row, first, like)
            continue
        values = (row[one].strip(),) if one is not None else tuple(row[place].strip() for place in texts)
        if not values[0] and not any(map(str.strip, row)):
            yield EmptyRow(where)
        elif is_header and row[-1] == first[-1] and repeats(row, names):
            yield HeaderRow(where)
        else:
            own_group = "" if group is None else nfc(row[group].strip())
            own_split = "" if split is None else nfc(row[split].strip())
            own_label = None if label is None else nfc(row[label].strip()) or None
            record = TextRecord(values, own_label, where, own_group, own_split)
            yield _with_labels(record, row, labels, columns) if has_sets else record


def _places(file: Path, first: Sequence[str], columns: Columns, unlabelled: bool) -> tuple[list[int], list[int], bool]:
    """Where texts and labels stand, and whether the first line is a header. Raises DataError where one is missing."""
    names, texts = names_of(first), columns.text
    is_header = any(isinstance(name, str) for name in columns.all) if columns.header is None else columns.header
    absent = [name for name in columns.all if not _stands_in(name, names)]
    for mark, noun in SEPARATORS.items() if texts[0] in absent and len(first) == 1 else ():
        if texts[0] in [name.strip() for name in names[0].split(mark)]:
            raise DataError(f"{file}:1: {SEPARATED.format(noun)}")
    if columns.alone and absent and len(first) == len(texts):
        return list(range(len(texts))), [], bool(columns.header)
    if columns.numbers and len(absent) == len(columns.all):
        numbers = columns.numbers[: len(columns.all)]
        return list(numbers[: len(texts)]), list(numbers[len(texts) :]), False
    if unlabelled and absent and absent == list(columns.labels):
        absent, columns = [], columns._replace(label=None)
    if absent and isinstance(absent[0], int):
        raise DataError(f"{file}:1: has no {_named(absent[0])}; the line has {counted(len(first), 'columns')}")
    if absent:
        raise DataError(f"{file}:1: {unknown('column', str(absent[0]), names)}{columns.hint}")
    for name in columns.all:
        if isinstance(name, str) and names.count(name) > 1:
            raise DataError(f"{file}:1: has two columns {name!r}; dataset.text and dataset.label may be numbers")
    places = [name if isinstance(name, int) else names.index(name) for name in columns.all]
    return places[: len(texts)], places[len(texts) :], is_header


def _group_place(file: Path, first: Sequence[str], column: Column, is_header: bool) -> int:
    """Where the group stands. Raises DataError where it does not."""
    names = names_of(first) if is_header else []
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
