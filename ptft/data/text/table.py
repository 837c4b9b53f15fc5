"""Texts in tables: one or two sentences a row and a class, a number or nothing; GLUE's files are such tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ptft.data.own import columns
from ptft.data.own.text_record import Column, Columns, TextRecord
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import SUFFIXES, has_label
from ptft.data.splits import SPLITS, split_by_stem, split_files
from ptft.data.text.row_source import RowTexts, text_keys
from ptft.data.text.source import TextKeys
from ptft.errors import ConfigError, unknown

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
        file, which is divided 80/10/10 by class.
    layout: columns and target of a published dataset, one of LAYOUTS, in place of those that follow; label=None leaves
        its labels out.
    text: the column of the text, by name or number, or two of them; "auto": the one that is called text, else the only
        one that can be it.
    label: the column of the label, "auto" likewise; None for texts alone.
    target: "class" or "number"; None is "class", unless labels are many numbers that are not whole.
    header: whether the first line is one; None: it is where columns have names.
    split_seed: divides one file; not the run's seed.
    group: the column that says which rows belong together, by name or number.

    Raises DataError naming file and line of a row that can't be used; with `on_error="skip"` it is left out.
    """

    def __init__(
        self,
        *,
        layout: str | None = None,
        text: Column | Sequence[Column] = columns.AUTO,
        label: Column | None = columns.AUTO,
        target: str | None = None,
        header: bool | None = None,
        split_seed: int = 0,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of train.tsv, dev.tsv … or one file")
        expected = "train.csv, .tsv or .jsonl with dev and test, or a file"
        self.files = split_files(self.root, split_of, expected, self.whole)
        if layout is None and columns.AUTO in (text, label):
            text, label, header = self._find_columns(text, label, header)
        self.columns, target = _chosen(layout, text, label, target, header)
        if self.grouping is not None:
            self.columns = _with_group(self.columns, self.grouping.key)
        if "" in self.files:
            rows = self.rows("")
            groups, names = [row.group for row in rows], [str(row.label) for row in rows]
            self._rows |= self.divide(self.root, rows, split_seed, lambda: text_keys(rows), groups, names)
        for split in [split for split in self.files if split not in (self.train, "")]:
            if not has_label(self.files[split][0], self.columns):
                self.leave_out(split, f"{self.files.pop(split)[0].name} has no labels")
        if layout is None:
            self.say_headers(self.files)
        drawn = [split for split in SPLITS if split in self._rows]
        self.describe_rows(drawn if "" in self.files else self.files, target)

    def _find_columns(
        self, text: Column | Sequence[Column], label: Column | None, header: bool | None
    ) -> tuple[Column | Sequence[Column], Column | None, bool | None]:
        """The columns and header with those that were not typed, found in the file to train on."""
        split = self.train if self.train in self.files else next(iter(self.files))
        others = [] if self.grouping is None else [self.grouping.key]
        guess = columns.find(self.files[split][0], text, label, header, others)
        if guess.note:
            self.note(guess.note)
        text = guess.text if isinstance(guess.text, str | int) else list(guess.text)
        self.settled = {"text": text, "label": guess.label, "header": guess.header}
        return guess.text, guess.label, guess.header

    def read(self, split: str, unusable: UnusableRows) -> list[TextRecord]:
        return self.of_files(split, self.files[split], unusable)


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
