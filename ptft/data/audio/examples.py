"""Recordings as examples: in memory, or yet to be read; with a class or a transcript each.

Axes: N all examples, B batch, S samples of all recordings one after another, U tokens of a transcript.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.examples import OnDemandExamples, SplitExamples, left_out
from ptft.data.ragged import Ragged, pad, starts_of
from ptft.data.workers import in_threads
from ptft.errors import DataError

PAD = -1
"""What fills up a transcript in a batch."""
AT_ONCE = 256
"""Recordings that are read before it is said how far it is."""


@dataclass(frozen=True)
class Targets:
    """What recordings are labelled with: `labels` long [N], sets of them uint8 [N, K], or transcripts `tokens` long
    [N, U] padded with PAD.

    Where it is neither, nothing is known, and `count` alone says how many there are.
    """

    count: int
    labels: Tensor | None = None
    tokens: Tensor | None = None

    @classmethod
    def of_tokens(cls, transcripts: Sequence[Sequence[int]]) -> Targets:
        rows = [torch.tensor(tokens, dtype=torch.long) for tokens in transcripts]
        return cls(len(rows), tokens=pad(rows, PAD)[0] if rows else torch.empty(0, 0, dtype=torch.long))

    def at(self, rows: Tensor, labels: Tensor | None = None) -> Targets:
        """Those of the recordings at `rows` (long [n]); or other labels (long [n])."""
        if labels is not None:
            return Targets(len(rows), labels)
        kept = (None if values is None else values[rows] for values in (self.labels, self.tokens))
        return Targets(len(rows), *kept)

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


class MemoryRecordings(SplitExamples):
    """Recordings in memory: `values` int16 [S] of all of them; example i begins at `starts[i]` (long [N]).

    lengths: samples of every example, long [N]. notes: sentences about how they came into memory. readable: bool [N],
    which of them `take` does not leave out, where those have no values; None for all.
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        lengths: Tensor,
        targets: Targets,
        notes: tuple[str, ...] = (),
        readable: Tensor | None = None,
    ) -> None:
        assert len(starts) == len(lengths) == targets.count
        self.ragged = Ragged(values, starts, lengths if readable is None else lengths * readable)
        self.lengths: Tensor = lengths
        self.targets, self.notes, self.labels, self.readable = targets, notes, targets.labels, readable
        self.unreadable = set() if readable is None else set((~readable).nonzero().flatten().tolist())

    @classmethod
    def of(cls, items: Sequence[Tensor], targets: Targets, notes: tuple[str, ...] = ()) -> MemoryRecordings:
        """From recordings int16 [n], one an example."""
        lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
        values = torch.cat(list(items)) if items else torch.empty(0, dtype=torch.int16)
        return cls(values, starts_of(lengths), lengths, targets, notes)

    def __len__(self) -> int:
        return self.targets.count

    def take(self, indices: Tensor) -> Batch:
        """`input` int16 [B, N] padded with 0, `length` long [B], `index`, and the targets."""
        indices = indices if self.readable is None else indices[self.readable[indices]]
        waves, lengths = self.ragged.rows(indices, 0)
        return {"input": waves, "length": lengths, "index": indices, **self.targets.batch(indices)}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> MemoryRecordings:
        """Those at `rows` (long [n]), under other labels where they are given; they share the values."""
        targets = self.targets.at(rows, labels)
        readable = None if self.readable is None else self.readable[rows]
        starts = self.ragged.starts[rows]
        return MemoryRecordings(self.ragged.values, starts, self.lengths[rows], targets, self.notes, readable)

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return int(self.lengths.sum()) * self.ragged.values.element_size()

    def digest(self) -> bytes:
        """sha256 of the samples in their order."""
        digest = hashlib.sha256(self.lengths.numpy().tobytes())
        for start, length in zip(self.ragged.starts.tolist(), self.ragged.lengths.tolist(), strict=True):
            digest.update(self.ragged.values[start : start + length].numpy().data)
        return digest.digest()


class OnDemandRecordings(OnDemandExamples):
    """Recordings that are read or made when they are taken."""

    uneven = True
    labels: Tensor | None
    lengths: Tensor
    targets: Targets
    on_error = "raise"
    longer = 0
    """How many last longer than the Spec says, so that their middle is read."""

    @abstractmethod
    def wave(self, index: int) -> Tensor:
        """int16 [n]. Raises DataError naming what can't be read."""

    @abstractmethod
    def at(self, rows: Tensor, labels: Tensor | None = None) -> OnDemandRecordings:
        """Those at `rows` (long [n]), under other labels where they are given."""

    def __len__(self) -> int:
        return self.targets.count

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.lengths.max()),)

    @property
    def nbytes(self) -> int:
        return 2 * int(self.lengths.sum())

    def take(self, indices: Tensor) -> Batch:
        read = [(i, wave) for i in indices.tolist() if (wave := self._try(i)) is not None]
        index = torch.tensor([i for i, _ in read], dtype=torch.long)
        waves, lengths = pad([wave for _, wave in read] or [torch.empty(0, dtype=torch.int16)])
        return {"input": waves, "length": lengths, "index": index, **self.targets.batch(index)}

    def _try(self, index: int) -> Tensor | None:
        try:
            return self.wave(index)
        except DataError as error:
            if self.on_error == "skip":
                return None
            raise DataError(f"{error} (sample {index}); dataset.on_error=skip leaves such files out") from error

    def remark(self, index: int, wave: Tensor) -> str | None:
        """What to say of a recording that was read."""
        return None

    def to_memory(self, progress: Callable[[int, int], None]) -> MemoryRecordings:
        """All of them in memory, read in threads; those that are skipped have no values, and `notes` count them."""
        items, remarks = list[Tensor](), dict[str, list[int]]()
        kept = torch.ones(len(self), dtype=torch.bool)
        every = range(len(self))
        for waves in in_threads(self._try, [every[i : i + AT_ONCE] for i in every[::AT_ONCE]]):
            for i, wave in enumerate(waves, len(items)):
                kept[i] = wave is not None
                items.append(torch.empty(0, dtype=torch.int16) if wave is None else wave)
                if wave is not None and (sentence := self.remark(i, wave)):
                    remarks.setdefault(sentence, []).append(i)
            progress(len(items), len(self))
        said = (f"{_of(len(rows))} {what}, the first: {self.name(rows[0])}" for what, rows in remarks.items())
        self.unreadable.update((~kept).nonzero().flatten().tolist())
        notes = (*left_out(self), *said)
        if bool(kept.all()):
            return MemoryRecordings.of(items, self.targets, notes)
        read = torch.tensor([len(item) for item in items], dtype=torch.long)
        lengths = torch.where(kept, read, self.lengths)
        return MemoryRecordings(torch.cat(items), starts_of(read), lengths, self.targets, notes, kept)


def _of(count: int) -> str:
    return "of 1 recording" if count == 1 else f"of {count:,} recordings"
