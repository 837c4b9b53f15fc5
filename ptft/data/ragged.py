"""Examples of uneven length: padded batches of them, and orders that put similar lengths together.

Axes: N all examples, B batch, T the longest of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.core import Batch

GROWTH = 1.1
"""Lengths that differ by no more than this factor count as equal when batches are made."""


def padded(items: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Items [t, ...] of uneven t -> [B, T, ...] filled up with `value`, and the mask bool [B, T], True where real."""
    lengths = torch.tensor([len(item) for item in items])
    batch = torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=value)
    return batch, real(lengths, batch.shape[1])


def real(lengths: Tensor, longest: int) -> Tensor:
    """Long [B] -> the mask bool [B, T] of that many real positions each."""
    return torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)


class Ragged:
    """Items of uneven length in one row: `values` [sum of n], `starts` and `lengths` long [N], on one device.

    Items may overlap; those chosen by `at` share the values.
    """

    def __init__(self, values: Tensor, starts: Tensor, lengths: Tensor) -> None:
        self.values, self.starts, self.lengths = values, starts, lengths
        self.even = int(lengths[0]) if len(lengths) and bool((lengths == lengths[0]).all()) else None
        """The length of all, where it is the same: then a batch on a GPU is made without waiting for one."""

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, indices: Tensor) -> Ragged:
        return Ragged(self.values, self.starts[indices], self.lengths[indices])

    def to(self, device: torch.device) -> Ragged:
        return Ragged(self.values.to(device), self.starts.to(device), self.lengths.to(device))

    def take(self, indices: Tensor, pad: int, shift: Tensor | int = 0) -> Batch:
        """`input` long [B, T] filled up with `pad`, and its `mask` bool [B, T].

        shift: read so many values later (long [B], in a circle), so that fixed blocks begin elsewhere.
        """
        lengths = self.lengths.index_select(0, indices)
        longest = int(lengths.max()) if self.even is None else self.even
        begins = self.starts.index_select(0, indices) + shift
        places = (begins.unsqueeze(1) + torch.arange(longest, device=indices.device)) % len(self.values)
        mask = real(lengths, longest)
        ids = self.values[places].long()
        return {"input": ids if self.even is not None else ids.masked_fill(~mask, pad), "mask": mask}


def grouped(lengths: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """`order` (long [N]) sorted by similar length, shortest first, and the longest possible at each place, long [N].

    Within a group of similar lengths the order stays as it was. The second result depends on the lengths alone, so
    batches that are cut by it are as many in every epoch, whatever the order.
    """
    group = (lengths.clamp(min=1).double().log() / math.log(GROWTH)).ceil().long()
    found = group[order].argsort(stable=True)
    sizes = group.bincount()
    longest = torch.zeros(len(sizes), dtype=torch.long).scatter_reduce(0, group, lengths, "amax")
    return order[found], longest.repeat_interleave(sizes)


def cut(longest: Tensor, tokens: int) -> list[int]:
    """Where to cut an order whose places hold up to `longest` (long [N], rising), so that padded batches hold at most
    `tokens`: where each batch but the first begins. An example that is longer is a batch by itself.
    """
    begins, begin = [], 0
    for place, length in enumerate(longest.tolist()):
        if place > begin and length * (place + 1 - begin) > tokens:
            begins.append(place)
            begin = place
    return begins


def gather(values: Tensor, starts: Tensor, lengths: Tensor, fill: int) -> Tensor:
    """Rows of `values` [S] that begin at `starts` and have `lengths` (long [B]) -> [B, longest], filled up."""
    places = torch.arange(int(lengths.max()) if len(lengths) else 0)
    index = (starts.unsqueeze(1) + places).clamp_(max=max(len(values) - 1, 0))
    return values[index].masked_fill_(places >= lengths.unsqueeze(1), fill)


def begins(lengths: Tensor) -> Tensor:
    """Where each of several rows begins that stand one after another, long [N]."""
    return lengths.cumsum(0) - lengths
