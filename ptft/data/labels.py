"""Names of classes as numbers, and as the numbers that a checkpoint gives them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.files import nfc
from ptft.data.label_sets.handed_on import HandedOn
from ptft.data.label_sets.vectors import reordered
from ptft.errors import ConfigError, DataError, are, counted, shortened, unknown

NO_LABEL = ("-1", "-1.0")
"""What GLUE's files have where a label is not known."""
INTEGRAL = re.compile(r"(0|-?[1-9]\d*)\.0")
"""A whole number as a float is written."""
MANY = 10
"""Above so many different numbers that are not all whole, labels are hardly classes."""


def to_labels(
    names: Sequence[str],
    classes: Sequence[str],
    where: Callable[[int], str] = str,
    *,
    what: str = "class",
    train: str = "train",
    other: int | None = None,
) -> Tensor:
    """Long [N], the number of every name in `classes`; `other` where it is none of them.

    where: what to call name i in a message: its file, line and split. what: what a name is. train: the split that the
    classes are from. Raises DataError for a name that is no class, unless `other` is given.
    """
    number = {name: k for k, name in enumerate(classes)}
    labels: list[int | None] = [number.get(name) for name in names]
    if None in labels:
        same = _by_value(classes)
        labels = [
            number.get(same.get(plain(name), name), other) if label is None else label
            for name, label in zip(names, labels, strict=True)
        ]
    if None in labels:
        i = labels.index(None)
        alike = next((candidate for candidate in classes if _looks_like(candidate, names[i])), None)
        hint = "; dataset.classes keeps some" if what == "class" else ""
        hint = hint if alike is None else f"; {train} writes it {alike!r}: write both alike"
        listed = ", ".join(classes[:8])
        raise DataError(f"{where(i)} has the {what} {names[i]!r}, which {train} has not ({listed}){hint}")
    return torch.tensor(labels, dtype=torch.long)


def plain(name: str) -> str:
    """The name of a class as a value is written: true for True, 1 for 1.0; another name as it is."""
    if name.lower() in ("true", "false"):
        return name.lower()
    return name[:-2] if INTEGRAL.fullmatch(name) else name


def _by_value(classes: Sequence[str]) -> dict[str, str]:
    """Value -> the only class that is written so."""
    count = Counter(map(plain, classes))
    return {value: name for name in classes if count[value := plain(name)] == 1}


def one_spelling(names: Iterable[str], checkpoint_classes: Sequence[str]) -> set[str]:
    """The names of classes, each value of which is written in one way: as the checkpoint's classes are, else plainly
    where there are several ways.

    A file format, or a missing value in a column, decides whether a value is true or True, 1 or 1.0.
    """
    own, known = set(names), _by_value(checkpoint_classes)
    count = Counter(map(plain, own))
    several = {name: plain(name) if count[plain(name)] > 1 else name for name in own}
    return {name if name in checkpoint_classes else known.get(plain(name), several[name]) for name in own}


