"""New images for a model of boxes: read as any image is, and a row for each box that was found, in pixels of its image.

`Spec.shape` has `categories` besides, the ids that the dataset's own files have for the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ptft.core import Spec
from ptft.data.image import letterbox
from ptft.data.image.boxes.examples import to_original
from ptft.data.image.reader import collate, describe, find, items, preparation, read, size_of
from ptft.data.readers import Held, Listed, Row

__all__ = ["collate", "describe", "find", "finish", "items", "preparation", "read", "several"]

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
            **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
        }
        for box, score, label in zip(boxes.tolist(), values[:, 4], values[:, 5], strict=True)
    ]


def whole_size(item: Any) -> tuple[int, int]:
    """(height, width) of the image that an item is."""
    if isinstance(item, Held):
        assert item.whole is not None
        return item.whole
    return size_of(item.item if isinstance(item, Listed) else item)
