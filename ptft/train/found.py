"""What an evaluation found of each example, kept so that what was measured can be measured of other samples of them.

Axes: N examples that were measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptft.core import Batch, Step
from ptft.runtime.together.alone import Lists

PLACE = "each example: "
"""Begins the names under which what an evaluation keeps of each example travels among its lists."""


@dataclass
class Found:
    """Give one to `evaluate`, which fills it, everything on the CPU and in the order of the examples.

    index: long [N], which examples of the split. each, lists: as in the `Step`s, first axis N.
    """

    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    each: dict[str, Tensor] = field(default_factory=dict)
    lists: dict[str, Tensor] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Tensor]:
        return {**self.lists, **self.each}

    def at(self, rows: Tensor) -> Found:
        """Of some of them, long [n]."""
        each, lists = ({name: values[rows] for name, values in some.items()} for some in (self.each, self.lists))
        return Found(self.index[rows], each, lists)

    def fill(self, parts: Lists, lists: dict[str, Tensor]) -> None:
        """parts: what `lists_of` gave of every batch; lists: joined, of all examples."""
        joined = {name.removeprefix(PLACE): torch.cat(values).cpu() for name, values in parts.items()}
        index = joined.pop("index", self.index)
        order = index.argsort(stable=True)
        self.index, self.each = index[order], {name: values[order] for name, values in joined.items()}
        self.lists = {name: values.cpu()[order] for name, values in lists.items()}


def lists_of(batch: Batch, step: Step) -> dict[str, Tensor]:
    """What is to be kept of a batch, under names that `taken` knows: of a Step that says nothing of each the index."""
    return {f"{PLACE}{name}": value.detach() for name, value in {"index": batch["index"], **step.each}.items()}


def taken(parts: Lists) -> Lists:
    """Take out of the lists of an evaluation what `lists_of` put there."""
    return {name: parts.pop(name) for name in list(parts) if name.startswith(PLACE)}
