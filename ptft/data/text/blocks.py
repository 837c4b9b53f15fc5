"""Running text as one row of ids, read in blocks of equal length.

Axes: B batch, N blocks, L their length, n all ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.ragged import Ragged
from ptft.data.tokenizer import Tokenizer

CHUNK = 2**16
"""Characters of a document that are tokenised at a time, up to the end of a line: subwords are found in threads."""


class Blocks(Examples):
    """Blocks of `length` ids of `values` (int32 [n]); each begins with the last id of the one before.

    So every id but the first is once predicted from those before it. Where they go round (for training), the last block
    ends with the beginning of the text, and every order of theirs begins elsewhere; else the last one may be shorter.
    """

    def __init__(self, values: Tensor, length: int, pad: int, *, round: bool) -> None:
        self.values, self.length, self.pad, self.round = values, length, pad, round
        self.stride = length - 1
        starts = torch.arange(0, max(1, len(values) - (0 if round else 1)), self.stride)
        lengths = torch.full_like(starts, length) if round else (len(values) - starts).clamp(max=length)
        self.lengths: Tensor = lengths
        self.ragged = Ragged(values, starts, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def shuffled(self, seed: int) -> Tensor:
        """A random order of the blocks from a random beginning: block b, s ids later, is number b + s N."""
        shift = 0
        if self.round:
            shift = int(torch.randint(self.stride, (), generator=torch.Generator().manual_seed(seed + 2**32)))
        return super().shuffled(seed) + shift * len(self)

    def take(self, indices: Tensor) -> Batch:
        """`input` long [B, L], `mask` bool [B, L], `index`."""
        index = indices.to(self.device, non_blocking=True)
        return {**self.ragged.take(index % len(self), self.pad, index // len(self)), "index": index}

    def to(self, device: torch.device) -> Blocks:
        moved = Blocks(self.values, self.length, self.pad, round=self.round)
        moved.ragged = self.ragged.to(device)
        return moved

    @property
    def device(self) -> torch.device:
        return self.ragged.values.device

    @property
    def in_memory(self) -> bool:
        return True

    @property
    def nbytes(self) -> int:
        return self.values.numel() * self.values.element_size()

    def digest(self) -> bytes:
        """What tells these examples from others."""
        return self.values.numpy().tobytes()


def row_of(documents: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """All documents as int32 [n], the separator after each."""
    chunked = [list(chunks(document)) for document in documents]
    flat, lengths = tokenizer.encode_flat([chunk for of_document in chunked for chunk in of_document])
    parts, rows = iter(torch.split(flat, lengths.tolist())), []
    separator = torch.tensor([tokenizer.sep], dtype=torch.int32)
    for of_document in chunked:
        rows += [*(next(parts) for _ in of_document), separator]
    return torch.cat(rows[: -1 if rows else None] or [separator])


def chunks(document: str) -> Iterator[str]:
    """The document in chunks of about CHUNK characters that end where a line does."""
    start = 0
    while start < len(document):
        end = document.find("\n", start + CHUNK)
        end = len(document) if end < 0 else end + 1
        yield document[start:end]
        start = end


def shared_out(documents: Sequence[str], shares: Sequence[float]) -> list[list[str]]:
    """Consecutive parts of the documents, each with its share of their characters; a document may be cut."""
    total, parts, done = sum(map(len, documents)), [], 0.0
    for share in shares:
        begin, done = round(done * total), done + share
        parts.append(_slice(documents, begin, round(done * total)))
    return parts


def _slice(documents: Sequence[str], begin: int, end: int) -> list[str]:
    """The characters [begin, end) of all documents."""
    parts, start = [], 0
    for document in documents:
        part = document[max(0, begin - start) : max(0, end - start)]
        start += len(document)
        if part:
            parts.append(part)
    return parts


def division_note(parts: Mapping[str, tuple[int, int]]) -> str:
    """What to say of files that are divided whole; parts: split -> how many of them, and characters."""
    total = sum(size for _, size in parts.values()) or 1
    listed = ", ".join(f"{split} {count} ({size / total:.0%} of the text)" for split, (count, size) in parts.items())
    count = sum(count for count, _ in parts.values())
    return f"{count} files are divided whole, by their names: {listed}; dataset.divide_by=order takes the end of all"
