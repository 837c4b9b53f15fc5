"""Label sets as vectors of 0 and 1. Axes: N examples, K labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ptft.data.label_sets.cells import parts
from ptft.errors import ConfigError, DataError


def to_vectors(cells: Sequence[str], classes: Sequence[str]) -> tuple[Tensor, Mapping[str, int]]:
    """uint8 [N, K], 1 for each label that an example has; and how often names were met that are none of `classes`."""
    number = {name: k for k, name in enumerate(classes)}
    strange: dict[str, int] = {}
    rows, columns = list[int](), list[int]()
    for row, cell in enumerate(cells):
        for name in parts(cell):
            k = number.get(name)
            if k is None:
                strange[name] = strange.get(name, 0) + 1
            else:
                rows.append(row)
                columns.append(k)
    vectors = torch.zeros(len(cells), len(classes), dtype=torch.uint8)
    vectors[rows, columns] = 1
    return vectors, strange


def check_sets(classes: Sequence[str], per_class: int | None, where: str, train: str) -> None:
    """Raises DataError where no example has a label, ConfigError for so many of each class, which sets have not."""
    if not classes:
        raise DataError(f"{where}: no example of {train} has a label; see dataset.label and dataset.label_separator")
    if per_class is not None:
        why = "an example may have several labels, so there are not so many of each alone"
        remedy = "dataset.limit or dataset.fraction choose some (in stage=compare: compare.fractions)"
        raise ConfigError(f"dataset.per_class={per_class}: {why}; {remedy}")


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Vectors [B, K] as they are; single labels, long [B], as uint8 [B, K]."""
    if labels.ndim == 2:
        return labels
    return torch.zeros(len(labels), classes, dtype=torch.uint8, device=labels.device).scatter_(
        1, labels.unsqueeze(1), 1
    )


def counts(labels: Tensor, classes: int) -> Tensor:
    """How many examples have each label, long [K]: of single labels, long [N], or of vectors [N, K]."""
    return labels.sum(0, dtype=torch.long) if labels.ndim == 2 else labels.bincount(minlength=classes)


def reordered(vectors: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Columns that count the names `old` as those that count `new`, [..., K']: 0 where `old` has no such name."""
    place = {name: k for k, name in enumerate(old)}
    chosen = torch.tensor([place.get(name, len(old)) for name in new], dtype=torch.long, device=vectors.device)
    return torch.cat([vectors, vectors.new_zeros(*vectors.shape[:-1], 1)], -1)[..., chosen]
