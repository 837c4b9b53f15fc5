"""Sources of a user's own torch Dataset of images, waveforms or texts, read as they are needed.

Axes: N all examples, B batch, C channels, H height, W width, n samples.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.examples import OnDemandRecordings, Targets
from ptft.data.audio.length import fit, max_samples
from ptft.data.audio.source import AudioSource
from ptft.data.cache.policy import decode
from ptft.data.cleaning.learned import learned
from ptft.data.examples import MemoryExamples, OnDemandExamples
from ptft.data.image import reader as image_reader
from ptft.data.image.listed.images import MEAN, STD
from ptft.data.image.source import ImageSource
from ptft.data.text.examples import TextExamples
from ptft.data.text.sentences import cut_note, sentences
from ptft.data.text.source import TextSource
from ptft.data.user_dataset import items as own_items
from ptft.data.user_dataset.examples import DatasetItems, ItemContent, OwnSource, SplitDatasets, spread
from ptft.data.user_dataset.items import DatasetItem
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ptft.data.audio.source import RecordingKeys
    from ptft.data.image.source import Keys
    from ptft.data.text.source import TextKeys


class OwnExamples(OnDemandExamples):
    """Images of a user's own dataset, brought to the Spec when they are taken.

    size: (H, W) that all must have, as nothing says what to resize them to; None where they are resized. grey: whether
        all must be grey, as nothing says that colours are not wanted.
    """

    uneven = True  # no file of them is kept: nothing says when the dataset gives other values

    def __init__(
        self, items: DatasetItems, labels: Tensor | None, spec: Spec, size: tuple[int, int] | None, grey: bool
    ) -> None:
        self.items, self.labels, self.spec, self.size, self.grey = items, labels, spec, size, grey

    def __len__(self) -> int:
        return len(self.items)

    def take(self, indices: Tensor) -> Batch:
        images = [self._read(i) for i in indices.tolist()]
        none = torch.empty(0, *self.shape, dtype=torch.uint8)
        batch = {"input": torch.stack(images) if images else none, "index": indices}
        return batch if self.labels is None else {**batch, "label": self.labels[indices]}

    def _read(self, index: int) -> Tensor:
        pixels = own_items.image(self.items.item(index))
        if self.size is not None:
            check_size(self.items.where(index), (pixels.shape[1], pixels.shape[2]), self.size)
        if self.grey and len(pixels) > 1:
            which = f"{self.items.where(index)} has colours, others that were looked at have none"
            raise DataError(f"{which}; dataset.channels=3 keeps them, 1 does not")
        return image_reader.resize(pixels.unsqueeze(0), self.spec)[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return int(self.spec.shape["channels"]), *self.spec.shape["size"]

    def at(self, rows: Tensor, labels: Tensor | None = None) -> OwnExamples:
        return OwnExamples(self.items.at(rows), labels, self.spec, self.size, self.grey)

    def to_memory(self, progress: Callable[[int, int], None]) -> MemoryExamples:
        images, done = torch.empty(len(self), *self.shape, dtype=torch.uint8), 0
        for wanted, batch in decode(self, torch.arange(len(self))):
            images.index_copy_(0, wanted, batch["input"])
            done += len(wanted)
            progress(done, len(self))
        return MemoryExamples(images, self.labels)

    def name(self, index: int) -> str:
        return self.items.where(index)

    def digest(self) -> bytes:
        return self.items.digest()


class OwnImages(OwnSource, ImageSource):
    """Images: PIL's, uint8 or float (0 to 1) [C, H, W] or [H, W]; numpy's may be [H, W, C]."""

    def __init__(self, datasets: SplitDatasets, **keys: Unpack[Keys]) -> None:
        super().__init__(**keys)
        classes = self.take_in(datasets, _image_content, False)
        leading = self.items[self.train]
        first = own_items.image(leading.item(0)).shape
        own = (first[1], first[2])
        resized = self.size is not None or (self.like is not None and "size" in self.like.shape)
        self.only = None if resized else own
        colours = first[0]
        for items in self.items.values():
            for i, (channels, height, width) in _shapes(items):
                if not resized:
                    check_size(items.where(i), (height, width), own)
                colours = max(colours, channels)
        self.grey = colours == 1 and self.channels is None and self.like is None
        mean, std = (MEAN, STD) if colours == 3 else ((0.5,), (0.5,))
        self.describe(classes, tuple(self.items), own, colours, mean, std)

    def load(self, split: str) -> OwnExamples:
        return OwnExamples(self.items[split], self.labels_of(split), self.spec, self.only, self.grey)


def _shapes(items: DatasetItems) -> Iterable[tuple[int, tuple[int, ...]]]:
    """The number of an item and the shape of its image: of all that were read, else of some."""
    if items.kept:
        return enumerate(items.kept)
    return ((i, tuple(own_items.image(items.item(i)).shape)) for i in (spread(len(items)) if len(items) else ()))


def check_size(where: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Raises DataError for an image of another size than the others."""
    if size != expected:
        shown = image_reader.show
        raise DataError(
            f"{where} is {shown(size)} (height{image_reader.TIMES}width), item 0 is {shown(expected)}; "
            f"dataset.size={min(expected)} resizes them all"
        )


