"""New images for a model of boxes: read as any image is, and a row for each box that was found, in pixels of its image.

`Spec.shape` has `categories` besides, the ids that the dataset's own files have for the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ptft.core import Columns, Spec
from ptft.data.image import letterbox
from ptft.data.image.boxes.drawing import drawn
from ptft.data.image.boxes.examples import to_original
from ptft.data.image.reader import collate, describe, find, items, opened, preparation, read, size_of
from ptft.data.readers import Held, Listed, Row
from ptft.errors import DataError

__all__ = ["collate", "describe", "draw", "find", "finish", "forms", "items", "preparation", "read", "several"]

SIDES = ("left", "top", "right", "bottom")
several = True
"""An image has as many rows as boxes, and one without a class where it has none."""


def finish(answered: Sequence[tuple[Any, Row]], spec: Spec) -> list[Row]:
    """Rows of `path`, `class`, `score`, `left`, `top`, `right`, `bottom`, the likeliest of each image first.

    answered: items with their `boxes` in pixels of the input, [[left, top, right, bottom, score, class's number]].
    """
    return [row for item, answer in answered for row in _rows(item, answer["boxes"], spec)]


def _rows(item: Any, found: Sequence[Sequence[float]], spec: Spec) -> list[Row]:
    if not found:
        return [{"path": str(item), "class": None}]
    values = torch.tensor(found, dtype=torch.float64)
    size = torch.tensor([whole_size(item)])
    ratio = letterbox.ratios(size, spec)
    boxes = to_original(values[:, :4], ratio.expand(len(values), 2), size.expand(len(values), 2))
    return [
        {
            "path": str(item),
            "class": spec.classes[int(label)],
            "score": float(score),
            **dict(zip(SIDES, box, strict=True)),
        }
        for box, score, label in zip(boxes.tolist(), values[:, 4], values[:, 5], strict=True)
    ]


def _results(columns: Columns, spec: Spec) -> Columns:
    """Rows as COCO's results are: `image_id`, `category_id`, `bbox` (left, top, width, height), `score`."""
    ids = dict(zip(spec.classes, spec.shape["categories"], strict=True))
    found = [i for i, name in enumerate(columns.get("class", ())) if name is not None]
    sides = zip(*(columns[name] for name in SIDES), strict=True) if found else iter(())
    boxes = [[left, top, right - left, bottom - top] if left is not None else [] for left, top, right, bottom in sides]
    return {
        "image_id": [image_id(columns["path"][i]) for i in found],
        "category_id": [ids[columns["class"][i]] for i in found],
        "bbox": [boxes[i] for i in found],
        "score": [columns["score"][i] for i in found],
    }


forms = {"coco": _results}


def image_id(path: str) -> int | str:
    """What COCO's files call an image: the number that its file's name is or ends in, as 42 of 000000000042.jpg."""
    name = Path(path).name
    stem = Path(path).stem.rpartition("_")[2]
    return int(stem) if stem.isdecimal() else name


def draw(name: str, rows: Sequence[Row], spec: Spec) -> bytes | None:
    """A PNG of the image of that name with its boxes; None where it can't be read."""
    try:
        image = opened(name)
    except DataError:
        return None
    return drawn(image, [row for row in rows if row.get("class") is not None], spec.classes)


def whole_size(item: Any) -> tuple[int, int]:
    """(height, width) of the image that an item is."""
    if isinstance(item, Held):
        assert item.whole is not None
        return item.whole
    return size_of(item.item if isinstance(item, Listed) else item)
