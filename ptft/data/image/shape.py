"""The keys of `Spec.shape` of images."""

from __future__ import annotations

from typing import TypedDict


class ImageShape(TypedDict, total=False):
    """`Spec.shape` of images; `size`, `channels` and `fit` are always there.

    fit: "crop", "stretch", "letterbox", or "none" where all must have the size.
    """

    size: list[int]  # height and width
    channels: int  # 1 (grey) or 3 (colour)
    fit: str
    crop_pct: float  # the share of each side in the middle that is kept, where it is not 1
    path: str  # the column of the files in lists, where it has another name
    interpolation: str  # nearest, bicubic or lanczos, where it is not bilinear
    reader: str  # of boxes: boxes.rows, of masks: masks.rows
    categories: list[int]  # of boxes and masks: what the dataset's files call the classes
