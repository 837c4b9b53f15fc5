"""Images in datasets of Hugging Face's library, by name or from a folder (`pip install 'ptft[huggingface]'`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from ptft.data.examples import SplitExamples
from ptft.data.folders import listings_of
from ptft.data.hub.cells import known_by
from ptft.data.hub.source import HubSource
from ptft.data.hub.tables import IMAGE
from ptft.data.image.listed.images import FileExamples, ListedImages
from ptft.data.image.source import Keys
from ptft.data.own.arrow import write_parquet
from ptft.data.own.columns import AUTO
from ptft.data.own.listing import Listing
from ptft.data.own.unusable import UnusableRows

if TYPE_CHECKING:
    from typing_extensions import Unpack


class HuggingFaceImages(HubSource, ListedImages):
    """An image a row, and a class, several labels, or nothing.

    name, subset, root: as of `HubSource`. What is of no split is divided into 80, 10 and 10 percent by `split_seed`.
    image, label: columns by name; "auto": those of these names, else what says so itself, or is the only one that can
        be it. label: None for none; several columns of 0 and 1, or one of lists: several labels each.
    label_separator: what stands between the labels of a text. own_size: as of `ptft.data.image.folder.ImageFolder`.
    labelled: whether there must be labels.

    The classes are those that the column says, in its order. Raises DataError saying what can't be read.
    """

    unlabelled: ClassVar[str] = "has no column of labels, or rows without one"
    expected = "expected rows of images"

    def __init__(
        self,
        *,
        name: str | None = None,
        subset: str | None = None,
        image: str = AUTO,
        label: str | Sequence[str] | None = AUTO,
        label_separator: str | None = None,
        own_size: int | Sequence[int] | None = None,
        split_seed: int = 0,
        labelled: bool = True,
        model_size: Callable[[], tuple[int, int] | None] | None = None,
        **keys: Unpack[Keys],
    ) -> None:
        super().__init__(model_size=model_size, **keys)
        table = self.open(name, subset)
        typed = {IMAGE: image, "label": self.read_sets(label, label_separator)}
        wanted = self.read_columns(table, IMAGE, typed, labelled)
        unusable = UnusableRows(self.on_error, "row")
        rows, key = self.read_rows(wanted, unusable), None if wanted.label is None else "label"
        if not labelled and not self.has_sets and not all(row.label for row in rows if row.split in (self.train, "")):
            rows, key, self.class_order = [row._replace(label="") for row in rows], None, ()
        if any(row.split for row in rows):
            rows = [row._replace(split=row.split or "train") for row in rows]
        listings = listings_of(self, rows, unusable, key)
        self.listings = self._parts_of(listings[""], split_seed) if "" in listings else listings
        self.describe_listings(own_size)

    def _parts_of(self, listing: Listing, seed: int) -> dict[str, Listing]:
        """The rows that nobody divided, by class."""
        where, every = self.root or self._where(), range(len(listing.paths))
        parts = self.divide(
            where, every, seed, lambda: known_by(listing.paths, self.base), listing.groups, listing.names
        )
        return {split: listing.at(rows) for split, rows in parts.items()}

    def classes_of(self, listing: Listing) -> tuple[str, ...]:
        return self.in_order(super().classes_of(listing))

    def names(self, split: str) -> Sequence[str]:
        examples: SplitExamples = self.loaded(split)
        assert isinstance(examples, FileExamples)
        return self.names_of(examples.paths)


def sample(root: Path, count: int = 12) -> None:
    """Write train.parquet and validation.parquet below `root`: `count` random images of each of two classes."""
    generator = np.random.default_rng(0)
    for split in ("train", "validation"):
        images = list[bytes]()
        for _ in range(2 * count):
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file := io.BytesIO(), "PNG")
            images.append(file.getvalue())
        write_parquet(root / f"{split}.parquet", IMAGE, images, ["cat", "dog"] * count)