def _looks_like(name: str, other: str) -> bool:
    """Whether two different names may mean the same: 1 and 1.0, True and true."""
    return name.casefold() == other.casefold() or (number(name) is not None and number(name) == number(other))


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two different names that may mean the same: 1 and 1.0, True and true. Single letters (a and A) are none."""
    seen: dict[str | float, str] = {}
    for name in names:
        value = number(name)
        other = seen.setdefault(name.casefold() if value is None or value != value else value, name)
        if other != name and len(name + other) > 2:
            return other, name
    return None


def unlabelled(rows: Iterable[tuple[str, str]], train: str) -> list[str]:
    """The splits whose labels are all empty, or the one that GLUE writes for that, given (split, label) of each row.

    One that is trained on ("" where nothing is divided) is none of them.
    """
    labels: dict[str, set[str]] = {}
    for split, label in rows:
        labels.setdefault(split, set()).add(label)
    unknown = {"", *NO_LABEL} - labels.get(train, set())
    return [split for split, values in labels.items() if split not in (train, "") and values <= unknown]


def number(text: str) -> float | None:
    """The number that is written, None for any other word; it may be nan or infinite, also as a float of 32 bits."""
    try:
        value = float(text) if "_" not in text else None
    except ValueError:
        return None
    return value if value is None or abs(value) < torch.finfo(torch.float32).max else value * math.inf


def by_value(name: str) -> tuple[int, str]:
    """What names of classes are sorted by: numbers by their value, before names."""
    return (int(name), "") if name.isdecimal() and len(name) < 18 else (10**18, name)


def fraction_among(names: Iterable[str]) -> str | None:
    """One of the names that is no whole number, where all of them are finite numbers; a comma may be the point."""
    values = {name: number(name.replace(",", ".")) for name in sorted(names)}
    if not all(value is not None and math.isfinite(value) for value in values.values()):
        return None
    return next((name for name, value in values.items() if value is not None and value != round(value)), None)


def as_written(key: str, values: Sequence[Any], names: Sequence[str]) -> tuple[str, ...]:
    """The names that `values` of a YAML file or a command line mean: [no, 1e3] may be the booleans and numbers there.

    Raises ConfigError where one may mean two of the names.
    """
    written = []
    for value in values:
        same = [] if isinstance(value, str) else [name for name in names if _means(name, value)]
        if len(same) > 1 and str(value) not in same:
            raise ConfigError(f"{key}: {value} may be {' or '.join(map(repr, same))}; in YAML write it in quotes")
        written.append(same[0] if len(same) == 1 else nfc(str(value)))
    return tuple(written)


def kept_classes(values: Sequence[Any], own: Sequence[str], checkpoint_classes: Sequence[str]) -> tuple[str, ...]:
    """The names that `dataset.classes` keeps of a dataset's `own`; those of `checkpoint_classes` may be absent there.

    Raises ConfigError for names that are none, named twice, and for none at all.
    """
    if not own or set(own) == {""}:
        raise ConfigError(f"dataset.classes=[{_listed(values)}]: the dataset has no classes; leave it null")
    present = set(own)
    absent = set(checkpoint_classes) - present  # what is measured need not have all that it may have
    kept = tuple(
        name
        for name in as_written("dataset.classes", values, [*dict.fromkeys((*own, *checkpoint_classes))])
        if name not in absent
    )
    for name in kept:
        if name not in present:
            raise ConfigError(unknown("dataset.classes", name, own))
    if len(set(kept)) < len(kept) or not kept:
        raise ConfigError(f"dataset.classes={list(kept)}: names at least one class, and none twice")
    return kept


def renamed(names: Sequence[Any] | Mapping[Any, Any] | None, own: Sequence[str], partly: bool) -> dict[str, str]:
    """What `dataset.names` calls each class: a list in the order of a dataset's `own`, or by what they are there.

    partly: whether names of classes that are not there are left, as where some data are only measured. Raises
    ConfigError for other names than there are classes, or two alike.
    """
    if names is None:
        return {}
    if not own or set(own) == {""}:
        raise ConfigError(f"dataset.names={_listed(names)}: the dataset has no classes; leave it null")
    if not isinstance(names, Mapping) and len(names) != len(own):
        expected = f"there {are(len(own))} {counted(len(own), 'classes')} ({shortened(own, 8)})"
        raise ConfigError(
            f"dataset.names={_listed(names)}: names {len(names)}, {expected}; one for each, in this order"
        )
    pairs = names.items() if isinstance(names, Mapping) else zip(own, names, strict=True)
    called = {nfc(str(old)): nfc(str(new)) for old, new in pairs}
    if (strange := [old for old in called if old not in own]) and not partly:
        raise ConfigError(unknown("dataset.names", strange[0], own))
    shown = [called.get(name, name) for name in own]
    if twice := [name for name, count in Counter(shown).items() if count > 1]:
        raise ConfigError(f"dataset.names={_listed(names)}: two classes would be called {twice[0]}; name them apart")
    return called


def _listed(names: Sequence[Any] | Mapping[Any, Any]) -> str:
    return shortened(
        [f"{old}: {new}" for old, new in names.items()] if isinstance(names, Mapping) else list(map(str, names))
    )


def _means(name: str, value: Any) -> bool:
    try:
        read = yaml.safe_load(name)
    except yaml.YAMLError:
        return False
    return type(read) is type(value) and bool(read == value)


def check_range(labels: Tensor, total: int, split: str, where: str, *, least: int = 0) -> None:
    """Raises DataError for the first label (long [N]) of a split that is below `least`, or not below `total`."""
    wrong = ((labels < least) | (labels >= total)).nonzero().flatten()
    if len(wrong):
        i = int(wrong[0])
        classes = f"there {are(total)} {counted(total, 'classes')} (0 to {total - 1})"
        raise DataError(f"{where}: sample {i} of {split} has label {int(labels[i])}, but {classes}")


def renumbered(numbers: Tensor, old_classes: Sequence[str], new_classes: Sequence[str]) -> Tensor:
    """Labels (long, any shape) that count the names `old_classes` as those that count the same names `new_classes`.

    Negative ones, which say that something has no label, stay. Label sets, uint8 [..., K], get other columns.
    """
    if numbers.dtype == torch.uint8:
        return reordered(numbers, old_classes, new_classes)
    place = {name: k for k, name in enumerate(new_classes)}
    new = torch.tensor([place[name] for name in old_classes], device=numbers.device)
    return torch.where(numbers < 0, numbers, new[numbers.clamp(min=0)])


def of_classes(labels: Tensor, own: Sequence[str], kept: Sequence[str], other: int = -1) -> tuple[Tensor, Tensor]:
    """Which of the labels (long [N], `other` or numbers of `own`) are of a class that is kept, and these as `kept`
    counts them, both long [n]."""
    new = torch.full((len(own) + 1,), other)  # the last one is where `other` itself points
    place = {name: number for number, name in enumerate(own)}
    new[[place[name] for name in kept]] = torch.arange(len(kept))
    rows = (new[labels] >= 0).nonzero().flatten()
    return rows, new[labels[rows]]


def by_classes(examples: Examples, old_classes: Sequence[str], new_classes: Sequence[str]) -> Examples:
    """The same under the numbers of other classes, by their own `of_classes` where their targets are no labels."""
    of_classes: Callable[[Sequence[str]], Examples] | None = getattr(examples, "of_classes", None)
    return Renumbered(examples, old_classes, new_classes) if of_classes is None else of_classes(new_classes)


class Renumbered(HandedOn):
    """Examples whose labels count the names `old_classes`, under the numbers of the same `new_classes`."""

    def __init__(self, examples: Examples, old_classes: Sequence[str], new_classes: Sequence[str]) -> None:
        super().__init__(examples)
        self.old_classes, self.new_classes = tuple(old_classes), tuple(new_classes)
        self.labels = None if examples.labels is None else renumbered(examples.labels, old_classes, new_classes)

    def take(self, indices: Tensor) -> Batch:
        batch = self.examples.take(indices)
        return (
            {**batch, "label": renumbered(batch["label"], self.old_classes, self.new_classes)}
            if "label" in batch
            else batch
        )

    def to(self, device: torch.device) -> Renumbered:
        return Renumbered(self.examples.to(device), self.old_classes, self.new_classes)
