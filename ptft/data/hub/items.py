"""What `stage=predict` is given as Parquet files, or as what save_to_disk wrote: their rows, one by one."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, overload

from ptft.core import Spec
from ptft.data import files
from ptft.data.hub.cells import Cell, MediaColumn
from ptft.data.hub.rows import beside, called, class_names, media_column
from ptft.data.hub.tables import SUFFIX, Part, is_parquet, is_saved, media_of, opened
from ptft.data.own.columns import AUTO
from ptft.data.readers import Listed, Unreadable
from ptft.data.records import RowError
from ptft.errors import DataError


class _Rows(NamedTuple):
    """The rows of a table; the others of its columns are handed on."""

    column: MediaColumn
    others: Any

    def item(self, row: int) -> Listed | Unreadable:
        fields = {name: values[0] for name, values in self.others.data.fast_slice(row, 1).to_pydict().items()}
        fields = {name: called(value, class_names(self.others, name)) for name, value in fields.items()}
        item = Cell(self.column, row) if self.column.filled[row] else beside(self.column, row)
        if isinstance(item, RowError):
            return Unreadable(item.where, item, fields)
        return Listed(item, fields)


class RowItems(Sequence[Any]):
    """Rows to predict for, in order, each made when it is asked for; what can't be read at all stands in its place.

    notes: as of `readers.Items`.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, parts: Sequence[_Rows | Unreadable], places: range | None = None) -> None:
        self.parts = parts
        counts = [1 if isinstance(part, Unreadable) else len(part.column.table) for part in parts]
        self.firsts = [0, *accumulate(counts)]
        self.places = range(self.firsts[-1]) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> RowItems: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return RowItems(self.parts, self.places[place])
        row = self.places[place]
        number = bisect_right(self.firsts, row) - 1
        part = self.parts[number]
        return part if isinstance(part, Unreadable) else part.item(row - self.firsts[number])


def rows_at(path: str, kind: str, spec: Spec, others: bool) -> RowItems | None:
    """The rows of Parquet files at `path`, or of what save_to_disk wrote there; None where there are none.

    kind: image or audio, whose column is the one that was trained on, if there is one of that name. others: whether
    `path` holds files of that kind, so that Parquet files among them do not count.
    """
    root = Path(os.path.expanduser(path))
    if root.is_dir() and is_saved(root):
        found = [root]
    elif root.is_file() or others:
        found = [root] if is_parquet(root) else []
    else:
        found = files.find(root, frozenset({SUFFIX}))
    parts = list[_Rows | Unreadable]()
    for file in found:
        try:
            tables = opened(None, None, file)
            column = str(spec.shape.get("path", kind))
            parts += [_rows(part, tables.where, kind, column) for part in tables.parts]
        except DataError as error:
            parts.append(Unreadable(str(file), error))
    return RowItems(parts) if found else None


def _rows(part: Part, where: str, kind: str, column: str) -> _Rows:
    name = media_column(where, part.table, column if column in part.table.column_names else AUTO, kind)
    media = [name for name, feature in part.table.features.items() if media_of(feature) is not None]
    return _Rows(MediaColumn(part.table, name, part.places), part.table.remove_columns(media))
