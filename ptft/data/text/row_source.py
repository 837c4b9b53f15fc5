"""What every dataset of rows of texts shares: a sentence or two each, and a class, a number or nothing."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ptft.core import Examples
from ptft.data.cleaning.learned import learned
from ptft.data.labels import MANY, NO_LABEL, by_value, fraction_among, number, one_spelling, plain
from ptft.data.own import separator
from ptft.data.own.text_record import Columns, TextRecord
from ptft.data.own.text_rows import HEADERS, read_texts, text_rows
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError, first_cells
from ptft.data.splits import parts_notes
from ptft.data.text.examples import TextExamples
from ptft.data.text.sentences import cut_note, sentences
from ptft.data.text.source import TextSource
from ptft.errors import ConfigError, DataError

COUNTED = 2**25
"""Bytes of files up to which rows are counted that are not used."""


class RowTexts(TextSource):
    """Texts that come in rows. A subclass sets `columns` and calls `describe_rows`, and implements `read`.

    A split whose labels are all missing is left out where it is the test split. Raises DataError naming the place of a
    row that can't be used; with `on_error="skip"` it is left out.
    """

    has_groups = True
    columns: Columns
    _decimal_comma = False  # whether "0,5" may be a number, as where semicolons separate
    files: Mapping[str, Sequence[Path]]

    @abstractmethod
    def read(self, split: str, unusable: UnusableRows) -> list[TextRecord]:
        """The rows of one of the dataset's own splits; those that are none go to `unusable`."""

    def describe_rows(self, splits: Iterable[str], target: str | None, reader: str = "sentences") -> None:
        """As `describe`, with the classes that the rows of the training split have. target: None is "class", unless
        labels look like numbers to predict, which is asked about.
        """
        splits, target = tuple(splits), "none" if self.columns.label is None else target
        if self.columns.has_sets:
            self._describe_sets(splits, target, reader)
            return
        if target not in ("class", "number", "none", None):
            raise ConfigError(f"dataset.target={target}: class or number")
        leading = self.leading(splits)
        rows = self.rows(leading)
        names = set(self._named(rows)) if target in ("class", None) else set()
        written, names = names, one_spelling(names, () if self.like is None else self.like.classes)
        if len(names) < len(written):
            two = next((name, plain(name)) for name in sorted(written - names) if plain(name) != name)
            self.note(f"{two[1]} and {two[0]} are one class, and so are others that are written in two ways")
        if target is None and (example := fraction_among(names)) is not None:
            observed = f"{leading} has {len(names)} labels that are all numbers, e.g. {example}"
            regress = "dataset.target=number objective=regress predicts the number"
            regress += ", once it is written with a point" * ("," in example and not self._decimal_comma)
            if len(names) > MANY:
                raise ConfigError(f"dataset.target: {observed}; {regress}, dataset.target=class makes them classes")
            self.note(f"{observed}, and each is a class; {regress}")
        in_order = sorted(names, key=by_value)
        self.describe(in_order, splits, target or "class", self._training_texts, **self._shape(reader))

    def _describe_sets(self, splits: tuple[str, ...], target: str | None, reader: str) -> None:
        if target is not None:
            raise ConfigError(f"dataset.target={target}: a text may have several labels here; leave it null")
        names = sorted(self.names_in(self._named(self.rows(self.leading(splits)))), key=by_value)
        self.describe(self.flags or names, splits, "labels", self._training_texts, **self._shape(reader))

    def _shape(self, reader: str) -> dict[str, object]:
        """What the Spec says of the columns of texts."""
        shape: dict[str, object] = {"reader": reader, "columns": list(self.columns.text)}
        if self.columns.header and all(isinstance(name, int) for name in self.columns.text):
            shape["header"] = True
        return shape

    def _named(self, rows: Iterable[TextRecord]) -> list[str]:
        """The class of each row, or its labels as one text."""
        return [row.label or "" for row in rows] if self.columns.has_sets else [str(row.label) for row in rows]

    def rows(self, split: str) -> list[TextRecord]:
        """What `read` gave, which is called once a split, without those that lack a label."""
        if split not in self._rows:
            unusable = UnusableRows(self.on_error)
            rows = self._with_label(split, self.read(split, unusable), unusable)
            if self.divided_by is not None and (row := next((row for row in rows if not row.group), None)):
                raise self.divided_by.missing(row.where)
            for sentence in unusable.notes(len(rows), self._where() + f": {split}" * bool(split)):
                self.note(sentence)
            self.unusable += unusable.named()
            self._rows[split] = rows
        return self._rows[split]

    @cached_property
    def _rows(self) -> dict[str, list[TextRecord]]:
        return {}

    def of_files(self, split: str, files: Sequence[Path], unusable: UnusableRows) -> list[TextRecord]:
        """The rows of the files of a split; the labels of a split that is not trained on may be missing."""
        unlabelled = split not in (self.train, "")
        rows = [row for file in files for row in read_texts(file, self.columns, unusable, unlabelled=unlabelled)]
        for sentence in [*parts_notes({split: files}), *(note for file in files for note in separator.notes(file))]:
            self.note(sentence)
        self._decimal_comma = self._decimal_comma or any(separator.of_file(file) == ";" for file in files)
        return rows

    def say_headers(self, files: Mapping[str, Sequence[Path]]) -> None:
        """Note a header that is read as an example, because columns have numbers and nobody said that there is one."""
        if self.columns.header is not None or any(isinstance(name, str) for name in self.columns.all):
            return
        first = {file: tuple(first_cells(file)) for parts in files.values() for file in parts}
        for file, cells in first.items():
            alike = list(first.values()).count(cells) > 1
            if cells and (alike or HEADERS & {cell.strip().lower() for cell in cells}):
                message = f"the first line of {file.name} ({', '.join(cells)[:60]}) is read as an example"
                self.note(f"{message}; dataset.header=true leaves it out")
                return

    def split(self, name: str) -> Examples | None:
        own = {"val": self.val, "test": self.test}.get(name)
        if isinstance(own, str) and name not in self._made and self._is_unlabelled(own):
            self.leave_out(own, f"{self.files[own][0].name if own in self.files else own} has no labels")
            self.check()
        return super().split(name)

    def names(self, split: str) -> list[str]:
        return [self.below(row.where) for row in self.rows(split)]

    def shown(self, split: str) -> dict[str, list[str]]:
        """The text, and the second one of a pair."""
        rows = self.rows(split)
        numbers = range(len(self.columns.text) if rows else 0)
        return {"text" if not n else f"text_{n + 1}": [row.texts[n] for row in rows] for n in numbers}

    def known_by(self, split: str) -> list[str]:
        return text_keys(self.rows(split))

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: self._size(self.files[split]) for split in splits}

    def _size(self, files: Sequence[Path]) -> int | None:
        """How many rows of files can be used; None where that takes long, or can't be told."""
        if sum(file.stat().st_size for file in files) > COUNTED:
            return None
        rows = (row for file in files for row in text_rows(file, self.columns, unlabelled=True))
        try:
            return sum(not isinstance(row, RowError) for row in rows)
        except DataError:
            return None

    def grouped(self, split: str) -> list[str]:
        return [row.group for row in self.rows(split)]

    def load(self, split: str) -> TextExamples:
        rows = self.rows(split)
        ids, cut = sentences(self.tokenizer, [row.texts for row in rows], self.length)
        if cut:
            self.note(cut_note(split, cut, len(rows), self.length))
        labels = None if self.columns.label is None else self._labels(rows, split)
        return TextExamples(ids, self.tokenizer.pad, labels)

    def groups(self, split: str) -> Tensor:
        rows = self.rows(split)
        classed = self.target in ("class", "labels")
        return self._labels(rows, split) if classed else torch.zeros(len(rows), dtype=torch.long)

    def _training_texts(self) -> Iterator[str]:
        return (text for row in learned(self, lambda own: own.rows(own.train)) for text in row.texts)

    def _with_label(self, split: str, rows: list[TextRecord], unusable: UnusableRows) -> list[TextRecord]:
        """Those that have one; all where none has, in a split that is not trained on."""
        if self.columns.label is None:
            return rows
        labelled = [row for row in rows if row.label is not None]
        trained_on = split in (self.train, "")
        if rows and not labelled and trained_on:
            remedy = "stage=predict answers rows without" if self.whole else "dataset.label=null trains without"
            raise DataError(f"{rows[0].where}: has no label, nor has any other row; {remedy}")
        if len(labelled) == len(rows) or not (labelled or trained_on):
            return rows
        for row in rows:
            if row.label is None:
                unusable(RowError(row.where, f"has no label in column {self.columns.label!r}"))
        return labelled

    def _is_unlabelled(self, split: str) -> bool:
        """Whether it has rows, all without a label, or with the one that GLUE writes for that."""
        if self.columns.label is None or split == self.train or split not in self.splits:
            return False
        labels = {row.label for row in self.rows(split)}
        if self.columns.has_sets:
            return labels <= {None, ""}
        missing = {None, *NO_LABEL} - {row.label for row in self.rows(self.train)}
        return bool(labels) and labels <= missing

    def _labels(self, rows: list[TextRecord], split: str) -> Tensor:
        if self.target == "number":
            return torch.tensor([_number(row, self._decimal_comma) for row in rows], dtype=torch.float32)
        names = self._named(rows)
        if self.columns.has_sets:
            return self.to_vectors(names, split)
        return self.to_labels(names, lambda i: f"{rows[i].where}: {split}")


def text_keys(rows: Iterable[TextRecord]) -> list[str]:
    """What rows are known by, their texts: a row may move in its file, and its label may be corrected."""
    return ["\0".join(row.texts) for row in rows]


def _number(row: TextRecord, comma: bool) -> float:
    """comma: whether one may stand in place of the point."""
    text = str(row.label).replace(",", ".") if comma else str(row.label)
    value = number(text)
    if value is None:
        point = "; a number is written with a point" if "," in text else ""
        raise DataError(f"{row.where}: the label {row.label!r} is no number{point}")
    if not math.isfinite(value):
        large = math.isfinite(float(text))
        what = (
            f"is beyond {torch.finfo(torch.float32).max:.2g}, the largest of 32 bits"
            if large
            else "is no finite number"
        )
        raise DataError(f"{row.where}: the label {row.label!r} {what}")
    return value
