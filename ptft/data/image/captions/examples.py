"""Examples with captions: images that are read, or in memory, and the tokens of what is said of each.

Axes: N all of them, B batch, L tokens of a caption at the most, T of the longest in a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Examples, Spec
from ptft.data.examples import MemoryExamples, OnDemandExamples
from ptft.data.label_sets.handed_on import ImagesHandedOn
from ptft.data.text.reader import choose_tokenizer, text_spec, tokenizer_of

CAPTIONS = "captions"
"""What of a Spec's shape says how captions become tokens: `tokenizer` and `length`, as a Spec of text has them, and
`around`, the ids that stand before and behind a caption's, -1 where none does."""


@dataclass(frozen=True)
class Captions:
    """tokens: int32 [N, L], filled up with the pad token; lengths: long [N], how many of a row are real.

    pictures, said: long [N], a number for the picture of each, which may have several, and for its text; cut: bool [N],
    whether that is longer.
    """

    tokens: Tensor
    lengths: Tensor
    pictures: Tensor
    said: Tensor
    cut: Tensor

    @classmethod
    def of(cls, texts: Sequence[str], spec: Spec, pictures: Tensor) -> Captions:
        """The beginnings of texts, by the tokenizer of a Spec of text; an empty one is one unknown token."""
        tokenizer, most = tokenizer_of(spec), int(spec.shape["length"])
        flat, lengths = tokenizer.encode_flat(texts)
        nothing = flat.new_tensor([max(tokenizer.unk, 0)])
        ends = spec.shape.get("around") or [-1, -1]
        before, after = (flat.new_tensor([end] if end >= 0 else []) for end in ends)
        room = max(1, most - len(before) - len(after))
        rows = [row[:room] if len(row) else nothing for row in torch.split(flat, lengths.tolist())]
        rows = [torch.cat([before, row, after]) for row in rows] if max(ends) >= 0 else rows
        counts = torch.tensor([len(row) for row in rows], dtype=torch.long)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=max(tokenizer.pad, 0))
        return cls(padded.to(torch.int32), counts, pictures, numbered(texts), lengths > room)

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, rows: Tensor) -> Captions:
        parts = (self.tokens, self.lengths, self.pictures, self.said, self.cut)
        return Captions(*(part[rows] for part in parts))

    def batch(self, rows: Tensor) -> Batch:
        """`caption` long [B, T], `caption_length`, `picture` and `said` long [B]."""
        lengths = self.lengths[rows]
        most = int(lengths.max()) if len(rows) else self.tokens.shape[1]
        numbers = {"picture": self.pictures[rows], "said": self.said[rows]}
        return {"caption": self.tokens[rows, :most].long(), "caption_length": lengths, **numbers}

    def bytes(self) -> bytes:
        return self.tokens.numpy().tobytes() + self.lengths.numpy().tobytes()


def numbered(names: Sequence[str]) -> Tensor:
    """Long [N], a number for each name or text, the same for the same one, whatever the others are."""
    known = {name: int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big") for name in set(names)}
    return torch.tensor([known[name] for name in names], dtype=torch.long)


def captioned(
    spec: Spec,
    like: Spec | None,
    texts: Callable[[], Sequence[str]],
    tokenizer: str | None,
    vocabulary: int,
    length: int | None,
    own: int,
    tower: Spec | None,
) -> Spec:
    """A Spec of images, with how their captions become tokens: as typed, else as the tower's that reads them, else as
    the checkpoint's, else bpe and at most `own` of them. texts: those that a new tokenizer learns from. Raises
    ConfigError for another tokenizer than theirs."""
    theirs = tower or (None if like is None else spec_of_captions(like))
    whose = "the tower's (objective.text_ckpt)" if tower else "the checkpoint's"
    chosen = choose_tokenizer(tokenizer, vocabulary, texts, theirs, default="bpe", whose=whose)
    most = length or (own if theirs is None else int(theirs.shape["length"]))
    shape = dict(text_spec(chosen, most, "none").shape)
    if theirs is not None and "around" in theirs.shape:
        shape["around"] = theirs.shape["around"]
    return replace(spec, shape={**spec.shape, CAPTIONS: shape})


def spec_of_captions(spec: Spec) -> Spec | None:
    """The Spec of text that captions of such images have; None where they have no captions."""
    shape: dict[str, Any] | None = spec.shape.get(CAPTIONS)
    return None if shape is None else Spec("text", shape, "none")


def unread(examples: Examples, spec: Spec) -> tuple[int, float]:
    """How many captions are longer than what is read of them, and which share of what is read are unknown words."""
    captions, unknown = getattr(examples, "captions", None), spec.shape["tokenizer"]["unk"]
    if not isinstance(captions, Captions) or not len(captions):
        return 0, 0.0
    real = torch.arange(captions.tokens.shape[1]) < captions.lengths[:, None]
    return int(captions.cut.sum()), float((captions.tokens[real] == unknown).float().mean())


def amounts(examples: Examples) -> tuple[int, int] | None:
    """How many pictures and how many captions there are; None of what has no captions."""
    captions = getattr(examples, "captions", None)
    return (len(torch.unique(captions.pictures)), len(captions)) if isinstance(captions, Captions) else None


class CaptionExamples(ImagesHandedOn):
    """Images that are read when they are taken, and the captions of all of them."""

    def __init__(self, images: OnDemandExamples, captions: Captions) -> None:
        assert len(images) == len(captions)
        self.images, self.captions = images, captions

    def take(self, indices: Tensor) -> Batch:
        batch = self.images.take(indices)
        return {"input": batch["input"], "index": batch["index"], **self.captions.batch(batch["index"])}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> CaptionExamples:
        return CaptionExamples(self.images.at(rows), self.captions.at(rows))

    def held(self, pixels: MemoryExamples) -> Examples:
        return CaptionsInMemory(pixels, self.captions)

    def digest(self) -> bytes:
        return hashlib.sha256(self.images.digest() + self.captions.bytes()).digest()


class CaptionsInMemory(Examples):
    """Images in memory. They stay on the CPU, whatever the device: a batch's longest caption would be waited for."""

    def __init__(self, images: MemoryExamples, captions: Captions) -> None:
        assert len(images) == len(captions)
        self.images, self.captions = images, captions
        self.notes, self.unreadable = images.notes, images.unreadable

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Batch:
        batch = self.images.take(indices)
        return {"input": batch["input"], "index": batch["index"], **self.captions.batch(batch["index"])}

    @property
    def nbytes(self) -> int:
        return self.images.nbytes

    @property
    def in_memory(self) -> bool:
        return True
