"""Which columns of a dataset's tables hold the pictures or recordings and their labels, and what each row says.

Cells of labels are read from the table as it lies there, so that the library decodes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from ptft.data.files import located, nfc
from ptft.data.folders import Row
from ptft.data.hub.cells import Cell, File, MediaColumn
from ptft.data.hub.tables import Part, Tables, media_columns, media_of, other_option
from ptft.data.label_sets import cells
from ptft.data.own import columns, file_columns
from ptft.data.own.columns import AUTO, SPLIT
from ptft.data.own.file_columns import ListColumns
from ptft.data.records import RowError, check_single
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import DataError, unknown

TRANSCRIPTS = ("transcription", "transcript", "sentence")
"""What columns of transcripts are called, too."""
LISTS = ";"
"""What would separate labels in a text, where a column holds lists and nobody says it."""
ADDRESS = "://"
"""What stands in the path of a file that is on no disk."""


class Wanted(NamedTuple):
    """The columns that are read: of pictures or recordings, of labels or transcripts, and of groups, where there are.

    separator: what stands between labels of a cell, where a row may have several; flags: columns of 0 and 1.
    """

    media: str
    label: str | None = None
    group: str | None = None
    separator: str | None = None
    flags: Sequence[str] = ()

    @property
    def has_sets(self) -> bool:
        return self.separator is not None or bool(self.flags)


def media_column(where: str, table: Any, typed: str, kind: str) -> str:
    """The column of pictures or recordings (`kind`): the typed one, of that usual name, or the only one. Raises
    DataError naming what to type, also where another dataset reads them."""
    if typed != AUTO:
        if typed not in table.column_names:
            raise DataError(f"{where}: {unknown(f'dataset.{kind}', typed, table.column_names)}")
        if media_of(table.features[typed]) not in (kind, ""):
            raise DataError(f"{where}: dataset.{kind}={typed}: {other_option(table.select_columns([typed]), kind)}")
        return typed
    found = media_columns(table, kind)
    if kind in found or len(found) == 1:
        return kind if kind in found else found[0]
    if not found:
        raise DataError(f"{where}: {other_option(table, kind)}")
    each = " and ".join(map(repr, found))
    asked = f"type one where it is trained on, e.g. {columns.typed_as(kind, found[0])}, or call it {kind!r}"
    raise DataError(f"{where}: {each} may each be the {kind}; {asked}")


def label_column(
    where: str, table: Any, media: str, kind: str, typed: Mapping[str, str], others: Collection[object], needed: bool
) -> ListColumns:
    """As `file_columns.choose`: what the rows of a table are labelled with, where columns of classes go before others.

    typed: `kind`, and of label and text a column or AUTO. others: columns that are neither.
    """
    values, classed, first = _values(table, media), list[str](), next(key for key in typed if key != kind)
    spoken = [name for name in TRANSCRIPTS if name in values]
    if first == "text" and set(typed.values()) == {AUTO} and "text" not in values and len(spoken) == 1:
        values, typed = {spoken[0]: values[spoken[0]]}, {kind: AUTO, "text": AUTO}
    if first == "label" and typed["label"] == AUTO and "label" not in values:
        known = {*file_columns.OTHERS, *others}
        classed = [name for name in values if name not in known and class_names(table, name)]
    if classed:
        values, typed = {name: values[name] for name in classed}, {kind: typed[kind], "label": AUTO}
    if not values and needed:
        raise DataError(f"{where}: has no column beside {media}, and so no label; stage=predict answers it")
    needed = needed or len(values) == 1
    return file_columns.choose(where, values, typed, media, others, needed, kind)


def class_names(table: Any, column: str | None) -> list[str]:
    """The classes of a column in their order, if it says them: each of its values, or of what its lists hold."""
    feature = table.features.get(column)
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return [nfc(str(name).strip()) for name in names or ()]


def called(value: Any, names: Sequence[str]) -> Any:
    """A value of a column, or a list of them, by the names of its classes where it has some."""
    if isinstance(value, list):
        return [called(each, names) for each in value]
    return value if not names or value is None else names[value] if 0 <= value < len(names) else None


def is_list(table: Any, column: str | None) -> bool:
    """Whether a column says of itself that it holds lists of labels."""
    return hasattr(table.features.get(column), "feature")


def rows_of(tables: Tables, wanted: Wanted, train: str) -> Iterator[Row | RowError]:
    """All rows of all splits, or what is wrong with one; those that nobody divided by their column `split`, if any.

    train: the split to train on; others need no column of labels. Raises DataError for a column that is not there.
    """
    for split, parts in tables.splits.items():
        for part in parts:
            labelled = split in (train, "") or wanted.label in part.table.column_names
            own = wanted if labelled else wanted._replace(label=None, separator=None, flags=())
            yield from _rows(part, split, own)


def _rows(part: Part, split: str, wanted: Wanted) -> Iterator[Row | RowError]:
    column = MediaColumn(part.table, wanted.media, part.places)
    labels = [("dataset.label", name) for name in (*wanted.flags, wanted.label)]
    for key, name in [("column", wanted.media), *labels, ("dataset.group", wanted.group)]:
        if name is not None and name not in part.table.column_names:
            raise DataError(f"{column.places[0][1]}: {unknown(key, name, part.table.column_names)}")
    named = _texts(part.table, SPLIT) if not split and SPLIT in part.table.column_names else []
    splits = named if any(name.lower() in SPLIT_NAMES for name in named) else repeat(split, part.table.num_rows)
    groups = repeat("", part.table.num_rows) if wanted.group is None else _texts(part.table, wanted.group)
    each = zip(column.filled.tolist(), _labels(part.table, wanted, column), splits, groups, strict=True)
    for row, (filled, label, own, group) in enumerate(each):
        where = column.where(row)
        item = Cell(column, row) if filled else beside(column, row)
        if isinstance(item, RowError):
            yield item
        elif isinstance(label, RowError):
            yield label
        else:
            yield Row(own, item, label, where, nfc(group))


def beside(column: MediaColumn, row: int) -> File | RowError:
    """The file that a row without bytes names, below the folder of the one that it stands in."""
    name = column.path(row)
    if not name:
        return RowError(column.where(row), f"column {column.name!r} holds nothing")
    if ADDRESS in name:
        return RowError(column.where(row), f"column {column.name!r} holds no bytes, and {name[:80]} is on no disk")
    return located(column.file(row).parent, name)


def _labels(table: Any, wanted: Wanted, column: MediaColumn) -> Iterator[str | RowError]:
    """The label of each row, or its labels as `cells.joined` writes them; "" where it has none, or none is wanted."""
    if wanted.label is None:
        yield from repeat("", table.num_rows)
        return
    if not wanted.has_sets:
        yield from map(nfc, _texts(table, wanted.label))
        return
    names = class_names(table, wanted.label)
    read = [table.data.column(name).to_pylist() for name in wanted.flags or [wanted.label]]
    values = zip(*read, strict=True)
    for row, cell in enumerate(values):
        try:
            yield _set(wanted, cell, names, column.where(row))
        except RowError as error:
            yield error


def _set(wanted: Wanted, values: Sequence[Any], names: Sequence[str], where: str) -> str:
    """The labels of a row. Raises RowError."""
    if wanted.flags:
        for name, value in zip(wanted.flags, values, strict=True):
            check_single(value, name, where)
        return cells.of_flags(zip(wanted.flags, map(_text, values), strict=True), where)
    if names and isinstance(values[0], list):
        if unknown_ones := [value for value in values[0] if value is not None and not 0 <= value < len(names)]:
            raise RowError(where, f"column {wanted.label!r} holds {unknown_ones[0]}, the number of no class")
        return cells.joined(name for name in called(values[0], names) if name is not None)
    return cells.of_value(values[0], wanted.separator or LISTS, wanted.label, where)


def _texts(table: Any, column: str) -> list[str]:
    """The values of a column as texts, "" where one is missing, or is the number of no class."""
    names = class_names(table, column)
    return [_text(called(value, names)) for value in table.data.column(column).to_pylist()]


def _text(value: Any) -> str:
    """A cell without blanks around it; empty where it is missing."""
    return "" if value is None or value != value else str(value).strip()


def _values(table: Any, media: str) -> dict[str, list[str]]:
    """Column -> its first values, of those that hold one value a row, or lists that may be labels."""
    first = table.data.slice(0, columns.ROWS)
    values = dict[str, list[str]]()
    for name, feature in table.features.items():
        listed = getattr(feature, "feature", feature)
        if name == media or media_of(listed) is not None or not hasattr(listed, "dtype") or hasattr(listed, "shape"):
            continue
        names = class_names(table, name)
        texts = (_text(called(value, names)) for value in first.column(name).to_pylist())
        values[name] = [text for text in texts if text]
    return values
