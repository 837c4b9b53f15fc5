"""Names of classes as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
