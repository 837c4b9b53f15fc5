"""Masks of annotations: polygons and runs of pixels, in the layouts that have them. Axes: N images, M annotations."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptft.core import Spec
from ptft.data.image.boxes.marks import Mark, Picture, Problems, orientation_of
from ptft.data.image.masks import run_lengths
from ptft.data.image.masks.examples import Painter
from ptft.data.image.masks.fitting import IGNORED, Pixels, fitted
from ptft.data.image.reader import show

Values = TypeVar("Values", NDArray[np.bool_], NDArray[np.uint8])
CORNERS = 3
"""A polygon has so many at least."""


class Outline(NamedTuple):
    """What an annotation covers: `counts` as `run_lengths` has them; the number of its class; whether it is a crowd."""

    counts: bytes
    label: int
    crowd: bool


@dataclass(frozen=True)
class Outlines:
    """Of N images; size: long [N, 2], their (height, width)."""

    each: Sequence[Sequence[Outline]]
    size: Tensor

    def __len__(self) -> int:
        return len(self.each)

    def at(self, rows: Tensor) -> Outlines:
        return Outlines([self.each[row] for row in rows.tolist()], self.size[rows])

    def sets(self, classes: int) -> Tensor:
        """uint8 [N, K], 1 where an image has something of the class that is no crowd."""
        vectors = torch.zeros(len(self), classes, dtype=torch.uint8)
        for i, outlines in enumerate(self.each):
            for outline in outlines:
                vectors[i, outline.label] |= int(not outline.crowd)
        return vectors

    @property
    def crowds(self) -> int:
        return sum(outline.crowd for outlines in self.each for outline in outlines)


class OutlinePainter(Painter):
    """A later annotation lies on top of the earlier ones, crowds below all of them: they count for nothing.

    empty: the number of pixels that no annotation covers.
    """

    def __init__(self, outlines: Outlines, empty: int, spec: Spec) -> None:
        self.outlines, self.empty, self.spec = outlines, empty, spec

    def __call__(self, rows: Tensor) -> Tensor:
        masks = [fitted(self.whole(row), self.spec) for row in rows.tolist()]
        return torch.stack(masks) if masks else torch.empty(0, *self.spec.shape["size"], dtype=torch.uint8)

    def whole(self, row: int) -> Pixels:
        """The mask of an image in its own pixels."""
        height, width = self.outlines.size[row].tolist()
        mask = np.full((height, width), self.empty, dtype=np.uint8)
        for outline in sorted(self.outlines.each[row], key=lambda each: not each.crowd):
            inside = run_lengths.mask_of(run_lengths.runs_in(outline.counts.decode()), (height, width))
            mask[inside] = IGNORED if outline.crowd else outline.label
        return mask

    def digest(self) -> bytes:
        digest = hashlib.sha256(self.outlines.size.numpy().tobytes() + bytes([self.empty]))
        for outlines in self.outlines.each:
            digest.update(repr(outlines).encode())
        return digest.digest()


def outlines_of(
    pictures: Sequence[tuple[Picture, tuple[int, int]]], numbers: Mapping[Any, int], problems: Problems
) -> Outlines:
    """The usable outlines of pictures, each with its (height, width) upright; the number of each one's category.

    problems: gets marks whose outline is none, and of categories that there are not.
    """
    each = []
    for picture, size in pictures:
        problems.total += len(picture.marks)
        outlines = []
        for mark in picture.marks:
            try:
                outlines.append(_outline(mark, picture, size, numbers))
            except ValueError as error:
                problems.add(f"{mark.name} of {picture.path.name}", str(error))
        each.append(outlines)
    return Outlines(each, torch.tensor([size for _, size in pictures], dtype=torch.long).view(-1, 2))


def _outline(mark: Mark, picture: Picture, size: tuple[int, int], numbers: Mapping[Any, int]) -> Outline:
    if mark.category not in numbers:
        raise ValueError(f"of category {mark.category}, which there is not")
    stored = picture.size if picture.size in (size, size[::-1]) and picture.size is not None else size
    runs = _runs(mark.outline, stored)
    if stored != size:
        runs = run_lengths.runs_of(turned(run_lengths.mask_of(runs, stored), orientation_of(picture.path)))
    if not sum(runs[1::2]):
        raise ValueError("covers no pixel")
    return Outline(run_lengths.text_of(runs).encode(), numbers[mark.category], mark.crowd)


def turned(mask: Values, orientation: int) -> Values:
    """A mask [h, w] of a stored picture as that is seen, for orientations of EXIF that swap the sides."""
    if orientation in (5, 7):
        mask = mask if orientation == 5 else mask[::-1, ::-1]
        return np.ascontiguousarray(mask.T)
    return np.ascontiguousarray(np.rot90(mask, -1 if orientation == 6 else 1))


def _runs(outline: Any, size: tuple[int, int]) -> run_lengths.Runs:
    """Of polygons, or of runs as they are or as text. Raises ValueError for what is neither."""
    if isinstance(outline, list) and outline:
        polygons = [outline] if isinstance(outline[0], int | float) else outline
        if why := next((why for polygon in polygons if (why := _no_polygon(polygon))), ""):
            raise ValueError(why)
        return run_lengths.of_polygons(polygons, size)
    if not isinstance(outline, dict) or "counts" not in outline:
        raise ValueError("has no segmentation, neither polygons nor runs of pixels")
    if (said := outline.get("size")) != list(size):
        raise ValueError(f"its runs are of an image of {said}, which is {show(size)}")
    counts = outline["counts"]
    if not isinstance(counts, str) and not (isinstance(counts, list) and all(type(run) is int for run in counts)):
        raise ValueError("its counts are neither a text nor whole numbers")
    runs = run_lengths.runs_in(counts) if isinstance(counts, str) else counts
    run_lengths.mask_of(runs, size)
    return runs


def _no_polygon(polygon: Any) -> str:
    numbers = isinstance(polygon, list) and all(type(value) in (int, float) for value in polygon)
    if not numbers or len(polygon) < 2 * CORNERS or len(polygon) % 2:
        return "a polygon of it is not x, y of three corners or more"
    if not all(math.isfinite(value) for value in polygon):
        return "not finite"
    return "" if max(map(abs, polygon)) < 1e6 else "farther away than an image is large"
