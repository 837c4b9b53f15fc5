"""Images in folders, one a class, or listed in a CSV file; ImageNet is one of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import files
from ptft.data.examples import OnDemandExamples
from ptft.data.folders import list_all
from ptft.data.image import letterbox
from ptft.data.image import reader as image_reader
from ptft.data.image.pixels import depths
from ptft.data.image.source import NO_CLASS, ImageSource, Keys, pair
from ptft.data.own.by_name import list_by_name
from ptft.data.own.filename_pattern import Pattern
from ptft.data.own.listing import Listing, Media
from ptft.data.stratify import contents, numbers
from ptft.errors import ConfigError, DataError, shortened

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
    """`paths` and their `labels` (long [N]), decoded in `take` as `spec` asks.

    root: what `digest` takes paths relative to.
    on_error: "raise" or "skip"; what is skipped is missing from the batch that `take` returns.
    first: the file of the size that all must have, where nothing resizes.
    """

    labels: Tensor

    def __init__(
        self,
        paths: list[Path],
        labels: Tensor,
        spec: Spec,
        root: Path,
        on_error: str = "raise",
        first: Path | None = None,
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
        return [files.relative(path, self.root) for path in self.paths]

    def digest(self) -> bytes:
        """Of names and sizes in bytes: an image that was deleted, added or replaced shows."""
        return self._digests[0]

    def cache_digest(self) -> bytes:
        """Of times of change, too, and of all else that decides the pixels."""
        border = f", {letterbox.fill(self.spec)}" if self.spec.shape["fit"] == letterbox.FIT else ""
        decoder = f"Pillow {PIL.__version__}, {image_reader.DECODING}, {sorted(self.spec.shape.items())}{border}"
        return self._digests[1] + decoder.encode()

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return files.digests(self.paths, self.root)


def _numbered(paths: Sequence[Path]) -> Tensor | None:
    contents = files.identities(paths)
    return None if contents is None else numbers(contents)


class ImageFolder(ImageSource):
    """Images of any kind and size, one folder a class.

    root: a folder of `train/CLASS/image.jpg`, `val/CLASS/…` and perhaps `test/CLASS/…`; or of `CLASS/image.jpg`,
        divided into 80, 10 and 10 percent by class and `split_seed`; or a CSV file with the columns path (relative to
        it), label, and perhaps split. Folders are listed when the source is made, images read when they are taken.
    own_size: the size where neither `size` nor a checkpoint says one; None keeps the images' own where it is the same
        for all, and else is `model_size` of the model, or PHOTO, or less where all images are smaller.
    split_seed: divides one folder; not the run's seed, so that all seeds of a sweep are tested on the same images.
    path, label: the columns of a CSV, by name; "auto": those of these names, else the only ones that can be them.
        Several labels: columns of 0 and 1.
    label_separator: what stands between the labels of an image in a CSV's column, where it may have several, or none.
    pattern, test_rule, val_rule: what the names of files say, as `ptft.data.audio.folder.AudioFolder` has it.
    group: a column, "folder" or a part of the pattern; see `ptft.data.own.grouping`.
    labelled: whether there must be labels. Without, `root` may also be a folder of images, or of `train/image.jpg` and
        `val/image.jpg`; it has no classes then, and its batches no labels.
    model_size: finds (H, W) of the images that the model is published for, None where it is for none.

    Raises DataError saying what is wrong with `root`, or how the classes of two splits differ.
    """

    has_groups = True
    media: ClassVar[Media] = IMAGES
    answer: ClassVar[str] = "label"
    """The key that names the column of what is to be known of an image."""

    def __init__(
        self,
        *,
        own_size: int | Sequence[int] | None = None,
        split_seed: int = 0,
        path: str = "path",
        label: str | Sequence[str] = "label",
        label_separator: str | None = None,
        pattern: str | None = None,
        test_rule: str | None = None,
        val_rule: str | None = None,
        labelled: bool = True,
        model_size: Callable[[], tuple[int, int] | None] | None = None,
        **keys: Unpack[Keys],
    ) -> None:
        super().__init__(**keys)
        self.model_size = model_size
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {self.media.layout}")
        column = self.read_sets(label, label_separator)
        self.check_list(self.root)
        rules = {"test": test_rule, "val": val_rule}
        parsed = None if pattern is None else Pattern(pattern, keys.get("group"), self.media.suffixes)
        self.named_by(parsed)
        named = list_by_name(self, self.root, self.media, parsed, rules, split_seed)
        columns = {"path": path, self.answer: column}
        self.listings = self.list_files(self.root, split_seed, labelled, columns) if named is None else named
        self._describe(self.listings[self.leading(self.listings)], None if own_size is None else pair(own_size))

    def list_files(self, root: Path, seed: int, labelled: bool, columns: Mapping[str, str]) -> dict[str, Listing]:
        """As `list_all`."""
        return list_all(self, root, seed, self.media, labelled, columns)

    def _describe(self, listing: Listing, size: tuple[int, int] | None) -> None:
        if not listing.paths:
            raise DataError(
                f"dataset.root={self.root}: the train split ({self.train}) holds no images; {self.media.layout}"
            )
        if listing.blank:
            self.note(f"folders without an image are left out: {', '.join(listing.blank)}")
        if scaled := depths.range_note(listing.firsts()):
            self.note(scaled)
        self.first: Path | None = None
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
            self.note(f"{self.root} has no folders of classes, so its images have no labels")
        channels = self.channels or (3 if self.like is None else int(self.like.shape["channels"]))
        mean, std = (MEAN, STD) if channels == 3 else ((0.5,), (0.5,))
        own = size if fit == "none" or not (self.size or sized) else None
        classes = self.names_in(listing.names) if self.has_sets else listing.classes
        self.describe(classes, tuple(self.listings), own, 3, mean, std, fit)

    def load(self, split: str) -> OnDemandExamples:
        assert self.root is not None
        listing = self._comparable(split)
        if self.has_sets:
            labels = self.to_vectors(listing.names, split)
        else:
            labels = self.to_labels(listing.names, lambda i: f"{listing.paths[i]}: {split}")
        base = self.root if self.root.is_dir() else self.root.parent
        return FileExamples(listing.paths, labels, self.spec, base, self.on_error, self.first)

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
                f"dataset.root={self.root}: {split} has other classes than {self.train}: no example of "
                f"{shortened(strange, 10)} is in {self.train}; dataset.classes keeps some"
            )
        return listing

    def _shared_size(self, paths: list[Path]) -> tuple[Path | None, tuple[int, int]]:
        """A file and its size where all that are looked at have that; else no file, and the size to bring all to."""
        sizes = self._sizes(paths)
        if len(sizes) == 1:
            return next((path, size) for size, path in sizes.items())
        least, most = (image_reader.show(choice(sizes, key=lambda size: size[0] * size[1])) for choice in (min, max))
        size, why = self._common_size([min(size) for size in sizes])
        message = f"images of {least} to {most} are brought to {image_reader.show(size)}, {why}"
        self.note(f"{message}; dataset.size=… changes it")
        return None, size

    def _sizes(self, paths: list[Path]) -> dict[tuple[int, int], Path]:
        """The sizes of those that are looked at, each with a file that has it. Raises DataError where none has one."""
        paths = list(self.without_ignored(paths))
        sizes, first = dict[tuple[int, int], Path](), None
        for index in range(0, len(paths), -(-len(paths) // LOOKED_AT)):
            try:
                sizes.setdefault(image_reader.size_of(paths[index]), paths[index])
            except DataError as error:
                first = first or error
                if self.on_error != "skip":
                    raise _named(error, index) from error
        if not sizes:
            none = f"none of {len(paths)} files is readable as an image"
            raise DataError(f"dataset.root={self.root}: {none}; the first: {first}")
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


def sample(root: Path, count: int = 12) -> None:
    """Write `count` random JPEG files a class and split, two classes, of several sizes, below `root`."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (40 + i, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
