"""A user's own torch Dataset: its items in splits, with their labels, names and groups. N: items of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptft.data.files import nfc
from ptft.data.source import DividedSource
from ptft.data.splits import apart
from ptft.data.stratify import numbers
from ptft.data.user_dataset.items import DatasetItem, label_of, read
from ptft.errors import ConfigError, DataError

TARGETS = ("targets", "labels")
"""What torchvision's datasets call the labels of all their items."""


class SplitDatasets(NamedTuple):
    """Datasets by the splits that they are; "" is one that is to be divided. name: of their class, for messages."""

    name: str
    splits: Mapping[str, Any]
    split_seed: int = 0
    notes: tuple[str, ...] = ()


class ItemContent(NamedTuple):
    """What an item holds: its bytes, and what else is to be kept of it (a size, a length, a text)."""

    content: bytes
    kept: Any


ContentOf = Callable[[DatasetItem], ItemContent]
"""Reads what an item holds, as the kind of dataset it is of does."""


@dataclass(frozen=True)
class DatasetItems:
    """Some `rows` (long [N]) of a dataset.

    labels: names. keys: what each is known by; by: what that is, "name", "content" or "place". groups: where they are
    asked for. contents: long [N], a number for each item's content; None where it is not known or not always the same.
    kept: what was kept of each, nothing where items were not read.
    """

    dataset: Any
    name: str
    rows: Tensor
    labels: Sequence[str]
    keys: Sequence[str]
    by: str
    groups: Sequence[str] = ()
    contents: Tensor | None = None
    kept: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: Tensor) -> DatasetItems:
        chosen = rows.tolist()
        return replace(
            self,
            rows=self.rows[rows],
            labels=[self.labels[i] for i in chosen],
            keys=[self.keys[i] for i in chosen],
            groups=[self.groups[i] for i in chosen] if self.groups else (),
            contents=None if self.contents is None else self.contents[rows],
            kept=[self.kept[i] for i in chosen] if self.kept else (),
        )

    def item(self, index: int) -> DatasetItem:
        return read(self.dataset, int(self.rows[index]), self.name)

    def where(self, index: int) -> str:
        return f"{self.name}: item {int(self.rows[index])}"

    def digest(self) -> bytes:
        """Of what is known without reading them again."""
        contents = b"" if self.contents is None else self.contents.numpy().tobytes()
        return blake2b("\0".join([*self.keys, *self.labels]).encode() + contents).digest()


