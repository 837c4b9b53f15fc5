"""What annotation files say of a split's images, whatever their layout, and which of it can be used.

Boxes are (left, top, right, bottom) in pixels of the image; N images, M boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptft.data.image.boxes.tensors import Boxes
from ptft.data.image.pixels.depths import BROKEN
from ptft.data.image.reader import show, size_of
from ptft.errors import DataError

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned before it is looked at."""
TURNED: Mapping[int, Callable[[float, float, float, float], tuple[float, float]]] = {
    5: lambda x, y, width, height: (y, x),
    6: lambda x, y, width, height: (height - y, x),
    7: lambda x, y, width, height: (height - y, width - x),
    8: lambda x, y, width, height: (y, width - x),
}
"""Where a point of a stored picture of (width, height) lies once it is turned, for orientations that swap the sides."""


@dataclass
class Mark:
    """One annotation: a box, the id of its category, whether it stands for a crowd, its area, and what it is called.

    outline: what it covers, polygons or runs of pixels as COCO's files have them; None where the layout has none.
    """

    box: Any
    category: Any
    crowd: bool
    area: float | None
    name: str
    outline: Any = None


@dataclass
class Picture:
    """An image that is annotated, with (height, width) as its annotation says it, None where it does not."""

    path: Path
    size: tuple[int, int] | None
    marks: list[Mark] = field(default_factory=list)


@dataclass
class Split:
    """The pictures of one split; categories: id -> name, as its files give them."""

    pictures: list[Picture]
    categories: dict[Any, str]
    file: str
    notes: Sequence[str] = ()


@dataclass
class Problems:
    """What can't be used: (what it is called, why) each, and how many there are of all."""

    found: list[tuple[str, str]] = field(default_factory=list)
    total: int = 0

    def add(self, name: str, why: str) -> None:
        self.found.append((name, why))

    def shown(self, most: int = 4) -> str:
        listed = [f"{name} ({why})" for name, why in self.found[:most]]
        return ", ".join(listed) + (", …" if len(self.found) > most else "")


def sized(pictures: Iterable[Picture], problems: Problems) -> list[tuple[Picture, tuple[int, int]]]:
    """The pictures that can be read, each with its (height, width) upright; marks of those that EXIF turns are turned.

    problems: gets files that are missing or unreadable, or of another size than their annotation says.
    """
    good = []
    for picture in pictures:
        problems.total += 1
        try:
            good.append((picture, _upright(picture)))
        except DataError as error:
            why = str(error).removeprefix(f"{picture.path}: ")
            problems.add(str(picture.path), why)
    return good


def _upright(picture: Picture) -> tuple[int, int]:
    """(height, width) of a picture as it is seen. Raises DataError where the annotation speaks of another one."""
    orientation = orientation_of(picture.path)
    upright = size_of(picture.path)
    said = picture.size
    if said is None or orientation not in range(2, 9) or not picture.marks:
        if said not in (None, upright) and not (orientation in TURNED and said == upright[::-1]):
            raise DataError(f"is {show(upright)} and its annotation says {show(said)} (height, width)")
        return upright
    if said == upright and orientation in TURNED and upright[0] != upright[1]:
        return upright
    if said == upright[::-1] and orientation in TURNED and upright[0] != upright[1]:
        for mark in picture.marks:
            mark.box = _turned(mark.box, orientation, said)
        return upright
    if said not in (upright, upright[::-1]):
        raise DataError(f"is {show(upright)} and its annotation says {show(said)} (height, width)")
    raise DataError(
        f"its EXIF orientation ({orientation}) turns it, and nothing says whether its boxes are of the picture before "
        "or after that; save it upright"
    )


def orientation_of(path: Path) -> int:
    """How EXIF says that a picture is to be turned, 1 to 8; 1 where it does not."""
    try:
        with Image.open(path) as image:
            value = image.getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1  # size_of tells it
    return value if isinstance(value, int) else 1


def _turned(box: Any, orientation: int, stored: tuple[int, int]) -> Any:
    if not _are_numbers(box):
        return box
    (a, b), (c, d) = (TURNED[orientation](x, y, stored[1], stored[0]) for x, y in (box[:2], box[2:]))
    return [min(a, c), min(b, d), max(a, c), max(b, d)]


def _are_numbers(box: Any) -> bool:
    return (
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in box)
    )


def boxes_of(
    pictures: Sequence[tuple[Picture, tuple[int, int]]], numbers: Mapping[Any, int], problems: Problems
) -> Boxes:
    """The usable marks of pictures, with the number of each one's category; as they are given, not cut to the image.

    problems: gets marks whose box is no box, and of categories that there are not.
    """
    owners, boxes, labels, crowds, areas = list[int](), list[Any](), list[int](), list[bool](), list[float]()
    for owner, (picture, size) in enumerate(pictures):
        for mark in picture.marks:
            problems.total += 1
            why = _unusable(mark, size, numbers)
            if why:
                problems.add(f"{mark.name} of {picture.path.name}", why)
                continue
            owners.append(owner)
            boxes.append(mark.box)
            labels.append(numbers[mark.category])
            crowds.append(mark.crowd)
            left, top, right, bottom = mark.box
            areas.append((right - left) * (bottom - top) if mark.area is None else mark.area)
    return Boxes.of(owners, boxes, labels, crowds, areas, [size for _, size in pictures])


def _unusable(mark: Mark, size: tuple[int, int], numbers: Mapping[Any, int]) -> str:
    if not _are_numbers(mark.box):
        return "its box is not four numbers"
    left, top, right, bottom = mark.box
    if not np.isfinite(mark.box).all() or (mark.area is not None and not np.isfinite(mark.area)):
        return "not finite"
    if right < left or bottom < top:
        return "of negative size"
    if right == left or bottom == top:
        return "empty"
    if right <= 0 or bottom <= 0 or left >= size[1] or top >= size[0]:
        return f"outside of the image, which is {show(size)}"
    return "" if mark.category in numbers else f"of category {mark.category}, which there is not"
