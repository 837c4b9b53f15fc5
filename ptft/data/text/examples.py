"""Token ids as models of sentences read them, [CLS] a [SEP] or [CLS] a [SEP] b [SEP], with what is asked of them.

Axes: N examples, B batch, T the longest of a batch. Which sentence a token belongs to follows from the first [SEP].
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.examples import SplitExamples
from ptft.data.ragged import Ragged, flat_indices, starts_of
from ptft.data.tokenizer import Tokenizer

NO_LABEL = -100
"""Where a token has no label of its own."""


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """The ids of every text, int32, without special ones around them."""
    values, lengths = tokenizer.encode_flat(texts)
    return Ragged(values, starts_of(lengths), lengths)


def in_a_row(items: Sequence[Sequence[int]]) -> Ragged:
    """Lists of whole numbers, one for every example, as int32."""
    lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
    values = torch.tensor([value for item in items for value in item], dtype=torch.int32)
    return Ragged(values, starts_of(lengths), lengths)


def room(tokenizer: Tokenizer, columns: int, length: int) -> int:
    """How many of `length` tokens are left for texts in so many columns beside the special ones."""
    separators = columns + (columns - 1) * (tokenizer.between - 1)
    return length - (tokenizer.cls >= 0) - separators * (tokenizer.sep >= 0)


def fitted(columns: Sequence[Ragged], budget: int) -> list[Ragged]:
    """One or two columns [N] cut at their ends to `budget` tokens together; of two the longer one is cut first."""
    if len(columns) == 1:
        return [_cut(columns[0], columns[0].lengths.clamp(max=budget))]
    a, b = (column.lengths for column in columns)
    half = budget // 2
    for_a = torch.where(b <= half, budget - b, torch.where(a <= budget - half, a, budget - half))
    kept = torch.where(a + b > budget, for_a, a)
    return [_cut(columns[0], kept), _cut(columns[1], torch.minimum(b, budget - kept))]


def _cut(column: Ragged, lengths: Tensor) -> Ragged:
    return Ragged(column.values, column.starts, lengths)


def joined(columns: Sequence[Ragged], tokenizer: Tokenizer) -> Ragged:
    """Columns [N] one after the other: `cls` before them, `sep` after each, perhaps twice between two; a negative one
    is left out."""
    opens, last = int(tokenizer.cls >= 0), int(tokenizer.sep >= 0)
    closes = [last * tokenizer.between] * (len(columns) - 1) + [last]
    lengths = torch.stack([column.lengths for column in columns]).sum(0) + opens + sum(closes)
    starts = starts_of(lengths)
    values = torch.empty(int(lengths.sum()), dtype=torch.int32)
    at = starts + opens
    if opens:
        values[starts] = tokenizer.cls
    for column, marks in zip(columns, closes, strict=True):
        values[flat_indices(at, column.lengths)] = column.flat().int()
        at = at + column.lengths + marks
        for mark in range(marks):
            values[at - 1 - mark] = tokenizer.sep
    return Ragged(values, starts, lengths)


class TextExamples(SplitExamples):
    """Token ids in memory, on one device; a batch is a gather, filled up with `pad`.

    labels: long [N] classes or float [N] numbers, or None.
    tags: a label for every token, NO_LABEL where there is none; as `label` [B, T] of a batch.
    more: further tensors of a batch by name, each [N, ...].
    """

    def __init__(
        self,
        ids: Ragged,
        pad: int,
        labels: Tensor | None = None,
        tags: Ragged | None = None,
        more: dict[str, Tensor] | None = None,
    ) -> None:
        self.ids, self.pad, self.labels, self.tags, self.more = ids, pad, labels, tags, more or {}
        self.lengths = ids.lengths.cpu()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Tensor) -> Batch:
        index = indices.to(self.device)
        batch = {**self.ids.take(index, self.pad), "index": index}
        if self.labels is not None:
            batch["label"] = self.labels.index_select(0, index)
        if self.tags is not None:
            batch["label"] = self.tags.take(index, NO_LABEL)["input"]
        return batch | {name: value.index_select(0, index) for name, value in self.more.items()}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> TextExamples:
        """Those at `rows` (long [n]), under new labels where they have some; the ids are shared."""
        return self._like(
            self.ids.at(rows),
            labels if labels is not None or self.labels is None else self.labels[rows],
            None if self.tags is None else self.tags.at(rows),
            {name: value[rows] for name, value in self.more.items()},
        )

    def to(self, device: torch.device) -> TextExamples:
        if device == self.device:
            return self
        return self._like(
            self.ids.to(device),
            None if self.labels is None else self.labels.to(device),
            None if self.tags is None else self.tags.to(device),
            {name: value.to(device) for name, value in self.more.items()},
        )

    def _like(self, ids: Ragged, labels: Tensor | None, tags: Ragged | None, more: dict[str, Tensor]) -> TextExamples:
        return TextExamples(ids, self.pad, labels, tags, more)

    @property
    def device(self) -> torch.device:
        return self.ids.values.device

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self.ids.values.nbytes + (0 if self.tags is None else self.tags.values.nbytes)

    def digest(self) -> bytes:
        """sha256 of the ids and all that is asked of them."""
        tensors = [self.labels, *(self.more[name] for name in sorted(self.more))]
        for ragged in (self.ids, self.tags):
            if ragged is not None:
                tensors += [ragged.flat(), ragged.lengths]
        digest = hashlib.sha256()
        for tensor in tensors:
            if tensor is not None:
                digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.digest()