def _image_content(item: DatasetItem) -> ItemContent:
    pixels = own_items.image(item)
    return ItemContent(repr(pixels.shape).encode() + pixels.numpy().tobytes(), tuple(pixels.shape))


class OwnWaves(OnDemandRecordings):
    """Waveforms of a user's own dataset at `rate` samples a second, brought to the Spec when they are taken."""

    def __init__(self, items: DatasetItems, targets: Targets, spec: Spec, rate: int) -> None:
        self.items, self.targets, self.labels, self.spec, self.rate = items, targets, targets.labels, spec, rate
        most = max_samples(spec) or sys.maxsize
        counts = torch.tensor([math.ceil(n * spec.shape["rate"] / rate) for n in items.kept]).long()
        self.lengths: Tensor = counts.clamp(max=most)
        self.longer = int((counts > most).sum())

    def wave(self, index: int) -> Tensor:
        values = own_items.wave(self.items.item(index))
        return fit(audio_reader.resampled(values, self.rate, int(self.spec.shape["rate"])), self.spec)

    def at(self, rows: Tensor, labels: Tensor | None = None) -> OwnWaves:
        return OwnWaves(self.items.at(rows), self.targets.at(rows, labels), self.spec, self.rate)

    def _try(self, index: int) -> Tensor:
        return self.wave(index)

    def name(self, index: int) -> str:
        return self.items.where(index)

    def digest(self) -> bytes:
        return self.items.digest()


class OwnRecordings(OwnSource, AudioSource):
    """Waveforms [n], or [C, n], whose channels are mixed: int16, or floats from -1 to 1.

    rate: samples a second that they have.
    """

    def __init__(self, datasets: SplitDatasets, **keys: Unpack[RecordingKeys]) -> None:
        rate = keys.pop("rate", None)
        if rate is None:
            raise ConfigError(f"dataset.rate: how many samples a second have the waveforms of {datasets.name}? type it")
        audio_reader.shape(rate, None)
        super().__init__(**keys)
        self.own = rate
        self.describe(self.take_in(datasets, _wave_content, True), tuple(self.items), rate)

    def load(self, split: str) -> OwnWaves:
        labels = self.labels_of(split)
        return OwnWaves(self.items[split], Targets(len(labels), labels), self.spec, self.own)


def _wave_content(item: DatasetItem) -> ItemContent:
    values = own_items.wave(item)
    return ItemContent(values.numpy().tobytes(), len(values))


class OwnTexts(OwnSource, TextSource):
    """Texts."""

    def __init__(self, datasets: SplitDatasets, **keys: Unpack[TextKeys]) -> None:
        super().__init__(**keys)
        classes = self.take_in(datasets, _text_content, True)
        self.describe(classes, tuple(self.items), "class", self._texts, reader="sentences", columns=["text"])

    def _texts(self) -> Sequence[str]:
        return learned(self, lambda own: own.items[own.train].kept)

    def groups(self, split: str) -> Tensor:
        return self.labels_of(split)

    def shown(self, split: str) -> dict[str, list[str]]:
        return {"text": list(self.items[split].kept)}

    def load(self, split: str) -> TextExamples:
        texts = self.items[split].kept
        ids, cut = sentences(self.tokenizer, [(text,) for text in texts], self.length)
        if cut:
            self.note(cut_note(split, cut, len(texts), self.length))
        return TextExamples(ids, self.tokenizer.pad, self.labels_of(split))


def _text_content(item: DatasetItem) -> ItemContent:
    text = own_items.text(item)
    return ItemContent(text.encode("utf-8", "surrogateescape"), text)


SOURCES: dict[str, Any] = {"image": OwnImages, "audio": OwnRecordings, "text": OwnTexts}
