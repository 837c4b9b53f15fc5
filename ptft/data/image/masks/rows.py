"""New images for a model of masks: read as any image is, and a row for each class that was found in one.

`Spec.shape` has `categories` besides, the ids that the dataset's own files have for the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ptft.core import Columns, Spec
from ptft.data.image.boxes.rows import image_id, whole_size
from ptft.data.image.masks.drawing import indexed, overlaid
from ptft.data.image.masks.examples import BACKGROUND
from ptft.data.image.masks.fitting import IGNORED, Pixels, to_original
from ptft.data.image.masks.run_lengths import mask_of, runs_in, runs_of, text_of
from ptft.data.image.reader import collate, describe, find, items, opened, preparation, read
from ptft.data.readers import Row
from ptft.errors import DataError

__all__ = [
    "collate",
    "describe",
    "draw",
    "find",
    "finish",
    "forms",
    "items",
    "picture",
    "preparation",
    "read",
    "several",
]

several = True
"""An image has as many rows as classes."""
unshown = ("counts",)


def finish(answered: Sequence[tuple[Any, Row]], spec: Spec) -> list[Row]:
    """Rows of `path`, `class`, `score`, `pixels`, `height`, `width`, `counts` (as COCO's files write a mask), in the
    order of the classes.

    answered: items with their `mask`, uint8 [H, W] in pixels of the input, and the `scores` of the classes.
    """
    return [row for item, answer in answered for row in _rows(item, answer["mask"], answer["scores"], spec)]


def _rows(item: Any, mask: Tensor, scores: Sequence[float], spec: Spec) -> list[Row]:
    height, width = whole_size(item)
    found = to_original(mask, (height, width), spec)
    return [
        {
            "path": str(item),
            "class": spec.classes[k],
            "score": scores[k],
            "pixels": int(pixels),
            "height": height,
            "width": width,
            "counts": text_of(runs_of(found == k)),
        }
        for k, pixels in zip(*(each.tolist() for each in np.unique(found, return_counts=True)), strict=True)
    ]


def _results(columns: Columns, spec: Spec) -> Columns:
    """Rows as COCO's results are: `image_id`, `category_id`, `segmentation` (size and counts), `score`; of classes
    that its files have."""
    ids = dict(zip(spec.classes, spec.shape["categories"], strict=True))
    found = [i for i, name in enumerate(columns.get("class", ())) if name not in (None, BACKGROUND)]
    return {
        "image_id": [image_id(columns["path"][i]) for i in found],
        "category_id": [ids[columns["class"][i]] for i in found],
        "segmentation": [
            {"size": [columns["height"][i], columns["width"][i]], "counts": columns["counts"][i]} for i in found
        ],
        "score": [columns["score"][i] for i in found],
    }


forms = {"coco": _results}


def _whole(rows: Sequence[Row], spec: Spec) -> Pixels | None:
    """The mask that rows are of, uint8 [h, w]."""
    named = [row for row in rows if row.get("class") is not None]
    if not named:
        return None
    size = int(named[0]["height"]), int(named[0]["width"])
    mask = np.full(size, IGNORED, dtype=np.uint8)
    for row in named:
        mask[mask_of(runs_in(row["counts"]), size)] = spec.classes.index(row["class"])
    return mask


def draw(name: str, rows: Sequence[Row], spec: Spec) -> bytes | None:
    """A PNG of the image of that name with its mask over it; None where it can't be read."""
    mask = _whole(rows, spec)
    try:
        return None if mask is None else overlaid(opened(name), mask, spec.classes)
    except DataError:
        return None


def picture(name: str, rows: Sequence[Row], spec: Spec) -> bytes | None:
    """A PNG of the mask alone, its values the numbers of the classes; None where there is none."""
    mask = _whole(rows, spec)
    return None if mask is None else indexed(mask, spec.classes)
