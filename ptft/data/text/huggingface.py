"""Datasets of Hugging Face's library `datasets`, by name or from a folder (`pip install 'ptft[huggingface]'`).

The source of their examples, and the reader of what `stage=predict` is given by those who trained on them: rows of
`sentences`, which may also stand in Parquet files or in what save_to_disk wrote.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.core import Spec
from ptft.data.files import nfc
from ptft.data.hub.tables import files_of, is_parquet, is_saved, without_media
from ptft.data.label_sets import cells
from ptft.data.own import columns
from ptft.data.own.arrow import of_parquet, open_tables
from ptft.data.own.columns import AUTO, SPLIT, split_column
from ptft.data.own.text_record import Column, Columns, TextRecord
from ptft.data.own.unusable import UnusableRows
from ptft.data.readers import Items, Unreadable, of_files
from ptft.data.records import EmptyRow, RowError, check_single
from ptft.data.splits import SPLIT_NAMES, parts_notes, split_by_stem
from ptft.data.text import reader as text_reader
from ptft.data.text import sentences
from ptft.data.text.row_source import RowTexts
from ptft.data.text.source import TextKeys
from ptft.data.text.table import split_of
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

find_whole, of_lines, with_columns = sentences.find_whole, sentences.of_lines, sentences.with_columns
read, collate, describe = sentences.read, sentences.collate, sentences.describe
LISTS = ";"
"""What would separate labels in a text, where a column holds lists and nobody says it."""
MISSING = "holds no files of csv, tsv, json, jsonl or parquet, nor what save_to_disk writes"


class HuggingFaceTexts(RowTexts):
    """A text or two a row, and a class, a number or nothing.

    name: of a dataset on the hub; subset: which of its configurations. Or
    root: a folder that `save_to_disk` wrote, or one of train, validation and test files (csv, json, parquet).
    text, label, label_separator, target: as in `TableTexts`, columns by their names; "auto" likewise. A column that
        holds lists of names or of classes holds several labels.

    Files of csv and json are read as `TableTexts` does, the others by the library.
    Splits have the names they have there, "validation" is also "val". Raises DataError where it can't be read.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        subset: str | None = None,
        text: Column | Sequence[Column] = "text",
        label: Column | Sequence[str] | None = "label",
        label_separator: str | None = None,
        target: str | None = None,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if (name is None) == (self.root is None):
            raise ConfigError("dataset.name, a dataset on the hub, or dataset.root, a folder: set one of them")
        self.name = name
        self.files = (
            files_of(self.root, _split_of, MISSING) if self.root is not None and not is_saved(self.root) else {}
        )
        group = None if self.grouping is None else self.grouping.key
        column: Column | None = self.read_sets(label, label_separator)
        typed = [*([text] if isinstance(text, str | int) else text), column, group]
        if numbers := [name for name in typed if isinstance(name, int)]:
            raise ConfigError(f"dataset.text, .label and .group: columns have names here, {numbers[0]} is a number")
        self.tables: dict[str, list[Any]] = {}
        if not self.files or any(is_parquet(parts[0]) for parts in self.files.values()):
            tables = open_tables(self._where(), name, subset, self.root, self.files)
            self.tables = {
                "val" if split == "validation" else split: [without_media(each, self._where(), text) for each in parts]
                for split, parts in tables.items()
            }
        if AUTO in (text, column):
            text, column = self._find_columns(text, column, [*self.flags[1:], *([] if group is None else [group])])
        names = (text,) if isinstance(text, str | int) else tuple(text)
        if not self.has_sets and any(_is_list(table, column) for parts in self.tables.values() for table in parts):
            self.read_sets(column, LISTS)
        self.columns = Columns(names, column, hint="", group=group, separator=self.separator, flags=tuple(self.flags))
        self._say_split_column()
        self.describe_rows(self.tables or self.files, target, "huggingface")

    def _find_columns(
        self, text: Column | Sequence[Column], label: Column | None, others: Sequence[Column]
    ) -> tuple[Column | Sequence[Column], Column | None]:
        """The columns of text and label with those that were not typed, found in the split to train on."""
        splits = self.tables or self.files
        split = self.train if self.train in splits else next(iter(splits))
        if split in self.tables:
            values = _first_values(self.tables[split][0], self.has_sets) if self.tables[split] else {}
            found = columns.choose(self._where(), values, text, label, others=others)
        else:
            found = columns.find(self.files[split][0], text, label, True, others, self.has_sets)
        if found.note:
            self.note(found.note)
        self.settled = {
            "text": found.text if isinstance(found.text, str | int) else list(found.text),
            "label": list(self.flags) or found.label,
        }
        return found.text, found.label

    def read(self, split: str, unusable: UnusableRows) -> list[TextRecord]:
        if split not in self.tables:
            return self.of_files(split, self.files[split], unusable)
        for sentence in parts_notes({split: self.files.get(split, ())}):
            self.note(sentence)
        rows, before = list[TextRecord](), 0
        for table in self.tables[split]:
            has_label = split == self.train or self.columns.label in table.column_names
            kept = self.columns if has_label else self.columns._replace(label=None)
            for record in _records(table, kept, lambda i: f"{self._where()}: {split} row {i}", before):
                if isinstance(record, RowError):
                    unusable(record)
                else:
                    rows.append(record)
            before += table.num_rows
        return rows

    def _say_split_column(self) -> None:
        """Note a column that says the splits where there is one split only: it is not read."""
        names, remedy = [*(self.tables or self.files)], "a file for each split divides them"
        if len(names) != 1 or SPLIT in self.columns.all:
            return
        if self.tables:
            found = [table.unique(SPLIT) for table in self.tables[names[0]] if SPLIT in table.column_names]
            values = ", ".join(map(str, dict.fromkeys(value for part in found for value in part)))
        else:
            taken = [name for name in (*self.columns.all, self.columns.group) if name is not None]
            values, remedy = split_column(self.files[names[0]][0], AUTO, taken, True)[1], "dataset=table divides by it"
        if not SPLIT_NAMES.keys().isdisjoint(value.lower() for value in values.split(", ")):
            self.note(f"the column {SPLIT} ({values[:60]}) is not read, and all rows are {names[0]}; {remedy}")

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        if not self.tables:
            return super().sizes(splits)
        return {split: sum(table.num_rows for table in self.tables[split]) for split in splits}

    def _where(self) -> str:
        return f"dataset.name={self.name}" if self.root is None else f"dataset.root={self.root}"