class OwnSource(DividedSource):
    """A source of a user's own items. A subclass calls `take_in`, then `describe`.

    Items are `(input, label)`; what classes are called is the dataset's attribute `classes`, else labels are counted.
    Attributes of the dataset may say, for every item: `ids`, its name; `targets` or `labels`, its label, so that images
    are not read to know it; and what `dataset.group` names.
    Raises DataError naming an item that is none, or has a label that is none.
    """

    skips: ClassVar[bool] = False
    has_groups: ClassVar[bool] = True
    items: dict[str, DatasetItems]
    drawn_whole = False  # whether its splits are parts of one dataset, whose items have a number each

    def take_in(self, datasets: SplitDatasets, content_of: ContentOf, always: bool) -> tuple[str, ...]:
        """Read labels, and contents where they are needed or `always`; divide. The classes of the split to train on."""
        self.name = datasets.name
        for sentence in datasets.notes:
            self.note(sentence)
        self.items = {split: self._read(dataset, content_of, always) for split, dataset in datasets.splits.items()}
        if "" in self.items:
            self.items = self._divide(self.items[""], datasets.split_seed)
        leading = self.items[self.leading(self.items)]
        return _classes(leading.dataset, self.name) or tuple(sorted(set(leading.labels), key=_order))

    def _read(self, dataset: Any, content_of: ContentOf, always: bool) -> DatasetItems:
        count, classes = length(dataset, self.name), _classes(dataset, self.name)
        if not count:
            raise DataError(f"{self.name}: holds no items")
        targets = None if always else _targets(dataset, count, self.name)
        ids = _each(dataset, "ids", count)
        rows = torch.arange(count)
        groups = [] if self.grouping is None else self._group_of_each(dataset, count)
        if targets is not None:
            labels = [label_of(label, classes, f"{self.name}: item {i}") for i, label in enumerate(targets)]
            keys = ids or [str(i) for i in range(count)]
            return DatasetItems(dataset, self.name, rows, labels, keys, "name" if ids else "place", groups)
        labels, digests, kept = [], list[bytes](), []
        for i in range(count):
            item = read(dataset, i, self.name)
            labels.append(label_of(item.label, classes, item.where))
            held = content_of(item)
            digests.append(blake2b(held.content, digest_size=8).digest())
            kept.append(held.kept)
        again = blake2b(content_of(read(dataset, 0, self.name)).content, digest_size=8).digest()
        fixed = again == digests[0]
        if not fixed:
            self.note(
                f"{self.name} gives an item other values each time it is read, so what is measured is random too; "
                "random views belong into dataset.views"
            )
        keys = ids or ([digest.hex() for digest in digests] if fixed else [str(i) for i in range(count)])
        by = "name" if ids else "content" if fixed else "place"
        contents = numbers(digests) if fixed else None
        return DatasetItems(dataset, self.name, rows, labels, keys, by, groups, contents, kept)

    def _group_of_each(self, dataset: Any, count: int) -> list[str]:
        assert self.grouping is not None
        key = str(self.grouping.key)
        groups = _each(dataset, key, count)
        if groups is None:
            raise ConfigError(f"{self.grouping.shown}: {self.name} has no attribute {key} with one value for each item")
        if "" in groups and self.grouping.divides:
            raise DataError(f"{self.name}: item {groups.index('')} has no group, its {key} is empty")
        return groups

    def _divide(self, every: DatasetItems, seed: int) -> dict[str, DatasetItems]:
        self.drawn_whole = True
        parts = self.divide(self.name, range(len(every)), seed, lambda: every.keys, every.groups, every.labels)
        if self.drawn and self.divide_by == "name" and self.divided_by is None and every.by == "place":
            self.note(f"items of {self.name} are known by their places; an attribute ids would name them")
        return {split: every.at(torch.tensor(rows, dtype=torch.long)) for split, rows in parts.items()}

    def known_by(self, split: str) -> Sequence[str]:
        return self.items[split].keys

    def names(self, split: str) -> list[str]:
        items = self.items[split]
        prefix = "" if self.drawn_whole else f"{split} "
        if items.by != "name":
            return [f"{prefix}item {row}" for row in items.rows.tolist()]
        return apart({each: known.keys for each, known in self.items.items()}, split)

    def grouped(self, split: str) -> Sequence[str]:
        return self.items[split].groups

    def identities(self, split: str) -> Tensor | None:
        return self.items[split].contents

    def labels_of(self, split: str) -> Tensor:
        """Long [N], as `own_classes` count them."""
        items = self.items[split]
        return self.to_labels(items.labels, lambda i: f"{items.where(i)} ({split})")

    def _where(self) -> str:
        return self.name


def length(dataset: Any, name: str) -> int:
    """Raises DataError for a dataset that has none."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise DataError(f"{name}: lacks __len__; a dataset says how many items it has") from error


def _classes(dataset: Any, name: str) -> tuple[str, ...] | None:
    classes = getattr(dataset, "classes", None)
    if classes is None:
        return None
    if (
        isinstance(classes, str)
        or not isinstance(classes, Sequence)
        or not all(isinstance(each, str) for each in classes)
    ):
        raise DataError(f"{name}: its attribute classes must be a list of names")
    named = tuple(map(nfc, classes))
    if twice := [each for each in named if named.count(each) > 1]:
        raise DataError(f"{name}: its attribute classes names {twice[0]!r} twice")
    return named or None


def _targets(dataset: Any, count: int, name: str) -> list[Any] | None:
    """The labels that an attribute of the dataset has, if they are those of its items."""
    for attribute in TARGETS:
        targets = getattr(dataset, attribute, None)
        if not isinstance(targets, list | tuple | Tensor | np.ndarray) or len(targets) != count:
            continue
        values = list(targets) if isinstance(targets, list | tuple) else targets.tolist()
        looked_at = {0, count // 2, count - 1}
        if all(_same(values[i], read(dataset, i, name).label) for i in looked_at):
            return values
    return None


def _same(value: Any, label: Any) -> bool:
    single = label.item() if isinstance(label, Tensor | np.ndarray | np.generic) and label.ndim == 0 else label
    return type(single) in (int, str, bool) and value == single


def _each(dataset: Any, attribute: str, count: int) -> list[str] | None:
    """Texts of an attribute that has one value for each item, None where it has not."""
    values = getattr(dataset, attribute, None)
    if isinstance(values, Tensor | np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    return ["" if value is None else nfc(str(value).strip()) for value in values]


def _order(name: str) -> tuple[int, str]:
    """Numbers by their value, before names."""
    return (int(name), "") if name.isdecimal() and len(name) < 18 else (10**18, name)
