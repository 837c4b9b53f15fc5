"""What every dataset of labelled images shares: size and channels, its Spec, and how they come into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from ptft.core import Examples, Spec
from ptft.data.examples import MemoryExamples, OnDemandExamples, Resized
from ptft.data.image import reader as image_reader
from ptft.data.source import DividedSource, Part, Shared
from ptft.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack

NO_CLASS = ""
"""What the class of images without labels is called."""
RESIZE_AT_ONCE = 2**30
"""Bytes up to which images in memory are resized once; beyond, a batch at a time."""


class Keys(Shared, total=False):
    """The keys of every dataset of images; `ImageSource` says what they mean."""

    size: int | Sequence[int] | None
    channels: int | None


class ImageSource(DividedSource):
    """A source of labelled images. A subclass calls `describe` when it knows its classes, and implements `load`.

    size: height and width of the images, one number or two; None is the checkpoint's, else the dataset's own.
    channels: 1 or 3; None likewise.
    shared: the keys of every dataset; what `load` gives is not resized where it is in memory.

    Raises ConfigError for values that can't work together.
    """

    modality, noun = "image", "images"

    def __init__(
        self, *, size: int | Sequence[int] | None = None, channels: int | None = None, **shared: Unpack[Shared]
    ) -> None:
        super().__init__(**shared)
        self.size = None if size is None else pair(size)
        self.channels = channels

    def describe(
        self,
        classes: Sequence[str],
        splits: Sequence[str],
        size: tuple[int, int] | None,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        fit: str = "crop",
    ) -> None:
        """Say what the dataset is by itself; from that, the keys and the checkpoint's Spec follows `self.spec`.

        `size` may be None where a key or the checkpoint decides it. The one class `NO_CLASS` means that there are none.
        """
        self.own_classes, self.splits = tuple(classes), tuple(splits)
        self.check()
        height_width = self._choose_size(size)
        count = self._choose_channels(channels)
        if self.like is not None and self.like.mean:
            mean, std = self.like.mean, self.like.std
        shape, kept = image_reader.shape(height_width, count, fit), self.classes or self.own_classes
        target, kept = ("none", ()) if kept == (NO_CLASS,) else ("class", kept)
        self.spec = Spec("image", shape, target, kept, image_reader.fill(mean, count), image_reader.fill(std, count))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([self.spec.classes, self.spec.shape, self.splits]).encode())
        for name in ("train", "val", "test"):
            examples = self.split(name)
            if examples is None:
                continue
            assert isinstance(examples, MemoryExamples | Resized | OnDemandExamples)
            labels = b"" if examples.labels is None else examples.labels.numpy().tobytes()
            digest.update(name.encode() + labels + examples.digest())
        return digest.hexdigest()[:16]

    def choose(self, part: Part) -> Examples:
        return self._sized(super().choose(part))

    def _sized(self, examples: Examples) -> Examples:
        """Images in memory get the size and channels of the Spec; files are read with them anyway."""
        shape = self.spec.shape
        wanted = [shape["channels"], *shape["size"]]
        if not isinstance(examples, MemoryExamples) or list(examples.base.shape[1:]) == wanted:
            return examples
        if len(examples) * wanted[0] * wanted[1] * wanted[2] > RESIZE_AT_ONCE:
            return Resized(examples, partial(image_reader.resize, spec=self.spec))
        resized = torch.empty(len(examples), *wanted, dtype=torch.uint8)
        for start, images in examples.parts():
            resized[start : start + len(images)] = image_reader.resize(images, self.spec)
        return MemoryExamples(resized, examples.labels, examples.notes)

    def _choose_size(self, own: tuple[int, int] | None) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if self.like is None:
            assert own is not None
            return own
        size = pair(self.like.shape["size"])
        if size != own:
            self.note(
                f"images are resized to {image_reader.show(size)}, as in the checkpoint; dataset.size=… changes it"
            )
        return size

    def _choose_channels(self, own: int) -> int:
        if self.channels is not None or self.like is None:
            return self.channels if self.channels is not None else own
        channels = int(self.like.shape["channels"])
        if channels != own:
            what = "grey images become three channels" if channels == 3 else "colour images become grey"
            self.note(f"{what}, as in the checkpoint; dataset.channels=… changes it")
        return channels


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of `dataset.size`. Raises ConfigError for anything but one or two whole numbers."""
    values = [size, size] if isinstance(size, int) else list(size)
    if len(values) != 2 or not all(isinstance(value, int) and value > 0 for value in values):
        raise ConfigError(f"dataset.size={size}: one whole number of pixels, or two ([height, width])")
    return values[0], values[1]
