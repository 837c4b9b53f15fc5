"""Texts in tables: one or two sentences a row and a class, a number or nothing; GLUE's files are such tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ptft.data.own import columns
from ptft.data.own.text_record import Column, Columns, TextRecord
from ptft.data.own.text_rows import column_names, has_label, is_header
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import SUFFIXES, RowError, first_cells
from ptft.data.splits import SPLITS, own_name, split_by_stem, split_files
from ptft.data.text.row_source import RowTexts, text_keys
from ptft.data.text.source import TextKeys
from ptft.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Layout(NamedTuple):
    """The columns of a published dataset, and what their label is."""

    columns: Columns
    target: str = "class"


def _pair(first: str, second: str, label: str, target: str = "class") -> Layout:
    return Layout(Columns((first, second), label), target)


LAYOUTS = {
    "sst2": Layout(Columns(("sentence",), "label", numbers=(0, 1))),
    "cola": Layout(Columns((3,), 1, header=False)),
    "mrpc": _pair("#1 String", "#2 String", "Quality"),
    "stsb": _pair("sentence1", "sentence2", "score", "number"),
    "qqp": _pair("question1", "question2", "is_duplicate"),
    "mnli": _pair("sentence1", "sentence2", "gold_label"),
    "qnli": _pair("question", "sentence", "label"),
    "rte": _pair("sentence1", "sentence2", "label"),
    "wnli": _pair("sentence1", "sentence2", "label"),
}
"""Of the GLUE benchmark (Wang et al. 2018), as its files come."""


class TableTexts(RowTexts):
    """Rows of CSV, TSV or JSON files.

    root: a folder of train, val (dev, validation) and test files, or several of each (train-00000-of-00003.csv); or one
        file, which is divided 80/10/10 by class where the label is one.
    layout: columns and target of a published dataset, one of LAYOUTS, in place of those that follow; label=None leaves
        its labels out.
    text: the column of the text, by name or number, or two of them; "auto": the one that is called text, else the only
        one that can be it.
    label: the column of the label, "auto" likewise; None for texts alone; or several columns of 0 and 1, a label each.
    label_separator: what stands between labels in its cells, where a text may have several, or none.
    target: "class" or "number"; None is "class", unless labels are many numbers that are not whole.
    header: whether the first line is one; None: it is where columns have names.
    split: the column that says the split of each row of one file, "auto": the one that is called split, if its values
        are names of splits; None: the file is divided, as in runs whose configuration has not the key.
    split_seed: divides one file; not the run's seed.
    group: the column that says which rows belong together, by name or number.

    Raises DataError naming file and line of a row that can't be used; with `on_error="skip"` it is left out.
    """

    def __init__(
        self,
        *,
        layout: str | None = None,
        split: str | None = None,
        text: Column | Sequence[Column] = columns.AUTO,
        label: Column | Sequence[str] | None = columns.AUTO,
        label_separator: str | None = None,
        target: str | None = None,
        header: bool | None = None,
        split_seed: int = 0,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of train.tsv, dev.tsv … or one file")
        column: Column | None = self.read_sets(label, label_separator)
        expected = "train.csv, .tsv or .jsonl with dev and test, or a file"
        self.files = split_files(self.root, split_of, expected, self.whole)
        by_column = None if layout is not None else self._split_column(split, text, column, header)
        if layout is None and columns.AUTO in (text, column):
            text, column, header = self._find_columns(text, column, header, by_column)
        self.columns, target = _chosen(layout, text, column, target, header)
        self.columns = self.columns._replace(split=by_column, separator=self.separator, flags=tuple(self.flags))
        if self.grouping is not None:
            self.columns = _with_group(self.columns, self.grouping.key)
        self._parts = {} if by_column is None else self._by_column(by_column)
        if "" in self.files and not self._parts:
            rows = self.rows("")
            groups, names = [row.group for row in rows], self._kinds(rows, target)
            self._rows |= self.divide(self.root, rows, split_seed, lambda: text_keys(rows), groups, names)
        self._without_labels()
        if layout is None:
            self._heed_header()
            self.say_headers(self.files)
        drawn = [split for split in SPLITS if split in self._rows]
        self.describe_rows(self._parts or (drawn if "" in self.files else self.files), target)

    def _kinds(self, rows: Sequence[TextRecord], target: str | None) -> list[str] | None:
        """What a division keeps in proportion. None of numbers: each that occurs once would be a class, which must be
        in train; a division by order, which knows no such rule, goes on as the runs that were divided so."""
        return None if target == "number" and self.divide_by == "name" else self._named(rows)

    def _without_labels(self) -> None:
        """Leave out the files that have no column for them, of splits that are not trained on. Raises DataError where
        nothing is left to measure."""
        others = {split: own[0] for split, own in self.files.items() if split not in (self.train, "")}
        lacking = {split: file for split, file in others.items() if not has_label(file, self.columns)}
        if self.whole and lacking and len(lacking) == len(self.files):
            file = next(iter(lacking.values()))
            there = unknown("column", str(self.columns.label), column_names(file))
            instead = "dataset.label names the one to measure by, and stage=predict answers texts without labels"
            raise DataError(f"{file}: {there}; {instead}")
        for split, file in lacking.items():
            self.leave_out(split, f"{file.name} has no labels")
        self.files = {split: own for split, own in self.files.items() if split not in lacking}

    def _heed_header(self) -> None:
        """Leave out the header of a file that is measured, where columns have numbers and training had none."""
        if not self.whole or self.columns.header or any(isinstance(name, str) for name in self.columns.all):
            return
        classes = () if self.like is None else self.like.classes
        for file in (file for files in self.files.values() for file in files):
            if is_header(first := first_cells(file), classes):
                self.note(f"the first line of {file.name} ({', '.join(first)[:60]}) is a header and is left out")
                self.columns = self.columns._replace(header=True)

    def _split_column(
        self, split: str | None, text: Column | Sequence[Column], label: Column | None, header: bool | None
    ) -> str | None:
        """The column of the splits in the only file; what is there and not read is said."""
        own = self.train if self.train in self.files else next(iter(self.files))
        file = self.files[own][0]
        texts = [text] if isinstance(text, str | int) else list(text)
        taken = [name for name in (*texts, label, *self.flags[1:], self._group_column) if name is not None]
        name, values = columns.split_column(file, split or columns.AUTO, taken, header)
        if name is not None and (split is None or self.root is None or self.root.is_dir()):
            why = "dataset.split=auto reads it" if split is None else "the files are the splits"
            if split is None or {own_name(value) for value in values.split(", ")} != {own}:
                self.note(f"the column {name} of {file.name} ({values}) is not read; {why}")
            return None
        return name

    @property
    def _group_column(self) -> Column | None:
        return None if self.grouping is None else self.grouping.key

    def _by_column(self, name: str) -> dict[str, list[TextRecord]]:
        """Split -> rows of one file, by a column; those without a split are left out as others that can't be used."""
        (file,) = next(iter(self.files.values()))
        unusable = UnusableRows(self.on_error)
        parts: dict[str, list[TextRecord]] = {}
        for row in self.of_files("test", [file], unusable):
            if row.split:
                parts.setdefault(own_name(row.split, (self.train, self.val, self.test)), []).append(row)
            else:
                unusable(RowError(row.where, f"has no split in column {name!r}; dataset.split=null divides the rows"))
        for sentence in unusable.notes(sum(map(len, parts.values())), str(file)):
            self.note(sentence)
        self.unusable += unusable.named()
        return parts

    def _find_columns(
        self, text: Column | Sequence[Column], label: Column | None, header: bool | None, split: str | None
    ) -> tuple[Column | Sequence[Column], Column | None, bool | None]:
        """The columns and header with those that were not typed, found in the file to train on; none is `split`."""
        file = self.files[self.train if self.train in self.files else next(iter(self.files))][0]
        others = [name for name in (split, self._group_column, *self.flags[1:]) if name is not None]
        guess = columns.find(file, text, label, header, others, self.has_sets)
        if guess.note:
            self.note(guess.note)
        text = guess.text if isinstance(guess.text, str | int) else list(guess.text)
        labels = list(self.flags) or guess.label
        self.settled = {"text": text, "label": labels, "header": guess.header}
        return guess.text, guess.label, guess.header

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self._parts[split]) for split in splits} if self._parts else super().sizes(splits)

    def read(self, split: str, unusable: UnusableRows) -> list[TextRecord]:
        return self._parts[split] if self._parts else self.of_files(split, self.files[split], unusable)


