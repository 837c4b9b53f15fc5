"""What sources of the pictures and of the recordings in tables share: their columns, rows and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.data import files
from ptft.data.folders import Row
from ptft.data.hub import tables
from ptft.data.hub.cells import File
from ptft.data.hub.rows import LISTS, Wanted, class_names, is_list, label_column, media_column, rows_of
from ptft.data.labels import by_value
from ptft.data.own.file_columns import PATH, ListColumns
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError
from ptft.data.source import DividedSource
from ptft.errors import ConfigError, DataError, shortened


class HubSource(DividedSource):
    """Rows of tables: a picture or a recording each, and its label. The library reads the tables, ptft the cells.

    name: of a dataset on the hub; subset: which of its configurations. Or
    root: a folder that `save_to_disk` wrote, one of Parquet files, or one of these.
    Splits have the names they have there, "validation" is also "val". A row is called by its file and its number.
    """

    opened: tables.Tables
    name: str | None = None
    key = "label"
    """The key that names the column of what is to be known."""
    class_order: Sequence[str] = ()
    """The classes, where the column says them, in its order."""

    def open(self, name: str | None, subset: str | None) -> Any:
        """The first table of the split that says what the dataset is. Raises DataError where there are no rows."""
        self.name, self.opened = name, tables.opened(name, subset, self.root, self.train)
        for sentence in self.opened.notes:
            self.note(sentence)
        splits = [split for split, parts in self.opened.splits.items() if parts]
        if not splits:
            raise DataError(f"{self._where()}: holds no rows")
        named = ("train", self.train, "")
        return self.opened.splits[next((split for split in named if split in splits), splits[0])][0].table

    def read_columns(self, table: Any, kind: str, typed: Mapping[str, Any], labelled: bool) -> Wanted:
        """The columns that are read, with those found that are "auto"; typed: of `kind`, and of labels or transcripts,
        None for none at all. Raises DataError, and ConfigError where nothing could be divided so."""
        media = media_column(self._where(), table, typed[kind], kind)
        group = None if self.grouping is None else self.grouping.key
        if isinstance(group, int):
            raise ConfigError(f"dataset.group={group}: columns have names here")
        others: list[object] = [*self.flags[1:], *([] if group is None else [group])]
        keys = {kind: typed[kind], **{key: name for key, name in typed.items() if name is not None and key != kind}}
        if len(keys) == 1:
            columns = ListColumns(media, "label", "", {} if media in typed.values() else {kind: media})
        else:
            columns = label_column(self._where(), table, media, kind, keys, others, labelled)
        self.listed(columns._replace(path=PATH if media == kind else media))
        self.key = columns.key
        label = columns.target if columns.target in table.column_names else None
        if columns.key == "label" and not self.has_sets and is_list(table, label):
            self.read_sets(label, LISTS)
        self.class_order = tuple(self.flags or class_names(table, label)) if columns.key == "label" else ()
        return Wanted(media, label, group, self.separator if self.has_sets else None, tuple(self.flags))

    def read_rows(self, wanted: Wanted, unusable: UnusableRows) -> list[Row]:
        """The rows of all splits; those that can't be used go to `unusable`."""
        rows = list[Row]()
        for row in rows_of(self.opened, wanted, self.train):
            if isinstance(row, RowError):
                unusable(row)
            else:
                rows.append(row)
        return rows

    def in_order(self, present: Sequence[str]) -> tuple[str, ...]:
        """The classes in the order of the column that says them, else by their value; present: those of some rows."""
        there = set(present)
        if missing := [name for name in self.class_order if name not in there]:
            self.note(f"no example of {shortened(missing, 8)} is in {self.train}")
        return tuple(self.class_order or sorted(present, key=by_value))

    def names_of(self, items: Sequence[File]) -> list[str]:
        """The names of rows, which are not what they are known by."""
        return [files.relative(item, self.base) for item in items]

    def _where(self) -> str:
        return f"dataset.name={self.name}" if self.root is None else super()._where()
