"""Texts in rows: which columns are asked for, and what a row gives."""

from __future__ import annotations

from typing import NamedTuple

Column = str | int
"""A name from the header (or a key of JSON objects), or a number from 0."""


class Columns(NamedTuple):
    """Which columns hold the texts, one or two, and which the label, if any.

    numbers: those of texts and label in a file whose first line does not hold the names; empty where it must.
    header: whether the first line is one; None: it is where a column has a name and stands in it.
    alone: whether a file that has texts only, as many columns as there are, may name them as it likes or not at all.
    hint: what to do where a column is missing, the end of a message.
    group: the column that says what a row belongs to, if any. split: the one that says its split, by its name.
    separator: what stands between the labels of a cell, where a row may have several; flags: or the columns that hold
        0 or 1 for one label each, `label` the first of them.
    """

    text: tuple[Column, ...]
    label: Column | None
    numbers: tuple[int, ...] = ()
    header: bool | None = None
    alone: bool = False
    hint: str = "; dataset.text=0 dataset.label=1 number the columns of a file without a header"
    group: Column | None = None
    split: str | None = None
    separator: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[Column, ...]:
        """The columns of the label."""
        return () if self.label is None else self.flags or (self.label,)

    @property
    def has_sets(self) -> bool:
        """Whether a row may have several labels, or none."""
        return self.label is not None and (self.separator is not None or bool(self.flags))

    @property
    def all(self) -> tuple[Column, ...]:
        return (*self.text, *self.labels)


class TextRecord(NamedTuple):
    """One example as text.

    label: None where none is asked for or it is missing; several as `label_sets.cells` joins them. where: its file and
    line. group, split: what it belongs to, "" where nobody asks or its cell is empty.
    """

    texts: tuple[str, ...]
    label: str | None
    where: str
    group: str = ""
    split: str = ""