def _chosen(
    layout: str | None, text: Column | Sequence[Column], label: Column | None, target: str | None, header: bool | None
) -> tuple[Columns, str | None]:
    if layout is not None:
        if layout not in LAYOUTS:
            raise ConfigError(unknown("dataset.layout", layout, LAYOUTS))
        preset = LAYOUTS[layout].columns
        return preset if label is not None else preset._replace(label=None), LAYOUTS[layout].target
    names = (text,) if isinstance(text, str | int) else tuple(text)
    if len(names) not in (1, 2):
        raise ConfigError(f"dataset.text={list(names)}: one column, or two for pairs")
    return Columns(names, label, header=header), target


def _with_group(columns: Columns, group: Column) -> Columns:
    """A group's name stands in a header, also where the other columns have numbers."""
    header = True if isinstance(group, str) and columns.header is None else columns.header
    return columns._replace(group=group, header=header)


def split_of(file: Path) -> str | None:
    """The split of a table, None for other files."""
    return split_by_stem(file) if file.suffix.lower() in SUFFIXES else None


def sample(root: Path, count: int = 12) -> None:
    """Write a tiny set of two classes, and a number a row, below `root`: train.tsv and dev.tsv with a header."""
    root.mkdir(parents=True, exist_ok=True)
    words = {"good": ["a fine day", "what a joy", "well made"], "bad": ["a dull day", "what a bore", "badly made"]}
    for split in ("train", "dev"):
        lines = [f"{words[name][i % 3]} number {i}\t{name}\t{i}" for i in range(count) for name in words]
        (root / f"{split}.tsv").write_text("\n".join(["text\tlabel\tnumber", *lines]) + "\n", encoding="utf-8")
