"""Files of masks: PNGs and their like, a value for each pixel. Axes: h, w of a mask, N images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ptft.core import Spec
from ptft.data import files
from ptft.data.image.boxes.marks import TURNED, orientation_of
from ptft.data.image.masks.examples import VALUES, Painter
from ptft.data.image.masks.fitting import IGNORED, Pixels, fitted
from ptft.data.image.masks.outlines import turned
from ptft.data.image.pixels.depths import BROKEN
from ptft.data.image.reader import show, size_of
from ptft.errors import DataError, first_line

SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm"})
"""Kinds of files that keep every value; others (JPEG) blur them."""
MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
"""Of Pillow: those that hold one whole number a pixel."""


def read(path: Path) -> Pixels:
    """The values of a mask, uint8 [h, w]. Raises DataError naming the file for what is none."""
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                what = "its pixels are colours and no numbers of classes; save it grey, or with a palette"
                raise DataError(f"{path}: {what} (mode {image.mode})")
            values = np.asarray(image).astype(np.int64)
    except BROKEN as error:
        raise DataError(f"{path}: not readable as an image ({first_line(error)})") from error
    least, most = int(values.min()), int(values.max())
    if least < 0 or most >= VALUES:
        raise DataError(f"{path}: holds the value {least if least < 0 else most}, and values are 0 to {IGNORED}")
    return values.astype(np.uint8)


class Seen(NamedTuple):
    """What is known of a mask: which values it holds, bool [256]; (height, width) upright; how it is turned, 1: not."""

    values: NDArray[np.bool_]
    size: tuple[int, int]
    turn: int


def seen(image: Path, mask: Path) -> Seen:
    """Raises DataError, without the name of the image, for a mask that can't be read or is of another size."""
    size, values = size_of(image), read(mask)
    own, orientation = values.shape, orientation_of(image)
    found = np.bincount(values.ravel(), minlength=VALUES) > 0
    swapped = orientation in TURNED and size[0] != size[1]
    if own == size and (orientation == 1 or swapped):
        return Seen(found, size, 1)
    if swapped and own == size[::-1]:
        return Seen(found, size, orientation)
    if own == size:
        why = "turns it, and nothing says whether its mask is turned; save it upright"
        raise DataError(f"its EXIF orientation ({orientation}) {why}")
    raise DataError(f"is {show(size)} and its mask {mask.name} is {show((own[0], own[1]))} (height, width)")


class FilePainter(Painter):
    """paths: of masks, and of each how it is turned; numbers: uint8 [256], the class of each value; root: what `digest`
    takes paths relative to."""

    def __init__(self, paths: Sequence[Path], turns: Sequence[int], numbers: Pixels, spec: Spec, root: Path) -> None:
        self.paths, self.turns, self.numbers, self.spec, self.root = list(paths), turns, numbers, spec, root

    def __call__(self, rows: Tensor) -> Tensor:
        masks = [fitted(self.whole(row), self.spec) for row in rows.tolist()]
        return torch.stack(masks) if masks else torch.empty(0, *self.spec.shape["size"], dtype=torch.uint8)

    def whole(self, row: int) -> Pixels:
        """The mask of an image in its own pixels, numbers of classes."""
        values = self.numbers[read(self.paths[row])]
        return values if self.turns[row] == 1 else turned(values, self.turns[row])

    def digest(self) -> bytes:
        return self._with_numbers(self._digests[0])

    def cache_digest(self) -> bytes:
        return self._with_numbers(self._digests[1])

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return files.digests(self.paths, self.root)

    def _with_numbers(self, digest: bytes) -> bytes:
        return hashlib.sha256(digest + self.numbers.tobytes()).digest()


def by_stem(folder: Path) -> dict[str, Path]:
    """Place below the folder, without suffix -> the mask. Raises DataError for two masks of one image."""
    found: dict[str, Path] = {}
    for path in files.find(folder, SUFFIXES):
        if (other := found.setdefault(stem(path, folder), path)) != path:
            raise DataError(f"{other} and {path} are both the mask of one image; leave one of them")
    return found


def stem(path: Path, folder: Path) -> str:
    """What image and mask have in common."""
    return str(Path(files.relative(path, folder)).with_suffix(""))


def folders(root: Path, images: str, masks: str) -> Mapping[str, tuple[Path, Path]]:
    """Split -> (folder of images, folder of masks): ROOT/IMAGES/SPLIT or ROOT/SPLIT/IMAGES; "" where none divides."""
    below = root / images
    inside = [path for path in sorted(below.iterdir()) if path.is_dir()] if below.is_dir() else []
    if found := {path.name: (path, root / masks / path.name) for path in inside}:
        return found
    if below.is_dir():
        return {"": (below, root / masks)}
    above = [path for path in sorted(root.iterdir()) if (path / images).is_dir()] if root.is_dir() else []
    return {path.name: (path / images, path / masks) for path in above}
