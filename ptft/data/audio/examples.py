"""Recordings as examples: in memory, or yet to be read; what is said in them as a class or as a transcript.

Axes: N all examples, B batch, S samples of all recordings one after another, U tokens of a transcript.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.examples import ReadExamples, SplitExamples, left_out
from ptft.data.ragged import Ragged, pad, starts_of
from ptft.errors import DataError

PAD = -1
"""What fills up a transcript in a batch."""


@dataclass(frozen=True)
class Said:
    """What is said in each recording: `labels` long [N], or transcripts `tokens` long [N, U] padded with PAD.

    Where it is neither, nothing is known, and `count` alone says how many there are.
    """

    count: int
    labels: Tensor | None = None
    tokens: Tensor | None = None

    def at(self, rows: Tensor) -> Said:
        labels, tokens = (None if found is None else found[rows] for found in (self.labels, self.tokens))
        return Said(len(rows), labels, tokens)

    def batch(self, rows: Tensor) -> Batch:
        """`label`, or `target` long [B, U] and `target_length` long [B], of the examples at `rows` (long [B])."""
        if self.labels is not None:
            return {"label": self.labels[rows]}
        if self.tokens is None:
            return {}
        tokens = self.tokens[rows]
        lengths = (tokens != PAD).sum(1)
        longest = int(lengths.max()) if len(lengths) else 0
        return {"target": tokens[:, :longest], "target_length": lengths}

    def digest(self) -> bytes:
        parts = [part.contiguous().numpy().tobytes() for part in (self.labels, self.tokens) if part is not None]
        return b"\0".join([str(self.count).encode(), *parts])


def transcripts(rows: Sequence[Sequence[int]]) -> Said:
    """What is said, of token ids."""
    tokens = [torch.tensor(row, dtype=torch.long) for row in rows]
    return Said(len(rows), tokens=pad(tokens, PAD)[0] if tokens else torch.empty(0, 0, dtype=torch.long))


class Waves(SplitExamples):
    """Recordings in memory: `values` int16 [S] of all of them; example i begins at `starts[i]` (long [N]).

    lengths: samples of every example, long [N]. notes: sentences about how they came into memory.
    """

    def __init__(
        self, values: Tensor, starts: Tensor, lengths: Tensor, said: Said, notes: tuple[str, ...] = ()
    ) -> None:
        assert len(starts) == len(lengths) == said.count
        self.ragged = Ragged(values, starts, lengths)
        self.lengths: Tensor = lengths
        self.said, self.notes, self.labels = said, notes, said.labels

    @classmethod
    def of(cls, items: Sequence[Tensor], said: Said, notes: tuple[str, ...] = ()) -> Waves:
        """From recordings int16 [n], one an example."""
        lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
        values = torch.cat(list(items)) if items else torch.empty(0, dtype=torch.int16)
        return cls(values, starts_of(lengths), lengths, said, notes)

    def __len__(self) -> int:
        return self.said.count

    def take(self, indices: Tensor) -> Batch:
        """`input` int16 [B, N] padded with 0, `length` long [B], `index`, and what is said."""
        waves, lengths = self.ragged.rows(indices, 0)
        return {"input": waves, "length": lengths, "index": indices, **self.said.batch(indices)}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> Waves:
        """Those at `rows` (long [n]), under other labels where they are given; they share the values."""
        said = self.said.at(rows) if labels is None else Said(len(rows), labels)
        chosen = self.ragged.at(rows)
        return Waves(chosen.values, chosen.starts, chosen.lengths, said, self.notes)

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return int(self.lengths.sum()) * self.ragged.values.element_size()

    def digest(self) -> bytes:
        """sha256 of the samples in their order."""
        found = hashlib.sha256(self.lengths.numpy().tobytes())
        for start, length in zip(self.ragged.starts.tolist(), self.lengths.tolist(), strict=True):
            found.update(self.ragged.values[start : start + length].numpy().data)
        return found.digest()


class UnreadWaves(ReadExamples):
    """Recordings that must be read or made before they are samples."""

    uneven = True
    labels: Tensor | None
    lengths: Tensor
    said: Said
    on_error = "raise"

    @abstractmethod
    def wave(self, index: int) -> Tensor:
        """int16 [n]. Raises DataError naming what can't be read."""

    @abstractmethod
    def at(self, rows: Tensor, labels: Tensor | None = None) -> UnreadWaves:
        """Those at `rows` (long [n]), under other labels where they are given."""

    def __len__(self) -> int:
        return self.said.count

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.lengths.max()),)

    @property
    def nbytes(self) -> int:
        return 2 * int(self.lengths.sum())

    def take(self, indices: Tensor) -> Batch:
        found = [(i, wave) for i in indices.tolist() if (wave := self._wave(i)) is not None]
        index = torch.tensor([i for i, _ in found], dtype=torch.long)
        waves, lengths = pad([wave for _, wave in found] or [torch.empty(0, dtype=torch.int16)])
        return {"input": waves, "length": lengths, "index": index, **self.said.batch(index)}

    def _wave(self, index: int) -> Tensor | None:
        try:
            return self.wave(index)
        except DataError as error:
            if self.on_error == "skip":
                return None
            raise DataError(f"{error} (sample {index}); dataset.on_error=skip leaves such files out") from error

    def gathered(self, progress: Callable[[int, int], None]) -> Waves:
        """All of them in memory, read in threads; those that are skipped are left out and counted in `notes`."""
        items: list[Tensor] = []
        kept = torch.ones(len(self), dtype=torch.bool)
        with ThreadPoolExecutor() as pool:
            for i, wave in enumerate(pool.map(self._wave, range(len(self)))):
                kept[i] = wave is not None
                items += [] if wave is None else [wave]
                if i % 256 == 255 or i + 1 == len(self):
                    progress(i + 1, len(self))
        return Waves.of(items, self.said.at(kept.nonzero().flatten()), left_out(self, kept))
