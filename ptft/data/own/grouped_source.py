"""What a divided dataset says of itself, and which of its examples belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ptft.core import Source
from ptft.data.own.filename_pattern import Pattern
from ptft.data.own.grouping import Grouping, SharedGroups
from ptft.data.own.text_record import Column
from ptft.errors import ConfigError

WITH_COLUMNS = {
    "image": "dataset=image_folder of a CSV of path,label and that column",
    "audio": "dataset=audio_folder of a CSV of path,label and that column",
    "text": "dataset=table of a file with that column",
}
"""What knows groups in every modality."""


class GroupedSource(Source):
    """A source that can keep groups in one split. A subclass sets `grouped_by` and implements `grouped` where it can.

    grouping: what says which examples belong together; None where nothing does. left_out: splits that are not used, and
    why. unusable: rows and files that are not used, and why.
    """

    modality: ClassVar[str]
    noun: ClassVar[str]
    """What its examples are called in messages, in the plural."""
    has_groups: ClassVar[bool] = False
    """Whether it heeds `dataset.group`."""
    grouping: Grouping | None = None

    def group_by(self, key: Column, divide_by: str) -> None:
        """Heed `dataset.group`. Raises ConfigError where that can't be."""
        if not self.has_groups:
            what = f"{type(self).__name__} knows no groups of its {self.noun}"
            raise ConfigError(f"dataset.group={key}: {what}; {WITH_COLUMNS[self.modality]} does, or leave it null")
        if divide_by != "name":
            raise ConfigError(f"dataset.group={key}: groups are divided by their names; dataset.divide_by=name")
        self.grouping = Grouping(key)
        self._groups = SharedGroups(self.grouping)

    def named_by(self, pattern: Pattern | None) -> None:
        """Parts of the names of files can be groups."""
        if self.grouping is not None:
            self.grouping.pattern = pattern

    def grouped(self, split: str) -> Sequence[str]:
        """The group of each example of one of the dataset's own splits, where groups are asked for."""
        raise NotImplementedError(f"{type(self).__name__} names no groups")

    def say_groups(self, name: str, groups: Sequence[str]) -> None:
        """Say how many groups there are in each split so far; `groups` are those of another split's examples."""
        before = self._groups.notes()
        self._groups.add(name, groups)
        self.notes = (*(note for note in self.notes if note not in before), *self._groups.notes())

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes = (*self.notes, sentence)
