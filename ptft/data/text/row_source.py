"""What every dataset of rows of texts shares: a sentence or two each, and a class, a number or nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from ptft.data.records import Columns, TextRecord
from ptft.data.text.examples import TextExamples
from ptft.data.text.sentences import sentences
from ptft.data.text.source import TextSource
from ptft.errors import ConfigError, DataError


class RowTexts(TextSource):
    """Texts that come in rows. A subclass sets `columns` and calls `describe_rows`, and implements `read`.

    Raises DataError naming the place of a row whose label can't be used.
    """

    columns: Columns

    @abstractmethod
    def read(self, split: str) -> list[TextRecord]:
        """The rows of one of the dataset's own splits."""

    def describe_rows(self, splits: Iterable[str], target: str) -> None:
        """As `describe`, with the classes that the rows of the training split have."""
        splits, target = tuple(splits), "none" if self.columns.label is None else target
        if target not in ("class", "number", "none"):
            raise ConfigError(f"dataset.target={target}: class or number")
        leading = self.leading(splits)
        names = {str(row.label) for row in self.rows(leading)} if target == "class" else set()
        shape = {"reader": "sentences", "columns": list(self.columns.text)}
        self.describe(sorted(names, key=_order), splits, target, self._training_texts, **shape)

    def rows(self, split: str) -> list[TextRecord]:
        """What `read` gave, which is called once a split."""
        if split not in self._rows:
            self._rows[split] = self.read(split)
        return self._rows[split]

    @cached_property
    def _rows(self) -> dict[str, list[TextRecord]]:
        return {}

    def load(self, split: str) -> TextExamples:
        rows = self.rows(split)
        ids = sentences(self.tokenizer, [row.texts for row in rows], self.length)
        labels = None if self.columns.label is None else self._labels(rows, split)
        return TextExamples(ids, self.tokenizer.pad, labels)

    def _training_texts(self) -> Iterator[str]:
        return (text for row in self.rows(self.train) for text in row.texts)

    def _labels(self, rows: list[TextRecord], split: str) -> Tensor:
        if self.target == "number":
            return torch.tensor([_number(row) for row in rows])
        names = [str(row.label) for row in rows]
        labels = self.to_labels(names, lambda i: f"{rows[i].where}: {split}")
        if absent := [name for name in self.own_classes if name not in set(names)]:
            self.note(f"{split} has not all the classes; only in {self.train}: {', '.join(absent[:8])}")
        return labels


def _number(row: TextRecord) -> float:
    try:
        return float(str(row.label))
    except ValueError as error:
        raise DataError(f"{row.where}: the label {row.label!r} is no number") from error


def _order(name: str) -> tuple[int, str]:
    """Numbers by their value, before names."""
    return (int(name), "") if name.isdecimal() else (10**18, name)
