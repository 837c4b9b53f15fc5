"""What every dataset of labelled images shares: size and channels, its Spec, and how they come into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ptft.core import Examples, Spec
from ptft.data.examples import MemoryExamples, OnDemandExamples, Resized, SplitExamples
from ptft.data.image import reader as image_reader
from ptft.data.own.file_columns import PATH
from ptft.data.own.keys import Shared
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS, Part
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
    fit: str | None
    crop_pct: float | None
    interpolation: str | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None


class ImageSource(DividedSource):
    """A source of labelled images. A subclass calls `describe` when it knows its classes, and implements `load`.

    size: height and width of the images, one number or two; None is the checkpoint's, else the dataset's own.
    channels: 1 or 3; None likewise.
    fit: "crop" to the size from the middle, or "stretch" to it; None is the checkpoint's, else crop.
    crop_pct: the share of each side in the middle that is kept; None is the checkpoint's, else all.
    interpolation: one of `pixels.scaling.INTERPOLATIONS`; None is the checkpoint's, else bilinear.
    mean, std: per channel or one for all, of values scaled to 0..1; None is the checkpoint's, else the dataset's own.
    shared: the keys of every dataset; what `load` gives is not resized where it is in memory.

    Raises ConfigError for values that can't work together.
    """

    modality, noun = "image", "images"

    def __init__(
        self,
        *,
        size: int | Sequence[int] | None = None,
        channels: int | None = None,
        fit: str | None = None,
        crop_pct: float | None = None,
        interpolation: str | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.size = None if size is None else pair(size)
        self.channels = channels
        self.fitting = {"fit": fit, "crop_pct": crop_pct, "interpolation": interpolation}
        self.statistics = {"mean": mean, "std": std}

    def describe(
        self,
        classes: Sequence[str],
        splits: Sequence[str],
        size: tuple[int, int] | None,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        fit: str | None = None,
    ) -> None:
        """Say what the dataset is by itself; from that, the keys and the checkpoint's Spec follows `self.spec`.

        `size` may be None where a key or the checkpoint decides it; images that have the size that is asked for are
        not cut as the checkpoint's were. `fit` wins over both. The one class `NO_CLASS` means that there are none.
        """
        self.own_classes, self.splits = tuple(classes), tuple(splits)
        self.check()
        height_width = self._choose_size(size)
        count = self._choose_channels(channels)
        if self.like is not None and self.like.mean:
            mean, std = self.like.mean, self.like.std
        shape = image_reader.shape(height_width, count, **self._choose_fitting(fit, height_width == size))
        shape |= {} if self.list_path == PATH else {"path": self.list_path}
        kept = self.class_names()
        target = "labels" if self.has_sets else "class"
        target, kept = ("none", ()) if kept == (NO_CLASS,) else (target, kept)
        self.spec = Spec("image", shape, target, kept, self._typed("mean", mean, count), self._typed("std", std, count))

    def fingerprint(self) -> str:
        return self._fingerprint(lambda examples: examples.digest())

    def earlier_fingerprint(self) -> str:
        return self._fingerprint(lambda e: e.earlier_digest() if isinstance(e, SplitExamples) else e.digest())

    def _fingerprint(self, digest_of: Callable[[MemoryExamples | Resized | OnDemandExamples], bytes]) -> str:
        digest = hashlib.sha256(json.dumps([self.spec.classes, self.spec.shape, self.splits]).encode())
        for name in SPLITS:
            examples = self.split(name)
            if examples is None:
                continue
            assert isinstance(examples, MemoryExamples | Resized | OnDemandExamples)
            labels = b"" if examples.labels is None else examples.labels.numpy().tobytes()
            digest.update(name.encode() + labels + digest_of(examples))
        return digest.hexdigest()[:16]

    def choose(self, part: Part) -> Examples:
        return self._sized(super().choose(part))

    def _sized(self, examples: Examples) -> Examples:
        """Images in memory get the size and channels of the Spec; files are read with them anyway."""
        shape = self.spec.shape
        wanted = [shape["channels"], *shape["size"]]
        ready = isinstance(examples, MemoryExamples) and list(examples.base.shape[1:]) == wanted
        if not isinstance(examples, MemoryExamples) or (ready and "crop_pct" not in shape):
            return examples
        if len(examples) * wanted[0] * wanted[1] * wanted[2] > RESIZE_AT_ONCE:
            return Resized(examples, partial(image_reader.resize, spec=self.spec))
        resized = torch.empty(len(examples), *wanted, dtype=torch.uint8)
        for start, images in examples.parts():
            resized[start : start + len(images)] = image_reader.resize(images, self.spec)
        return MemoryExamples(resized, examples.labels, examples.notes, made_of=examples.digest())

    def _choose_size(self, own: tuple[int, int] | None) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if self.like is None or "size" not in self.like.shape:
            assert own is not None
            return own
        size = pair(self.like.shape["size"])
        if size != own:
            self.note(
                f"images are resized to {image_reader.show(size)}, as the weights expect; dataset.size=… changes it"
            )
        return size

    def _choose_channels(self, own: int) -> int:
        if self.channels is not None or self.like is None:
            return self.channels if self.channels is not None else own
        channels = int(self.like.shape["channels"])
        if channels != own:
            what = "grey images become three channels" if channels == 3 else "colour images become grey"
            self.note(f"{what}, as the weights expect; dataset.channels=… changes it")
        return channels

    def _choose_fitting(self, own: str | None, ready: bool) -> dict[str, Any]:
        """How images are brought to their size: as typed, else as the checkpoint's were, else by the usual values."""
        theirs = {key: self.like.shape[key] for key in self.fitting if key in self.like.shape} if self.like else {}
        if theirs.get("fit") == "none":  # its images had the size already
            del theirs["fit"]
        if ready:
            theirs.pop("crop_pct", None)
        typed = {key: value for key, value in self.fitting.items() if value is not None}
        return {"fit": "crop", **theirs, **typed, **({"fit": own} if own else {})}

    def _typed(self, key: str, otherwise: tuple[float, ...], channels: int) -> tuple[float, ...]:
        """Statistics per channel: as typed, else as given. Raises ConfigError for a wrong number of them."""
        typed = self.statistics[key]
        if typed is None:
            return image_reader.fill(otherwise, channels)
        values = (float(typed),) if isinstance(typed, int | float) else tuple(map(float, typed))
        if len(values) not in (1, channels):
            raise ConfigError(f"dataset.{key}={typed}: the images have {channels} channels; one number, or {channels}")
        return image_reader.fill(values, channels)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of `dataset.size`. Raises ConfigError for anything but one or two whole numbers."""
    values = [size, size] if isinstance(size, int) else list(size)
    if len(values) != 2 or not all(isinstance(value, int) and value > 0 for value in values):
        raise ConfigError(f"dataset.size={size}: one whole number of pixels, or two ([height, width])")
    return values[0], values[1]
