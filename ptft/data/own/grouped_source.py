"""What a divided dataset says of itself, and which of its examples belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ptft.core import Source
from ptft.data.cleaning.ignore import IgnoreList
from ptft.data.division.fold import Fold
from ptft.data.files import nfc, relative
from ptft.data.hub.cells import File
from ptft.data.label_sets import cells
from ptft.data.label_sets.vectors import to_vectors
from ptft.data.own.file_columns import PATH, ListColumns
from ptft.data.own.filename_pattern import Pattern
from ptft.data.own.grouping import Grouping, SharedGroups, Told
from ptft.data.own.text_record import Column
from ptft.data.own.unusable import Unread
from ptft.data.splits import SPLITS, divide, percent
from ptft.errors import ConfigError, shortened

T = TypeVar("T")

WITH_COLUMNS = {
    "image": "dataset=image_folder of a CSV of path,label and that column",
    "audio": "dataset=audio_folder of a CSV of path,label and that column",
    "text": "dataset=table of a file with that column",
}
"""What knows groups in every modality."""


class GroupedSource(Source):
    """A source that can keep groups in one split. A subclass sets `grouped_by` and implements `grouped` where it can.

    grouping: what says which examples belong together; None where nothing does. group_as: what tells groups apart where
    they are divided. drawn: whether ptft divided it, or a split of it; else whoever made the dataset did. fold: which
    part of what is trained on is the test split; fold_seed: draws it, `split_seed` of undivided data. list_path:
    the column of the files where a list names them. left_out: splits that are not used, and why. unusable: rows and
    files that are not used, and why. unread: those of them that are files of examples.
    has_sets: whether an example has any number of labels. separator: what stands between them in a cell; flags: the
    columns that hold 0 or 1 for one label each. without_effect: of what was typed to divide it, what no file has.
    """

    modality: ClassVar[str]
    noun: ClassVar[str]
    """What its examples are called in messages, in the plural."""
    has_groups: ClassVar[bool] = False
    """Whether it heeds `dataset.group`."""
    grouping: Grouping | None = None
    group_as: str
    own_classes: tuple[str, ...]
    classes: tuple[str, ...] | None
    called: Sequence[str] | Mapping[Any, str] | None
    root: Path | None
    val: str | float | None
    test: str | float | None
    divide_by: str
    whole: bool
    drawn: bool = False
    fold: Fold | None = None
    fold_seed: int | None = None
    list_path: str = PATH
    left_out: dict[str, str]
    unread: list[Unread]
    train: str
    splits: tuple[str, ...]
    has_sets: bool = False
    separator: str | None = None
    flags: Sequence[str] = ()
    ignore: IgnoreList | None = None
    cuts: ClassVar[bool] = False
    """Whether a vocabulary decides how many examples there are: what is too long becomes several, or none."""
    without_effect: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        """The folder that names of files are relative to."""
        return Path() if self.root is None else self.root if self.root.is_dir() else self.root.parent

    def names(self, split: str) -> Sequence[str]:
        """What to call each example of one of the dataset's own splits."""
        raise NotImplementedError(type(self).__name__)

    def used_splits(self) -> set[str]:
        """Those of the dataset's own splits that are train, val or test, or that a share of is."""
        return {split for split in (self.train, self.val, self.test) if isinstance(split, str) and split in self.splits}

    def known_by(self, split: str) -> Sequence[str] | None:
        """What each example of one of the dataset's own splits is known by."""
        raise NotImplementedError(type(self).__name__)

    def contents(self, split: str, rows: Tensor) -> Tensor | None:
        """Long [n], a number for all that each of some rows (long [n]) of a split holds; None: not known."""
        raise NotImplementedError(type(self).__name__)

    def earlier_identities(self, split: str) -> Tensor | None:
        """As `identities`, where checkpoints of an earlier version hold other numbers of what they were trained on."""
        return None

    def ignored(self, split: str) -> Tensor:
        """Long [n], which examples of one of the dataset's own splits are left out because a list names them."""
        if self.ignore is None:
            return torch.empty(0, dtype=torch.long)
        if split not in self._ignored:
            names = self.names(split)
            rows = self.ignore.rows_named(names)
            contents = self.contents(split, torch.tensor(rows)) if rows else None
            self._ignored[split] = self.ignore.heed(split, names, rows, contents)
        return self._ignored[split]

    @cached_property
    def _ignored(self) -> dict[str, Tensor]:
        return {}

    def without_ignored(self, paths: Sequence[File]) -> Sequence[File]:
        """Files below the root, to look into beforehand, without those that the list names."""
        named = set(self.ignore.rows_named([relative(path, self.base) for path in paths]) if self.ignore else ())
        return [path for row, path in enumerate(paths) if row not in named]

    def ignore_notes(self) -> list[str]:
        """What to say of the list of examples to leave out, of the splits that were looked at so far."""
        if self.ignore is None:
            return []
        return self.ignore.notes(self._ignored, self.used_splits() <= self._ignored.keys())

    def group_by(self, key: Column, divide_by: str) -> None:
        """Heed `dataset.group`, unless all is measured. Raises ConfigError where that can't be."""
        if self.whole and not isinstance(key, Told):
            return
        if not self.has_groups:
            what = f"{type(self).__name__} knows no groups of its {self.noun}"
            raise ConfigError(f"{Grouping(key).shown}: {what}; {WITH_COLUMNS[self.modality]} does, or leave it null")
        if divide_by != "name" and not isinstance(key, Told):
            raise ConfigError(f"dataset.group={key}: groups are divided by their names; dataset.divide_by=name")
        self.grouping = Grouping(key)
        self._groups = SharedGroups(self.grouping)

    @property
    def divided_by(self) -> Grouping | None:
        """What keeps examples together, and not only tells of them."""
        return self.grouping if self.grouping is not None and self.grouping.divides else None

    def read_sets(self, label: Any, separator: str | None) -> Any:
        """Heed `dataset.label_separator`, and `dataset.label` where it is a list; the (first) column of the labels.

        Raises ConfigError where they can't be.
        """
        cells.check(label, separator)
        if isinstance(label, list | tuple):
            self.flags = tuple(map(nfc, label))
            label = self.flags[0]
        self.separator, self.has_sets = separator, label is not None and (separator is not None or bool(self.flags))
        return label

    def check_list(self, root: Path) -> None:
        """Raises ConfigError where only a list could say several labels each, and `root` is a folder."""
        if self.has_sets and root.is_dir():
            key = "label" if self.flags else "label_separator"
            what = f"{root} is a folder, whose {self.noun} have the label of their folder; a CSV lists several each"
            raise ConfigError(f"dataset.{key}: {what}")

    def set_of(self, fields: Mapping[Any, Any], columns: ListColumns, where: str) -> str:
        """The labels of a row of a list that has sets of them, as `cells.joined` writes them. Raises RowError."""
        return cells.of_fields(fields, self.flags or [columns.target], self.separator, where)

    def named_by(self, pattern: Pattern | None) -> None:
        """Parts of the names of files can be groups."""
        if self.grouping is not None:
            self.grouping.pattern = pattern

    def grouped(self, split: str) -> Sequence[str]:
        """The group of each example of one of the dataset's own splits as it is written, where groups are asked for."""
        raise NotImplementedError(f"{type(self).__name__} names no groups")

    def groups_of(self, split: str) -> list[str]:
        """As `grouped`, a group that is written in two ways being one."""
        assert self.grouping is not None
        return self.grouping.values(self.grouped(split))

    def keys_of(self, split: str) -> Sequence[str] | None:
        """What says where each example of one of the dataset's own splits goes; None as of `known_by`."""
        return self.known_by(split) if self.divided_by is None else self.divided_as(self.grouped(split))

    def divided_as(self, groups: Sequence[str]) -> Sequence[str]:
        """What says where the examples of groups, as they are written, go."""
        return groups if self.grouping is None or self.group_as == "text" else self.grouping.values(groups)

    def shown(self, split: str) -> Mapping[str, Sequence[str]]:
        """Columns of one of the dataset's own splits that show what each example is, where its name does not."""
        return {}

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        """How many examples some of the dataset's own splits have, to be told of; None where nobody counted them.

        Nothing of published sets, which have what they have.
        """
        return {}

    def listed(self, columns: ListColumns) -> None:
        """Say which columns of a list of files were found, and keep them for what is measured and predicted later."""
        self.list_path, self.settled = columns.path, {**self.settled, **columns.found}
        if columns.note:
            self.note(columns.note)

    def divide(
        self,
        where: object,
        items: Sequence[T],
        seed: int,
        known_by: Callable[[], Sequence[str]],
        groups: Sequence[str] = (),
        names: Sequence[str] | None = None,
    ) -> dict[str, list[T]]:
        """Split -> the items that nobody divided: about 80, 10 and 10 percent, which is told; or all as "test" where
        they are only measured, or as "train" where the test split is a share or a fold of that.

        where: what they are of. known_by: gives the name of each, by which they are divided, or by their `groups`, or
        by their order. names: of their classes or labels. Raises DataError for groups that are too few.
        """
        if self.whole:
            return {"test": list(items)}
        self.drawn = True
        if isinstance(self.test, float) or self.fold is not None:
            self.fold_seed = seed
            return {"train": list(items)}
        grouping, groups = self.divided_by, self.divided_as(groups)
        keys = groups if grouping is not None else known_by() if self.divide_by == "name" else None
        parts = divide(items, seed, names, keys, sets=self.has_sets)
        if grouping is not None:
            grouping.check_parts(groups, parts)
        shares = ", ".join(f"{percent(len(parts[split]), len(items))} {split}" for split in SPLITS)
        self.note(f"{where} is not divided: {shares} (dataset.split_seed={seed}){self._unused()}")
        return parts

    def _unused(self) -> str:
        """What to say of drawn splits that the keys do not ask for."""
        keys = {"val": self.val, "test": self.test}
        return "".join(
            f"; dataset.{split}={'null' if own is None else own} leaves this {split} out"
            for split, own in keys.items()
            if split not in keys.values()
        )

    def names_in(self, sets: Iterable[str]) -> tuple[str, ...]:
        """The names of all labels: the columns where each has one, else those that stand in the sets."""
        return tuple(self.flags) or tuple(sorted(cells.most_common(sets)))

    def to_vectors(self, sets: Sequence[str], split: str) -> Tensor:
        """Label sets as uint8 [N, K]; labels that none has in training are told, unless some were chosen."""
        vectors, strange = to_vectors(sets, self.own_classes)
        if strange and self.classes is None:
            counts = [f"{name} {count:,}" for name, count in sorted(strange.items(), key=lambda item: -item[1])]
            self.note(f"{split} has labels that {self.train} has not, and they do not count: {shortened(counts, 8)}")
        return vectors

    def say_groups(self, name: str, groups: Sequence[str]) -> None:
        """Say how many groups there are in each split so far; `groups` are those of another split's examples."""
        before = self._groups.notes()
        if self.drawn and self.group_as == "text":
            self._groups.why = "they were divided by how they are written (dataset.group_as=text, as in older runs)"
        self._groups.add(name, groups)
        self.notes = (*(note for note in self.notes if note not in before), *self._groups.notes())

    def class_names(self) -> tuple[str, ...]:
        """Of the classes that are kept, as they are called."""
        called = self.called if isinstance(self.called, Mapping) else {}
        return tuple(called.get(name, name) for name in self.classes or self.own_classes)

    def _where(self) -> str:
        return type(self).__name__ if self.root is None else f"dataset.root={self.root}"

    def leave_out(self, split: str, why: str) -> None:
        """Say that a split is not used; it is an error where it is asked for as val."""
        self.left_out[split] = why
        self.note(f"{why} and is not used; stage=predict answers it")

    def tell_without_effect(self, sentences: Sequence[str]) -> None:
        """Say what no file has of what is to be held out; a training that begins is refused by it."""
        self.without_effect = (*self.without_effect, *sentences)
        for sentence in sentences:
            self.note(sentence)

    def check_held_out(self) -> None:
        """Raises ConfigError where something that is to be held out is not there: something else may be meant, which
        would be trained on. One that was trained before, or other data that are measured, are as they are."""
        if self.without_effect:
            raise ConfigError("; ".join(self.without_effect))

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes = (*self.notes, sentence)
