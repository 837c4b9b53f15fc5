"""Examples with masks: images that are read, or in memory, and of each the class of every pixel.

Axes: N all of them, B batch, C channels, H, W of an input, K classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.examples import MemoryExamples, OnDemandExamples
from ptft.data.image.masks.fitting import IGNORED
from ptft.data.label_sets.handed_on import ImagesHandedOn

BACKGROUND = "background"
"""The class of pixels that belong to nothing else, where the data say that these are of one."""
VALUES = 256


class Painter(ABC):
    """What makes the masks of a set of images."""

    @abstractmethod
    def __call__(self, rows: Tensor) -> Tensor:
        """Of images (long [B]) uint8 [B, H, W], as their inputs are: the number of each pixel's class, 255 of none."""

    @abstractmethod
    def digest(self) -> bytes:
        """As `SplitExamples.digest`."""

    def cache_digest(self) -> bytes:
        """As `OnDemandExamples.cache_digest`."""
        return self.digest()


class Masked(Examples):
    """What images with masks have in common, wherever their pixels are. classes: their names.

    place: uint8 [256], what is made of the numbers that masks hold; None: they stay.
    """

    classes: tuple[str, ...]
    place: Tensor | None

    def of_classes(
        self, classes: Sequence[str], called: Sequence[str] | None = None, known: Collection[str] = ()
    ) -> Masked:
        """With the numbers that `classes` have, which may be called otherwise; the rest is background, or of no class
        where they have none, or where it is known to who is measured."""
        table = numbers(self.classes, classes, known)
        known = table if self.place is None else table[self.place.cpu().long()]
        same = torch.equal(known, torch.arange(VALUES, dtype=torch.uint8))
        return self.like(None if same else known, tuple(classes if called is None else called))

    def like(self, table: Tensor | None, classes: tuple[str, ...]) -> Masked:
        """The same images and masks, with another table."""
        raise NotImplementedError

    def renumbered(self, masks: Tensor) -> Tensor:
        return masks if self.place is None else self.place[masks.long()]


def numbers(own: Sequence[str], classes: Sequence[str], known: Collection[str] = ()) -> Tensor:
    """uint8 [256], from the numbers of `own` classes to those of others; 255 stays. See `Masked.of_classes`."""
    other = classes.index(BACKGROUND) if BACKGROUND in classes else IGNORED
    place = {name: k for k, name in enumerate(classes)}
    table = torch.arange(VALUES, dtype=torch.uint8)
    for k, name in enumerate(own):
        table[k] = place.get(name, IGNORED if name in known else other)
    return table


class MaskExamples(Masked, ImagesHandedOn):
    """Images that are read when they are taken, and masks that are painted then; cached as one more channel."""

    def __init__(
        self, images: OnDemandExamples, painter: Painter, classes: Sequence[str], table: Tensor | None = None
    ) -> None:
        self.images, self.painter, self.classes, self.place = images, painter, tuple(classes), table
        self.rows = images.whole()[1]

    def take(self, indices: Tensor) -> Batch:
        """`input`, `index` and `segments`, uint8 [B, H, W]."""
        batch = self.images.take(indices)
        masks = self.renumbered(self.painter(self.rows[batch["index"]]))
        return {"input": batch["input"], "index": batch["index"], "segments": masks}

    def packed(self, batch: Batch) -> Tensor:
        return torch.cat([batch["input"], batch["segments"].unsqueeze(1)], 1)

    def held(self, pixels: MemoryExamples) -> Examples:
        return MasksInMemory(pixels, self.classes)

    def at(self, rows: Tensor, labels: Tensor | None = None) -> MaskExamples:
        return MaskExamples(self.images.at(rows), self.painter, self.classes, self.place)

    def like(self, table: Tensor | None, classes: tuple[str, ...]) -> MaskExamples:
        return MaskExamples(self.images, self.painter, classes, table)

    @property
    def shape(self) -> tuple[int, ...]:
        channels, *size = self.images.shape
        return channels + 1, *size

    def whole(self) -> tuple[OnDemandExamples, Tensor]:
        return MaskExamples(self.images.whole()[0], self.painter, self.classes, self.place), self.rows

    def digest(self) -> bytes:
        return self._digest(self.images.digest(), self.painter.digest())

    def cache_digest(self) -> bytes:
        return self._digest(self.images.cache_digest(), self.painter.cache_digest())

    def _digest(self, *parts: bytes) -> bytes:
        table = b"" if self.place is None else self.place.numpy().tobytes()
        return hashlib.sha256(b"\0".join([*parts, table])).digest()


class MasksInMemory(Masked):
    """Images in memory whose last channel is their mask; on any device."""

    def __init__(self, images: MemoryExamples, classes: Sequence[str], table: Tensor | None = None) -> None:
        self.images, self.classes = images, tuple(classes)
        self.place = None if table is None else table.to(images.device)
        self.notes, self.unreadable = images.notes, images.unreadable

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Batch:
        batch = self.images.take(indices)
        stacked = batch["input"]
        return {"input": stacked[:, :-1], "index": batch["index"], "segments": self.renumbered(stacked[:, -1])}

    def like(self, table: Tensor | None, classes: tuple[str, ...]) -> MasksInMemory:
        return MasksInMemory(self.images, classes, table)

    def to(self, device: torch.device) -> MasksInMemory:
        return MasksInMemory(self.images.to(device), self.classes, self.place)

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def nbytes(self) -> int:
        return self.images.nbytes

    @property
    def in_memory(self) -> bool:
        return True
