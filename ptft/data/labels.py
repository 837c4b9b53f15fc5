"""Names of classes as numbers, and as the numbers that a checkpoint gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.errors import DataError


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
    labels = [number.get(name, other) for name in names]
    if None in labels:
        i = labels.index(None)
        hint = "; dataset.classes keeps some" if what == "class" else ""
        listed = ", ".join(classes[:8])
        raise DataError(f"{where(i)} has the {what} {names[i]!r}, which {train} has not ({listed}){hint}")
    return torch.tensor(labels, dtype=torch.long)


def renumbered(numbers: Tensor, here: Sequence[str], there: Sequence[str]) -> Tensor:
    """Labels (long, any shape) that count the names `here` as those that count the same names `there`.

    Negative ones, which say that something has no label, stay.
    """
    place = {name: k for k, name in enumerate(there)}
    new = torch.tensor([place[name] for name in here], device=numbers.device)
    return torch.where(numbers < 0, numbers, new[numbers.clamp(min=0)])


class Renumbered(Examples):
    """Examples whose labels count the names `here`, under the numbers of the same names `there`."""

    def __init__(self, examples: Examples, here: Sequence[str], there: Sequence[str]) -> None:
        self.examples, self.here, self.there = examples, tuple(here), tuple(there)
        self.lengths, self.notes = examples.lengths, examples.notes
        self.labels = None if examples.labels is None else renumbered(examples.labels, here, there)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: Tensor) -> Batch:
        batch = self.examples.take(indices)
        return {**batch, "label": renumbered(batch["label"], self.here, self.there)} if "label" in batch else batch

    def score(self, lists: dict[str, Tensor]) -> dict[str, float]:
        return self.examples.score(lists)

    def to(self, device: torch.device) -> Renumbered:
        return Renumbered(self.examples.to(device), self.here, self.there)

    @property
    def device(self) -> torch.device:
        return self.examples.device

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes

    @property
    def in_memory(self) -> bool:
        return self.examples.in_memory
