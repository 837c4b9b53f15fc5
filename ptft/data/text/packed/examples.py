"""Texts that share the rows of a batch and are told apart there.

Axes: B batch, N rows, T tokens of a row, P texts, n all ids.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.ragged import Ragged, flat_indices
from ptft.data.text.packed.packing import packed

ORDERS = 2**16
"""So many arrangements the epochs of a training draw from."""


class PackedTexts(Examples):
    """Rows of at most `room` tokens, each of one or more whole texts: P items of `ids`, none of them longer.

    answer: of every id, whether it is to be learned, as uint8 in a row like `ids`; None: all are.
    In every order of a training the texts of a length change places, so that they meet others. Batches are made on the
    CPU, as the arrangement follows from their indices.
    """

    def __init__(self, ids: Ragged, room: int, pad: int, answer: Ragged | None = None) -> None:
        self.ids, self.room, self.pad, self.answer = ids, room, pad, answer
        rows = packed(ids.lengths, room)
        self.texts = torch.tensor([text for row in rows for text in row], dtype=torch.long)
        counts = torch.tensor([len(row) for row in rows], dtype=torch.long)
        own = ids.lengths[self.texts]
        row = torch.arange(len(rows)).repeat_interleave(counts)
        begins = own.cumsum(0) - own
        used = torch.zeros(len(rows), dtype=torch.long).index_add_(0, row, own)
        self.width = int(used.max()) if len(rows) else 0
        self.places = row * self.width + begins - (used.cumsum(0) - used)[row]
        number = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row] + 1
        self.document = self._laid_out(number.repeat_interleave(own), own, 0)
        self.count, self.filled = len(rows), int(used.sum()) / max(1, len(rows) * room)
        self.lengths = torch.full((self.count,), self.width)  # rows are even, for `train.tokens`
        self.kept = -1
        self.arranged: tuple[Tensor, Tensor | None] = (torch.empty(0), None)

    def __len__(self) -> int:
        return self.count

    def shuffled(self, seed: int) -> Tensor:
        """A random order of the rows in a random arrangement: row r of arrangement a is number r + a N."""
        number = int(torch.randint(1, ORDERS, (), generator=torch.Generator().manual_seed(seed + 2**32)))
        return super().shuffled(seed) + number * len(self)

    def take(self, indices: Tensor) -> Batch:
        """`input` and `document` long [B, T], `mask` bool [B, T], `index`, and where it is known `answer` bool."""
        index = indices.cpu()
        number = int(index[0]) // len(self) if len(index) else 0
        if number != self.kept:  # an epoch has one arrangement
            self.arranged, self.kept = self._arrangement(number), number
        row = index % len(self)
        document = self.document[row].long()
        batch = {"input": self.arranged[0][row].long(), "mask": document > 0, "document": document, "index": index}
        return batch if self.arranged[1] is None else {**batch, "answer": self.arranged[1][row].bool()}

    def _arrangement(self, number: int) -> tuple[Tensor, Tensor | None]:
        """The ids of all rows, int32 [N, T], and which of them are to be learned; of number 0 the texts in order."""
        texts = self.texts
        if number:
            mixed = torch.randperm(len(texts), generator=torch.Generator().manual_seed(number))
            by_length = mixed[self.ids.lengths[mixed].argsort(stable=True)]
            texts = torch.empty_like(texts)
            texts[self.ids.lengths[self.texts].argsort(stable=True)] = by_length
        lengths = self.ids.lengths[texts]
        ids = self._laid_out(self.ids.at(texts).flat(), lengths, self.pad)
        answer = None if self.answer is None else self._laid_out(self.answer.at(texts).flat(), lengths, 0)
        return ids, answer

    def _laid_out(self, values: Tensor, lengths: Tensor, fill: int) -> Tensor:
        """Values of all texts as they lie in rows, int32 [N, T]."""
        rows = int(self.places[-1]) // self.width + 1 if len(self.places) else 0
        out = torch.full((rows * self.width,), fill, dtype=torch.int32)
        out[flat_indices(self.places, lengths)] = values.int()
        return out.view(rows, self.width)

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return 3 * self.document.nbytes

    def digest(self) -> bytes:
        """sha256 of the ids, of what is learned of them, and of how they share rows."""
        parts = [self.ids.flat(), self.ids.lengths, self.places]
        parts += [] if self.answer is None else [self.answer.flat()]
        return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).digest()
