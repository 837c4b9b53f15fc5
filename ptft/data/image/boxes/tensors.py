"""Boxes of many images as tensors. Axes: N images, M boxes of all of them, B batch.

A box is (left, top, right, bottom) in pixels of its own image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ptft.core import Batch, length_mask
from ptft.data.ragged import flat_indices, starts_of

NO_BOX = -1
"""The label behind the last box of an image."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of N images, one image after the other.

    count: long [N], of each image. size: long [N, 2], its (height, width). box: float64 [M, 4]. label: long [M].
    crowd: bool [M], whether it stands for many that nobody drew. area: float64 [M], of what is inside.
    """

    count: Tensor
    size: Tensor
    box: Tensor
    label: Tensor
    crowd: Tensor
    area: Tensor

    @classmethod
    def of(
        cls,
        owners: Sequence[int],
        boxes: Sequence[Sequence[float]],
        labels: Sequence[int],
        crowds: Sequence[bool],
        areas: Sequence[float],
        sizes: Sequence[tuple[int, int]],
    ) -> Boxes:
        """From lists, by ascending owner."""
        return cls(
            torch.tensor(owners, dtype=torch.long).bincount(minlength=len(sizes)),
            torch.tensor(sizes, dtype=torch.long).view(-1, 2),
            torch.tensor(boxes, dtype=torch.float64).view(-1, 4),
            torch.tensor(labels, dtype=torch.long),
            torch.tensor(crowds, dtype=torch.bool),
            torch.tensor(areas, dtype=torch.float64),
        )

    def __len__(self) -> int:
        return len(self.count)

    @cached_property
    def starts(self) -> Tensor:
        return starts_of(self.count)

    @cached_property
    def owner(self) -> Tensor:
        """Long [M], the image of each."""
        return torch.arange(len(self)).repeat_interleave(self.count)

    def at(self, rows: Tensor) -> Boxes:
        """Those of the images at `rows` (long [n])."""
        count = self.count[rows]
        return self._chosen(count, self.size[rows], flat_indices(self.starts[rows], count))

    def only(self, chosen: Tensor) -> Boxes:
        """Those of which `chosen` (bool [M]) is true; images keep their place."""
        count = torch.zeros_like(self.count).index_add_(0, self.owner, chosen.long())
        return self._chosen(count, self.size, chosen.nonzero().flatten())

    def _chosen(self, count: Tensor, size: Tensor, where: Tensor) -> Boxes:
        return Boxes(count, size, self.box[where], self.label[where], self.crowd[where], self.area[where])

    def renumbered(self, place: Tensor) -> Boxes:
        """With the label `place[label]` (long [K]); those of which it is negative are left out."""
        labels = place[self.label]
        kept = labels >= 0
        return replace(self, label=labels).only(kept)

    def sets(self, classes: int) -> Tensor:
        """uint8 [N, K], 1 where an image has a box of the class."""
        vectors = torch.zeros(len(self), classes, dtype=torch.uint8)
        vectors[self.owner, self.label] = 1
        return vectors

    def learned(self) -> Boxes:
        """What is learned: each cut to its image, and no crowds."""
        limit = self.size[self.owner].flip(1).repeat(1, 2)
        return replace(self, box=self.box.clamp(min=0).minimum(limit)).only(~self.crowd)

    def batch(self, indices: Tensor, ratio: Tensor) -> Batch:
        """`box` float [B, n, 4] and `box_label` long [B, n] of images (long [B]), n the most of them and at least 1.

        ratio: float64 [N, 2], pixels of the input for one of the image, across and down.
        """
        count = self.count[indices]
        most = max(1, int(count.max())) if len(count) else 1
        real = length_mask(count, most)
        where = flat_indices(self.starts[indices], count)
        box = torch.zeros(len(indices), most, 4, dtype=torch.float64)
        label = torch.full((len(indices), most), NO_BOX)
        box[real], label[real] = self.box[where], self.label[where]
        return {"box": (box * ratio[indices].repeat(1, 2).unsqueeze(1)).float(), "box_label": label}

    def bytes(self) -> bytes:
        """Of all that is known, in a fixed order."""
        parts = (self.count, self.size, self.box, self.label, self.crowd, self.area)
        return b"".join(part.contiguous().numpy().tobytes() for part in parts)
