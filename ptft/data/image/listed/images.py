"""Images that stand somewhere one by one, in files or in cells of tables, and are read when they are taken.

What sources of such images share: the size that they are brought to, their classes, and the examples themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import PIL
import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import files
from ptft.data.examples import OnDemandExamples
from ptft.data.hub.cells import File, digests, known_by
from ptft.data.image import letterbox
from ptft.data.image import reader as image_reader
from ptft.data.image.pixels import depths
from ptft.data.image.source import NO_CLASS, ImageSource, Keys, pair
from ptft.data.own.listing import Listing, Media
from ptft.data.stratify import contents, numbers
from ptft.errors import DataError, shortened

if TYPE_CHECKING:
    from typing_extensions import Unpack

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training images; what public weights expect."""
PHOTO = 224
"""Height and width of photos of several sizes where nothing else says one."""
WHOLE = 8
"""Smaller images are brought to a multiple of so many pixels, which networks can halve."""
IMAGES = Media("images", "image.jpg", image_reader.SUFFIXES)
LOOKED_AT = 10_000
"""At most about so many files, evenly spread, are asked for their size beforehand; that takes a second or two."""


class FileExamples(OnDemandExamples):
    """`paths`, or cells, and their `labels` (long [N]), decoded in `take` as `spec` asks.

    root: what `digest` takes paths relative to.
    on_error: "raise" or "skip"; what is skipped is missing from the batch that `take` returns.
    first: the file of the size that all must have, where nothing resizes.
    """

    labels: Tensor

    def __init__(
        self,
        paths: Sequence[File],
        labels: Tensor,
        spec: Spec,
        root: Path,
        on_error: str = "raise",
        first: File | None = None,
    ) -> None:
        assert len(paths) == len(labels)
        self.paths, self.labels, self.spec, self.root = paths, labels, spec, root
        self.on_error, self.first = on_error, first

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Tensor) -> Batch:
        read = [(i, pixels) for i in indices.tolist() if (pixels := self._read(i)) is not None]
        index = torch.tensor([i for i, _ in read], dtype=torch.long)
        images = [pixels for _, pixels in read]
        none = torch.empty(0, self.spec.shape["channels"], *self.spec.shape["size"], dtype=torch.uint8)
        return {"input": torch.stack(images) if images else none, "label": self.labels[index], "index": index}

    def _read(self, index: int) -> Tensor | None:
        path = self.paths[index]
        try:
            return image_reader.read(path, self.spec, self.first)
        except image_reader.SizeError:
            raise
        except DataError as error:
            if self.on_error == "skip":
                return None
            raise _named(error, index) from error

    @property
    def shape(self) -> tuple[int, ...]:
        return int(self.spec.shape["channels"]), *self.spec.shape["size"]

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def identities(self) -> Tensor | None:
        return self._identities

    @cached_property
    def _identities(self) -> Tensor | None:
        return _numbered(self.paths)

    def identities_of(self, rows: Tensor) -> Tensor | None:
        return _numbered([self.paths[row] for row in rows.tolist()])

    def contents(self, rows: Tensor) -> Tensor:
        return contents((self.paths[i], None) for i in rows.tolist())

    def known_by(self) -> list[str]:
        return known_by(self.paths, self.root)

    def digest(self) -> bytes:
        """Of names and sizes in bytes, of cells the content: an image that was deleted, added or replaced shows."""
        return self._digests[0]

    def cache_digest(self) -> bytes:
        """Of times of change, too, and of all else that decides the pixels."""
        border = f", {letterbox.fill(self.spec)}" if self.spec.shape["fit"] == letterbox.FIT else ""
        decoder = f"Pillow {PIL.__version__}, {image_reader.DECODING}, {sorted(self.spec.shape.items())}{border}"
        return self._digests[1] + decoder.encode()

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return digests(self.paths, self.root)


def _numbered(paths: Sequence[File]) -> Tensor | None:
    contents = files.identities(paths)
    return None if contents is None else numbers(contents)


