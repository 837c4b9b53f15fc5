"""Examples of uneven length: padded batches of them, and orders that put similar lengths together.

Axes: N all examples, B batch, T the longest of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Examples, length_mask
from ptft.errors import ConfigError

GROWTH = 1.1
"""Lengths that differ by no more than this factor count as equal when batches are made."""


def pad(items: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Items [t, ...] of uneven t -> [B, T, ...] filled up with `value`, and their lengths, long [B]."""
    lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
    return torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=value), lengths


def padded(items: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """As `pad`, with the mask bool [B, T], True where a value is real, in place of the lengths."""
    batch, lengths = pad(items, value)
    return batch, length_mask(lengths, batch.shape[1])


def starts_of(lengths: Tensor) -> Tensor:
    """Where each of several rows (long [N], their lengths) starts when they stand one after another, long [N]."""
    return lengths.cumsum(0) - lengths


def flat_indices(starts: Tensor, lengths: Tensor) -> Tensor:
    """Where the values of rows lie that have `starts` and `lengths` (long [N]), one row after the other: long [sum]."""
    return torch.arange(int(lengths.sum())) + (starts - starts_of(lengths)).repeat_interleave(lengths)


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

    def rows(self, indices: Tensor, fill: int, shift: Tensor | int = 0) -> tuple[Tensor, Tensor]:
        """The items at `indices` (long [B]) as [B, T] filled up with `fill`, T the longest; and their lengths.

        shift: read so many values later (long [B], in a circle), so that fixed blocks begin elsewhere.
        """
        lengths = self.lengths.index_select(0, indices)
        longest = self._longest(lengths)
        if not len(self.values):
            return self.values.new_empty(len(indices), longest), lengths
        starts = self.starts.index_select(0, indices) + shift
        positions = (starts.unsqueeze(1) + torch.arange(longest, device=indices.device)) % len(self.values)
        values = self.values[positions]
        return values if self.even is not None else values.masked_fill(~length_mask(lengths, longest), fill), lengths

    def take(self, indices: Tensor, pad: int, shift: Tensor | int = 0) -> Batch:
        """As `rows`: `input` long [B, T] filled up with `pad`, and its `mask` bool [B, T]."""
        values, lengths = self.rows(indices, pad, shift)
        return {"input": values.long(), "mask": length_mask(lengths, values.shape[1])}

    def flat(self) -> Tensor:
        """The values of all items, one after the other."""
        return self.values[flat_indices(self.starts, self.lengths)]

    def _longest(self, lengths: Tensor) -> int:
        if self.even is not None:
            return self.even
        return int(lengths.max()) if len(lengths) else 0


def grouped(lengths: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """`order` (long [N]) sorted by similar length, shortest first, and the longest possible at each place, long [N].

    Within a group of similar lengths the order stays as it was. The second result depends on the lengths alone, so
    batches that are cut by it are as many in every epoch, whatever the order.
    """
    group = (lengths.clamp(min=1).double().log() / math.log(GROWTH)).ceil().long()
    by_group = group[order].argsort(stable=True)
    sizes = group.bincount()
    longest = torch.zeros(len(sizes), dtype=torch.long).scatter_reduce(0, group, lengths, "amax")
    return order[by_group], longest.repeat_interleave(sizes)


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


def ends_within(lengths: Sequence[int], rows: int) -> list[int]:
    """Where to cut items of these lengths, in their order, so that padded batches hold no more than `rows` longest."""
    most, ends, begin, longest = rows * max(lengths, default=0), [], 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > begin and longest * (i + 1 - begin) > most:
            ends.append(i)
            begin, longest = i, length
    return ends


def sizes(examples: Examples, batch_size: int, tokens: int | None) -> tuple[Tensor | None, int, int | None]:
    """The examples' lengths (long [N]) where batches must heed them, and the size of a batch in examples or tokens."""
    lengths = examples.lengths
    if lengths is None:
        if tokens is not None:
            raise ConfigError(f"train.tokens={tokens}: these examples have no length to count; set train.batch_size")
        return None, batch_size, None
    if bool((lengths == lengths[0]).all()):
        return None, batch_size if tokens is None else max(1, tokens // int(lengths[0])), None
    return lengths.cpu(), batch_size, tokens
