"""Texts in tables: one or two sentences a row and a class, a number or nothing; GLUE's files are such tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ptft.data.examples import MOST_SKIPPED_FRACTION
from ptft.data.records import SUFFIXES, Column, Columns, TextRecord, has_label, read_texts
from ptft.data.source import unknown
from ptft.data.splits import divide, split_by_stem, split_files
from ptft.data.text.row_source import RowTexts
from ptft.data.text.source import TextKeys
from ptft.errors import ConfigError, DataError

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
    """Rows of CSV, TSV or JSONL files.

    root: a folder of train, val (dev, validation) and test files; or one file, which is divided 80/10/10 by class.
    layout: columns and target of a published dataset, one of LAYOUTS, in place of those that follow; label=None leaves
        its labels out.
    text: the column of the text, by name or number, or two of them.
    label: the column of the label; None for texts alone.
    target: "class" or "number".
    header: whether the first line is one; None: it is where columns have names.
    split_seed: divides one file; not the run's seed.

    Raises DataError naming file and line of a row that can't be used; with `on_error="skip"` it is left out.
    """

    def __init__(
        self,
        *,
        layout: str | None = None,
        text: Column | Sequence[Column] = "text",
        label: Column | None = "label",
        target: str = "class",
        header: bool | None = None,
        split_seed: int = 0,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of train.tsv, dev.tsv … or one file")
        self.columns, target = _chosen(layout, text, label, target, header)
        expected = "train.csv, .tsv or .jsonl with dev and test, or a file"
        self.files, self.split_seed = split_files(self.root, _split_of, expected, self.whole), split_seed
        undivided = "" in self.files
        if not undivided and not self.root.is_file():
            self._leave_out_unlabelled()
        self.describe_rows(("train", "val", "test") if undivided else self.files, target)

    def read(self, split: str) -> list[TextRecord]:
        """The rows of a split's file; of one file for all, those that fall to it."""
        if split in self.files:
            return self._read(self.files[split])
        rows = self._read(self.files[""])
        self._rows |= divide(rows, self.split_seed, [str(row.label) for row in rows])
        return self._rows[split]

    def _read(self, file: Path) -> list[TextRecord]:
        broken: list[DataError] = []

        def refuse(error: DataError) -> None:
            if self.on_error == "raise":
                raise DataError(f"{error}; dataset.on_error=skip leaves such lines out")
            broken.append(error)

        rows = read_texts(file, self.columns, refuse)
        if len(broken) > MOST_SKIPPED_FRACTION * (len(rows) + len(broken)):
            raise DataError(f"{file}: {len(broken)} of its lines can't be used, which is too many; {broken[0]}")
        if broken:
            self.note(f"{len(broken)} lines are left out, the first: {broken[0]}")
        return rows

    def _leave_out_unlabelled(self) -> None:
        for split, file in list(self.files.items()):
            if self.columns.label is not None and split != self.train and not has_label(file, self.columns):
                self.note(f"{file.name} has no labels and is not used; stage=predict input={file} answers it")
                del self.files[split]


def _chosen(
    layout: str | None, text: Column | Sequence[Column], label: Column | None, target: str, header: bool | None
) -> tuple[Columns, str]:
    if layout is not None:
        if layout not in LAYOUTS:
            raise ConfigError(unknown("dataset.layout", layout, LAYOUTS))
        columns = LAYOUTS[layout].columns
        return columns if label is not None else columns._replace(label=None), LAYOUTS[layout].target
    names = (text,) if isinstance(text, str | int) else tuple(text)
    if len(names) not in (1, 2):
        raise ConfigError(f"dataset.text={list(names)}: one column, or two for pairs")
    if target not in ("class", "number"):
        raise ConfigError(f"dataset.target={target}: class or number")
    return Columns(names, label, header=header), target


def _split_of(file: Path) -> str | None:
    return split_by_stem(file) if file.suffix in SUFFIXES else None


def sample(root: Path, count: int = 12) -> None:
    """Write a tiny set of two classes, and a number a row, below `root`: train.tsv and dev.tsv with a header."""
    root.mkdir(parents=True, exist_ok=True)
    words = {"good": ["a fine day", "what a joy", "well made"], "bad": ["a dull day", "what a bore", "badly made"]}
    for split in ("train", "dev"):
        lines = [f"{words[name][i % 3]} number {i}\t{name}\t{i}" for i in range(count) for name in words]
        (root / f"{split}.tsv").write_text("\n".join(["text\tlabel\tnumber", *lines]) + "\n", encoding="utf-8")
