"""Images in folders, one a class, or listed in a CSV file; ImageNet is one of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from ptft.data.folders import list_all
from ptft.data.image.listed.images import ListedImages
from ptft.data.image.source import Keys
from ptft.data.own.by_name import list_by_name
from ptft.data.own.filename_pattern import Pattern
from ptft.data.own.listing import Listing
from ptft.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ImageFolder(ListedImages):
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
        super().__init__(model_size=model_size, **keys)
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
        self.describe_listings(own_size)

    def list_files(self, root: Path, seed: int, labelled: bool, columns: Mapping[str, str]) -> dict[str, Listing]:
        """As `list_all`."""
        return list_all(self, root, seed, self.media, labelled, columns)


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