def _is_list(table: Any, column: Column | None) -> bool:
    """Whether a column says of itself that it holds lists of labels."""
    return hasattr(table.features.get(column), "feature")


def _first_values(table: Any, lists: bool) -> dict[Column, list[str]]:
    """Column -> its first values, of those that have one value a row, or a list of names of classes; or any `lists`."""
    first = table[: columns.ROWS]
    several = {name for name in first if lists or hasattr(getattr(table.features[name], "feature", None), "names")}
    return {
        name: [text for value in values if (text := _text(value))]
        for name, values in first.items()
        if not any(isinstance(value, dict) or (isinstance(value, list) and name not in several) for value in values)
    }


def _records(
    table: Any, wanted: Columns, where: Callable[[int], str], before: int = 0
) -> Iterator[TextRecord | RowError]:
    """The rows of a table, or what is wrong with one; `before` is the number of its first.

    Raises DataError where the table has not all the columns.
    """
    for column in (*wanted.all, wanted.group):
        if column is not None and column not in table.column_names:
            split = where(before).rpartition(" row ")[0]
            raise DataError(f"{split} has no column {column!r} ({', '.join(table.column_names)})")
    feature = table.features.get(wanted.label)
    names = getattr(getattr(feature, "feature", feature), "names", None)
    named = [] if wanted.group is None else [nfc(_text(value)) for value in table[wanted.group]]
    values = zip(*(list(table[name]) for name in wanted.all), strict=True)
    for i, (row, group) in enumerate(zip(values, named or [""] * table.num_rows, strict=True), before):
        record = _record(where(i), wanted, row, names)
        yield record if isinstance(record, RowError) or not group else record._replace(group=group)


