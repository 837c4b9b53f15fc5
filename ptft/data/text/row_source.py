"""What every dataset of rows of texts shares: a sentence or two each, and a class, a number or nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from ptft.data.records import Columns, Row
from ptft.data.source import unknown
from ptft.data.text.examples import TextExamples
from ptft.data.text.sentences import sentences
from ptft.data.text.source import LabelledTexts
from ptft.errors import ConfigError, DataError


class RowTexts(LabelledTexts):
    """Texts that come in rows. A subclass sets `columns` and calls `describe_rows`, and implements `read`.

    Raises DataError naming the place of a row whose label can't be used.
    """

    columns: Columns

    @abstractmethod
    def read(self, split: str) -> list[Row]:
        """The rows of one of the dataset's own splits."""

    def describe_rows(self, splits: Iterable[str], target: str) -> None:
        """As `describe`, with the classes that the rows of the training split have."""
        splits, target = tuple(splits), "none" if self.columns.label is None else target
        if target not in ("class", "number", "none"):
            raise ConfigError(f"dataset.target={target}: class or number")
        if self.train not in splits:
            raise ConfigError(unknown("dataset.train", self.train, splits))
        names = {str(row.label) for row in self.rows(self.train)} if target == "class" else set()
        shape = {"reader": "sentences", "columns": list(self.columns.text)}
        self.describe(sorted(names, key=_order), splits, target, self._training_texts, **shape)

    def rows(self, split: str) -> list[Row]:
        """What `read` gave, which is called once a split."""
        if split not in self._rows:
            self._rows[split] = self.read(split)
        return self._rows[split]

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return {}

    def load(self, split: str) -> TextExamples:
        rows = self.rows(split)
        ids = sentences(self.tokenizer, [row.texts for row in rows], self.length)
        labels = None if self.columns.label is None else self._labels(rows, split)
        return TextExamples(ids, self.tokenizer.pad, labels)

    def _training_texts(self) -> Iterator[str]:
        return (text for row in self.rows(self.train) for text in row.texts)

    def _labels(self, rows: list[Row], split: str) -> Tensor:
        if self.target == "number":
            return torch.tensor([_number(row) for row in rows])
        number = {name: k for k, name in enumerate(self.own_classes)}
        for row in rows:
            if row.label not in number and self.classes is None:
                raise DataError(
                    f"{row.where}: {split} has the class {row.label!r}, which {self.train} has not "
                    f"({', '.join(self.own_classes[:8])}); dataset.classes keeps some"
                )
        present = {row.label for row in rows}
        if absent := [name for name in number if name not in present]:
            self.note(f"{split} has not all the classes; only in {self.train}: {', '.join(absent[:8])}")
        return torch.tensor([number.get(str(row.label), -1) for row in rows])


def _number(row: Row) -> float:
    try:
        return float(str(row.label))
    except ValueError as error:
        raise DataError(f"{row.where}: the label {row.label!r} is no number") from error


def _order(name: str) -> tuple[int, str]:
    """Numbers by their value, before names."""
    return (int(name), "") if name.isdecimal() else (10**18, name)