class ListedImages(ImageSource):
    """Images of any kind and size. A subclass sets `listings`, of each split, and ends with `describe_listings`.

    model_size: finds (H, W) of the images that the model is published for, None where it is for none.
    """

    has_groups = True
    media: ClassVar[Media] = IMAGES
    listings: Mapping[str, Listing]
    unlabelled: ClassVar[str] = "has no folders of classes"
    """Why images have no labels."""

    @property
    def expected(self) -> str:
        """What there should be, for messages."""
        return self.media.layout

    def __init__(self, *, model_size: Callable[[], tuple[int, int] | None] | None = None, **keys: Unpack[Keys]) -> None:
        super().__init__(**keys)
        self.model_size = model_size

    def describe_listings(self, own_size: int | Sequence[int] | None) -> None:
        """As `describe`, by what the images of the split to train on are; own_size: their own, None to look at it."""
        listing, size = self.listings[self.leading(self.listings)], None if own_size is None else pair(own_size)
        if not listing.paths:
            raise DataError(f"{self._where()}: the train split ({self.train}) holds no images; {self.expected}")
        if listing.blank:
            self.note(f"folders without an image are left out: {', '.join(listing.blank)}")
        if scaled := depths.range_note(listing.firsts()):
            self.note(scaled)
        self.first: File | None = None
        fit, sized = None, self.like is not None and "size" in self.like.shape
        paths = [path for each in self.listings.values() for path in each.paths]
        if self.size is None and not sized and size is None:
            self.first, size = self._shared_size(paths)
            fit = None if self.first is None else "none"
        elif self.size is None and self.like is not None and self.like.shape.get("fit") == "none":
            found = self._sizes(paths)  # as they were where a run goes on, which needed no fitting
            if list(found) == [pair(self.like.shape["size"])]:
                (size, self.first), fit = found.popitem(), "none"
        if listing.classes == (NO_CLASS,) and not self.has_sets:
            self.note(f"{self.root or self._where()} {self.unlabelled}, so its images have no labels")
        channels = self.channels or (3 if self.like is None else int(self.like.shape["channels"]))
        mean, std = (MEAN, STD) if channels == 3 else ((0.5,), (0.5,))
        own = size if fit == "none" or not (self.size or sized) else None
        classes = self.classes_of(listing)
        self.describe(classes, tuple(self.listings), own, 3, mean, std, fit)

    def classes_of(self, listing: Listing) -> tuple[str, ...]:
        """The dataset's own classes, by the files of the split to train on."""
        return self.names_in(listing.names) if self.has_sets else listing.classes

    def load(self, split: str) -> OnDemandExamples:
        listing = self._comparable(split)
        if self.has_sets:
            labels = self.to_vectors(listing.names, split)
        else:
            labels = self.to_labels(listing.names, lambda i: f"{listing.paths[i]}: {split}")
        return FileExamples(listing.paths, labels, self.spec, self.base, self.on_error, self.first)

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self.listings[split].paths) for split in splits}

    def grouped(self, split: str) -> Sequence[str]:
        return self._comparable(split).groups

    def _comparable(self, split: str) -> Listing:
        """The files of a split, after a look at whether its classes are those of the training split."""
        listing = self.listings[split]
        present, own = set(listing.classes), set(self.own_classes)
        if self.has_sets:
            return listing
        if self.classes is not None:
            return listing.at([i for i, name in enumerate(listing.names) if name in own])
        if strange := sorted(present - own):
            raise DataError(
                f"{self._where()}: {split} has other classes than {self.train}: no example of "
                f"{shortened(strange, 10)} is in {self.train}; dataset.classes keeps some"
            )
        return listing

    def _shared_size(self, paths: list[File]) -> tuple[File | None, tuple[int, int]]:
        """A file and its size where all that are looked at have that; else no file, and the size to bring all to."""
        sizes = self._sizes(paths)
        if len(sizes) == 1:
            return next((path, size) for size, path in sizes.items())
        least, most = (image_reader.show(choice(sizes, key=lambda size: size[0] * size[1])) for choice in (min, max))
        size, why = self._common_size([min(size) for size in sizes])
        message = f"images of {least} to {most} are brought to {image_reader.show(size)}, {why}"
        self.note(f"{message}; dataset.size=… changes it")
        return None, size

    def _sizes(self, paths: list[File]) -> dict[tuple[int, int], File]:
        """The sizes of those that are looked at, each with a file that has it. Raises DataError where none has one."""
        paths = list(self.without_ignored(paths))
        sizes, first = dict[tuple[int, int], File](), None
        for index in range(0, len(paths), -(-len(paths) // LOOKED_AT)):
            try:
                sizes.setdefault(image_reader.size_of(paths[index]), paths[index])
            except DataError as error:
                first = first or error
                if self.on_error != "skip":
                    raise _named(error, index) from error
        if not sizes:
            none = f"none of {len(paths)} files is readable as an image"
            raise DataError(f"{self._where()}: {none}; the first: {first}")
        return sizes

    def _common_size(self, sides: list[int]) -> tuple[tuple[int, int], str]:
        """What images with these short sides are brought to, and why."""
        published = None if self.model_size is None else self.model_size()
        if published is not None:
            return published, "as the model is published for"
        side = -(-max(sides) // WHOLE) * WHOLE
        if side < PHOTO:
            return (side, side), f"as none has a shorter side of more than {max(sides)}"
        return (PHOTO, PHOTO), "as is usual for photos"


def _named(error: DataError, index: int) -> DataError:
    return DataError(f"{error} (sample {index}); dataset.on_error=skip leaves such files out")