def _record(where: str, wanted: Columns, values: Sequence[Any], names: Sequence[str] | None) -> TextRecord | RowError:
    many = len(wanted.text)
    try:
        single = wanted.text if wanted.has_sets else wanted.all
        for name, value in zip(single, values[: len(single)], strict=True):
            check_single(value, name, where)
        labels = _labels(wanted, values[many:], names, where) if wanted.has_sets else None
    except RowError as error:
        return error
    texts = tuple(_text(value) for value in values[:many])
    if wanted.label is not None and not any(texts) and not _text(values[-1]):
        return EmptyRow(where)
    if not all(texts):
        return RowError(where, f"column {wanted.text[texts.index('')]!r} holds no text")
    if wanted.label is None or labels is not None:
        return TextRecord(texts, labels, where)
    label = values[-1]
    if names is not None:
        has_label = label is not None and 0 <= label < len(names)
        return TextRecord(texts, nfc(names[label]) if has_label else None, where)
    return TextRecord(texts, nfc(_text(label)) or None, where)


def _labels(wanted: Columns, values: Sequence[Any], names: Sequence[str] | None, where: str) -> str:
    """The labels of a row that may have several. Raises RowError."""
    if wanted.flags:
        return cells.of_flags(zip(wanted.flags, map(_text, values), strict=True), where)
    if names is not None and isinstance(values[0], list):
        return cells.joined(names[number] for number in values[0] if number is not None and 0 <= number < len(names))
    return cells.of_value(values[0], wanted.separator or LISTS, wanted.label, where)


def items(path: str, spec: Spec) -> Items:
    """The rows of Parquet files at `path`, or of what save_to_disk wrote there; else as `sentences.items`."""
    root = Path(os.path.expanduser(path))
    if root.is_dir() and is_saved(root):
        opened = open_tables(str(root), None, None, root, {})
        opened = {split: [without_media(table) for table in parts] for split, parts in opened.items()}
        tables = [(f"{root}/{split}" if len(opened) > 1 else str(root), parts) for split, parts in opened.items()]
        wanted = Columns(tuple(spec.shape["columns"]), None)
        return Items(item for name, parts in tables for item in _items(name, parts, wanted))
    files = [file for file in text_reader.text_files(path, frozenset({sentences.PARQUET})) if is_parquet(file)]
    if not files:
        return sentences.items(path, spec)
    wanted = Columns(tuple(spec.shape["columns"]), None)
    return Items(of_files(files, lambda file: parquet_items(file, wanted)))


def parquet_items(file: Path, wanted: Columns) -> list[sentences.Sentences | Unreadable]:
    """The rows of a Parquet file. Raises DataError where it can't be read."""
    return list(_items(str(file), [without_media(table) for table in of_parquet([file])], wanted))


def _items(name: str, tables: Sequence[Any], wanted: Columns) -> Iterator[sentences.Sentences | Unreadable]:
    before = 0
    for table in tables:
        rows = _records(table, wanted, lambda i: f"{name} row {i}", before)
        for record, fields in zip(rows, table, strict=True):
            if isinstance(record, RowError):
                yield Unreadable(record.where, record, fields)
            else:
                yield sentences.Sentences(record.where, record.texts, fields)
        before += table.num_rows


def _text(value: Any) -> str:
    """A cell without blanks around it; empty where it is missing."""
    return "" if value is None or value != value else str(value).strip()


def _split_of(file: Path) -> str | None:
    if is_parquet(file):
        return split_by_stem(file)
    return None if file.stem.endswith(("_info", "_infos")) else split_of(file)


def sample(root: Path, count: int = 12) -> None:
    """Write a tiny set of two classes below `root`: train.csv and validation.csv."""
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        rows = [f"{word} number {i},{word}" for i in range(count) for word in ("good", "bad")]
        (root / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
