"""`dataset.sampler=balanced`: epochs in which every class comes equally often. Axes: N examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Columns, Examples, Table
from ptft.data.label_sets.vectors import counts
from ptft.errors import ConfigError

BALANCED = "dataset.sampler=balanced"


class Balanced(Examples):
    """The same examples, whose epochs are N draws as before, equally many (up to one) of each class that has examples.

    Of label sets each label is a class, for which an example that has it is drawn, and so is having none. Within one
    the examples take turns: each comes once before any comes again. An epoch follows from its seed alone.
    Raises ConfigError where examples have no classes.
    """

    def __init__(self, examples: Examples, names: Sequence[str]) -> None:
        labels = examples.labels
        if labels is None or labels.is_floating_point() or not names:
            raise ConfigError(f"{BALANCED}: the examples have no classes that could come equally often; leave it null")
        self.examples, self.names = examples, list(names)
        self.labels, self.lengths, self.unreadable = labels, examples.lengths, examples.unreadable
        self.members = _members(labels.cpu(), len(self.names))
        self.notes = (self._note(labels.cpu()),)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: Tensor) -> Batch:
        return self.examples.take(indices)

    def shuffled(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        many = len(self.members)
        extra = set(torch.randperm(many, generator=generator)[: len(self) % many].tolist())
        drawn = [_turns(own, len(self) // many + (k in extra), generator) for k, own in enumerate(self.members)]
        order = torch.cat(drawn)
        return order[torch.randperm(len(order), generator=generator)]

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        return self.examples.score(lists)

    def table(self, columns: Columns) -> Columns:
        return self.examples.table(columns)

    def to(self, device: torch.device) -> Balanced:
        return Balanced(self.examples.to(device), self.names)

    @property
    def device(self) -> torch.device:
        return self.examples.device

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes

    @property
    def in_memory(self) -> bool:
        return self.examples.in_memory

    def _note(self, labels: Tensor) -> str:
        """What an epoch is."""
        found = counts(labels, len(self.names))
        found = torch.where(found > 0, found, len(labels) + 1)
        rarest, each = int(found.argmin()), len(self) / len(self.members)
        classes = "label (and of none at all)" if labels.ndim == 2 else "class"
        times = f"one of {self.names[rarest]} comes {each / int(found[rarest]):.1f} times"
        return f"{BALANCED}: an epoch is {len(self):,} draws, {each:,.0f} of each {classes}; {times}"


def _members(labels: Tensor, classes: int) -> list[Tensor]:
    """The examples (long [n]) of every class that has some; of label sets also those without any label."""
    groups = [*(labels.T > 0), (labels == 0).all(1)] if labels.ndim == 2 else [labels == k for k in range(classes)]
    return [own for group in groups if len(own := group.nonzero().flatten())]


def _turns(own: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of them, each once in a random order before any comes again."""
    rounds = [own[torch.randperm(len(own), generator=generator)] for _ in range(-(-count // len(own)))]
    return torch.cat([own[:0], *rounds])[:count]
