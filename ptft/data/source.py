"""What every divided dataset shares, whatever it holds: its keys, and which examples are train, val and test."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ptft.core import Examples, Spec
from ptft.data.cleaning.ignore import IgnoreList
from ptft.data.division import fold as folds
from ptft.data.division.parts import divided, reduced
from ptft.data.examples import SplitExamples
from ptft.data.label_sets.cells import proposed
from ptft.data.label_sets.vectors import check_sets, reordered
from ptft.data.labels import alike, check_range, kept_classes, of_classes, renamed, to_labels
from ptft.data.own.grouped_source import GroupedSource
from ptft.data.own.text_record import Column
from ptft.data.splits import OTHER_CLASS, SPLITS, Part, unused_note, val_among
from ptft.data.stratify import check_amounts, check_choices, check_shares
from ptft.errors import ConfigError, DataError, NoTrainingSplit, are, counted, reads_no_files, shortened, unknown


class DividedSource(GroupedSource):
    """A source of examples in splits. A subclass sets `own_classes` and `splits`, and implements `load`.

    root: folder (or file) of the data.
    train: the split to train on. val: a split, a fraction of the training split, or None.
    test: likewise; never the split that is trained on.
    limit, fraction, per_class: how much of the training part to use, at most one of them; stratified by class.
    classes: names of the classes to keep, in the order of the labels they get.
    names: what classes are called, in the order of the dataset's own, or by these.
    download: whether missing files are fetched.
    on_error: "raise" or "skip" unreadable files.
    divide_by: what says where an example goes in a dataset, or a split, that is to be divided: "name", what the example
        is known by alone, so that others that come or go do not move it; or "order", all of them, as in runs whose
        configuration has not the key.
    group: what says which examples belong together, so that one split has all of them where it is divided. group_as:
        by its "value", 7 for 7.0 too; or the "text" of its cell, as in runs whose configuration has not the key.
    fold: "2/5", the second of five parts of what there is to train on is the test split, and the dataset's own is left
        out; each example is in one of them, whatever `seed`, `limit` and the like are. None: `test` says what is.
    seed: decides what is random about the choice of examples.
    like: the Spec of the checkpoint that a run starts from.
    whole: whether nothing is trained on and all that there is is measured: no training split is needed, and what comes
        undivided is the test split.
    ignore: the file that names examples which are used for nothing; see `ptft.data.cleaning.ignore`.
    Raises ConfigError for values that can't work together.
    """

    skips: ClassVar[bool] = True
    """Whether it has files or lines that `on_error="skip"` can leave out."""
    embedded: ClassVar[bool] = False
    """Whether it reads no files, so that a root could not be heeded."""
    splits: tuple[str, ...]

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        train: str = "train",
        val: str | float | None = "val",
        test: str | float | None = "test",
        limit: int | None = None,
        fraction: float | None = None,
        per_class: int | None = None,
        classes: Sequence[str] | None = None,
        names: Sequence[str] | Mapping[Any, str] | None = None,
        download: bool = True,
        on_error: str = "raise",
        divide_by: str = "order",
        group: Column | None = None,
        group_as: str = "text",
        fold: str | None = None,
        seed: int = 0,
        like: Spec | None = None,
        whole: bool = False,
        ignore: str | Path | None = None,
    ) -> None:
        self.root = None if root is None else Path(os.path.expanduser(root))
        self.like, self.whole, self.train, self.val, self.test = like, whole, train, val, test
        self.limit, self.fraction, self.per_class = limit, fraction, per_class
        self.classes, self.called = None if classes is None else tuple(classes), names
        self.download, self.on_error, self.divide_by, self.seed = download, on_error, divide_by, seed
        self.left_out, self.unusable, self.unread = dict[str, str](), list[tuple[str, str]](), list[Any]()
        self.ignore = None if ignore is None else IgnoreList(ignore)
        self._raw, self._made, self.group_as = dict[str, SplitExamples](), dict[str, Examples | None](), group_as
        check_amounts(limit, fraction, per_class)
        check_shares(val, test)
        check_choices(on_error, divide_by, group_as)
        self.fold = None if fold is None or whole else folds.parse(fold)
        if self.fold is not None and isinstance(test, float):
            raise ConfigError(f"dataset.fold={fold} and dataset.test={test}: each says what is test; type one of them")
        if group is not None:
            self.group_by(group, divide_by)
        if self.embedded and root is not None:
            raise reads_no_files(type(self).__name__, root, self.modality)
        if on_error == "skip" and not self.skips:
            raise ConfigError(f"dataset.on_error=skip: {type(self).__name__} can leave nothing out; raise works")
        if like is not None and like.modality != self.modality:
            raise ConfigError(f"the checkpoint was trained on {like.modality}, dataset= is one of {self.noun}")

    @abstractmethod
    def load(self, split: str) -> SplitExamples:
        """All examples of one of the dataset's own splits: `labels` count its own classes. Raises DataError."""

    def choose(self, part: Part) -> Examples:
        """The examples of `part`, with its labels if they are classes, as batches are to be made of them."""
        return self.loaded(part.split).at(part.rows, part.labels if self.spec.target in ("class", "labels") else None)

    def groups(self, split: str) -> Tensor:
        """Long [N], what a smaller choice of a split keeps in proportion: the classes; or label sets uint8 [N, K]."""
        labels = self.loaded(split).labels
        assert labels is not None
        return labels

    def known_by(self, split: str) -> Sequence[str] | None:
        """What each example of one of the dataset's own splits is known by, whatever else is there: its file's place
        below the root, or its text. None where the examples are a published set, which nobody adds to."""
        return self.loaded(split).known_by()

    def names(self, split: str) -> Sequence[str]:
        return self.known_by(split) or [f"{split} {i}" for i in range(len(self.groups(split)))]

    def identities(self, split: str) -> Tensor | None:
        """Long [N], a number for the content of each example of one of the dataset's own splits; None: not known."""
        return self.loaded(split).identities()

    def contents(self, split: str, rows: Tensor) -> Tensor | None:
        """As `identities` of some rows (long [n]) of a split, from all that they hold."""
        whole = self.loaded(split).contents(rows)
        known = self.identities(split) if whole is None else None
        return whole if known is None else known[rows]

    def earlier_fingerprint(self) -> str:
        """As `fingerprint` was before 0.2, where it held computed values."""
        return self.fingerprint()

    def split(self, name: str) -> Examples | None:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def loaded(self, split: str) -> SplitExamples:
        """What `load` gave, which is called once a split."""
        if split not in self._raw:
            self._raw[split] = self.load(split)
        return self._raw[split]

    def to_labels(
        self, names: Sequence[str], where: Callable[[int], str], classes: Sequence[str] | None = None
    ) -> Tensor:
        """Long [N], the numbers of names in `classes`, else in `own_classes`; OTHER_CLASS where `self.classes` keeps
        some and it is another.

        where: what to call example i in a message, and its split. Raises DataError for a name that is no class.
        """
        classes = self.own_classes if classes is None else classes
        other = None if self.classes is None else OTHER_CLASS
        return to_labels(names, classes, where, train=self.train, other=other)

    def leading(self, splits: Iterable[str]) -> str:
        """Which of `splits` says what the dataset is: the one to train on, or with `whole` the one that is measured.
        Raises ConfigError where there is none."""
        names = tuple(splits)
        if not self.whole:
            if self.train in names:
                return self.train
            raise NoTrainingSplit(unknown("dataset.train", self.train, names))
        chosen = next((name for name in (self.test, self.val, self.train) if name in names), None)
        if chosen is None and len(names) != 1:
            key = next((key for key in ("test", "val") if isinstance(getattr(self, key), str)), "train")
            raise ConfigError(unknown(f"dataset.{key}", getattr(self, key), names))
        split = names[0] if chosen is None else str(chosen)
        if split not in (self.test, self.val):
            self.note(f"there is no test and no val split, so all of {split} is measured")
        self.train = split
        self.val, self.test = (split, None) if split == self.val else (self.val if self.val in names else None, split)
        return split

    def check(self) -> None:
        """Raises ConfigError for splits or classes that the dataset does not have; call it when it is known."""
        if self.whole:
            self.leading(self.splits)
        else:
            self._check_splits()
        used = {self.train, self.val, self.test, *SPLITS, *self.left_out}
        if self.fold is not None:
            self._test_fold()
        if unused := self.sizes([split for split in self.splits if split not in used]):
            self.note(unused_note(unused, self.noun, train=not self.whole))
        self._check_classes()

    def _make(self, name: str) -> Examples | None:
        if (part := self.part(name)) is None:
            return None
        if len(part.rows) == 0:
            hints = {"val": "; dataset.val=null trains without one", "test": "; dataset.test=null leaves it out"}
            left = " without those that dataset.ignore names" if self.ignore else ""
            said = f"{self._where()}: the {name} split ({part.split}) holds no {self.noun}{left}"
            raise DataError(said + hints.get(name, "; see dataset.train"))
        if self.divided_by is not None:
            groups = self.groups_of(part.split)
            self.say_groups(name, [groups[row] for row in part.rows.tolist()])
        return self.choose(part)

    def part(self, name: str) -> Part | None:
        """Which examples are "train", "val" or "test"."""
        if name == "train":
            return reduced(self, self._divided["train"])
        if name == "test" and self.fold is not None:
            return self._divided["test"]
        own = {"val": self.val, "test": self.test}.get(name)
        return self._all(own) if isinstance(own, str) else None if own is None else self._divided[name]

    @cached_property
    def _divided(self) -> dict[str, Part]:
        """As `parts.divided`, of all of the split to train on that is kept."""
        return divided(self, self._all(self.train))

    def undivided(self) -> tuple[Part, Examples]:
        """All that is kept of the split to train on, whatever of it is val or test."""
        whole = self._all(self.train)
        return whole, self.choose(whole)

    def _all(self, split: str) -> Part:
        """Every row of a split that is kept, labels checked and renumbered."""
        part, ignored = self._of_classes(split), self.ignored(split)
        return part.at((~torch.isin(part.rows, ignored)).nonzero().flatten()) if len(ignored) else part

    def _of_classes(self, split: str) -> Part:
        """Every row of a split whose class is kept; without classes, and of label sets, every row."""
        labels = self.groups(split)
        every, total = torch.arange(len(labels)), len(self.own_classes)
        if labels.ndim == 2:
            return Part(split, every, reordered(labels, self.own_classes, self.classes or self.own_classes))
        if total:
            check_range(labels, total, split, self._where(), least=0 if self.classes is None else OTHER_CLASS)
        if not total or self.classes is None:
            return Part(split, every, labels)
        rows, kept = of_classes(labels, self.own_classes, self.classes)
        if self.whole and len(rows) < len(labels):
            other = len(labels) - len(rows)
            self.note(f"{other} of {counted(len(labels), self.noun)} {are(other)} of classes not in dataset.classes")
        return Part(split, rows, kept)

    def _test_fold(self) -> None:
        """The test split is a fold of what is trained on; that of the dataset is left out, which is said."""
        if isinstance(self.test, str) and self.test in self.splits:
            which = f"fold {self.fold.number} of {self.fold.total} of {self.train}" if self.fold else ""
            self.note(f"{self.test} is left out, as {which} is the test split (dataset.fold)")
        self.test = None

    def _check_splits(self) -> None:
        if self.test == self.train:
            self.test = None
            self.note(f"trained on the {self.train} split (dataset.train), so there is no test split")
        if self.test in self.left_out or (self.test == "test" and "test" not in self.splits):
            self.test = None
        if self.val == "val" and "val" not in (*self.splits, *self.left_out) and self.train in self.splits:
            self._choose_val()
        if self.val == self.train:
            raise ConfigError(f"dataset.val={self.val}: is the split to train on; a fraction of it (0.1) or null works")
        for key, value in (("train", self.train), ("val", self.val), ("test", self.test)):
            hint = "" if key == "train" else f"; a fraction of train (dataset.{key}=0.1) or null works as well"
            if value in self.left_out:
                raise DataError(f"dataset.{key}={value}: {self.left_out[value]}{hint}")
            if isinstance(value, str) and value not in self.splits:
                kind = NoTrainingSplit if key == "train" else ConfigError
                raise kind(unknown(f"dataset.{key}", value, self.splits) + hint)

    def _choose_val(self) -> None:
        """What takes the place of the val split that the dataset has not, which is said."""
        instead = val_among(name for name in self.splits if name not in (self.train, self.test))
        if isinstance(instead, float):
            self.note(f"there is no val split: a tenth of {self.train} is val (dataset.val=null trains on all of it)")
        elif instead is not None:
            self.note(f"{instead} is the val split (dataset.val)")
        self.val = self.val if instead is None else instead
        check_shares(self.val, self.test)

    def _check_classes(self) -> None:
        if self.has_sets:
            check_sets(self.own_classes, self.per_class, self._where(), self.train)
        elif hint := proposed(self.own_classes):
            self.note(hint)
        if self.classes is None and (two := alike(self.own_classes)):
            self.note(f"{two[0]} and {two[1]} are two classes; write them alike if they mean the same")
        if self.classes is not None:
            checkpoint_classes = self.like.classes if self.whole and self.like is not None else ()
            self.classes = kept_classes(self.classes, self.own_classes, checkpoint_classes)
        if called := renamed(self.called, self.own_classes, self.whole):
            self.called, self.settled = called, {**self.settled, "names": called}
            self.note(f"classes are called: {shortened([f'{old} {new}' for old, new in called.items()], 8)}")
