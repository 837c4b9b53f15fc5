"""Examples with boxes: images that are read, or in memory, and the boxes of each. Axes: N all of them, B batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ptft.core import Batch, Examples, Spec, Table
from ptft.data.examples import MemoryExamples, OnDemandExamples
from ptft.data.image import letterbox
from ptft.data.image.boxes.tensors import Boxes
from ptft.data.label_sets.handed_on import ImagesHandedOn
from ptft.metrics.detection import Found, Truth, average_precision

DETECTIONS = "detections"
"""Of an evaluation's lists: float [n, D, 6], (left, top, right, bottom) in the input, score and class, or class -1."""


class Boxed(Examples):
    """What images with boxes have in common, wherever their pixels are.

    images: what `take` gives `input` and `index`; boxes: of each; spec: how images become inputs, and the classes.
    """

    images: Examples
    boxes: Boxes
    spec: Spec

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def ratio(self) -> Tensor:
        """float64 [N, 2], pixels of the input for one of the image, across and down."""
        return letterbox.ratios(self.boxes.size, self.spec)

    @cached_property
    def learned(self) -> Boxes:
        return self.boxes.learned()

    def take(self, indices: Tensor) -> Batch:
        """`input`, `index`; `box` float [B, n, 4] in pixels of the input, `box_label` long [B, n], or -1."""
        batch = self.images.take(indices)
        index = batch["index"]
        return {"input": batch["input"], "index": index, **self.learned.batch(index.cpu(), self.ratio)}

    def marked(self) -> Tensor:
        """uint8 [N, K], which classes each image has a box of that is learned."""
        return self.learned.sets(len(self.spec.classes))

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        """AP and its like over the examples that were measured, in pixels of their images; see `metrics.detection`."""
        index = lists["index"].cpu()
        boxes, ratio, found = self.boxes.at(index), self.ratio[index], lists[DETECTIONS].double().cpu()
        image, place = (found[..., 5] >= 0).nonzero(as_tuple=True)
        chosen = found[image, place]
        original = to_original(chosen[:, :4], ratio[image], boxes.size[image])
        truth = Truth(len(boxes), boxes.owner, boxes.box, boxes.label, boxes.crowd, boxes.area)
        return average_precision(truth, Found(image, original, chosen[:, 5].long(), chosen[:, 4]), self.spec.classes)

    def of_classes(self, classes: Sequence[str]) -> Boxed:
        """With the numbers that `classes` have; boxes of others are left out."""
        number = {name: k for k, name in enumerate(classes)}
        place = torch.tensor([number.get(name, -1) for name in self.spec.classes], dtype=torch.long)
        return self.like(self.boxes.renumbered(place), replace(self.spec, classes=tuple(classes)))

    def like(self, boxes: Boxes, spec: Spec) -> Boxed:
        """The same images with other boxes."""
        raise NotImplementedError


def to_original(box: Tensor, ratio: Tensor, size: Tensor) -> Tensor:
    """Boxes [P, 4] of the input in pixels of their images: ratio float [P, 2], size long [P, 2] (height, width)."""
    limit = size.flip(1).repeat(1, 2).to(box.dtype)
    return (box / ratio.repeat(1, 2)).clamp(min=0).minimum(limit)


class BoxExamples(Boxed, ImagesHandedOn):
    """Images that are read when they are taken."""

    images: OnDemandExamples

    def __init__(self, images: OnDemandExamples, boxes: Boxes, spec: Spec) -> None:
        assert len(images) == len(boxes)
        self.images, self.boxes, self.spec = images, boxes, spec

    def at(self, rows: Tensor, labels: Tensor | None = None) -> BoxExamples:
        return BoxExamples(self.images.at(rows), self.boxes.at(rows), self.spec)

    def like(self, boxes: Boxes, spec: Spec) -> BoxExamples:
        return BoxExamples(self.images, boxes, spec)

    def held(self, pixels: MemoryExamples) -> Examples:
        return BoxesInMemory(pixels, self.boxes, self.spec)

    def digest(self) -> bytes:
        return hashlib.sha256(self.images.digest() + self.boxes.bytes()).digest()


class BoxesInMemory(Boxed):
    """Images in memory. They stay there, whatever the device: their boxes would have to be waited for else."""

    images: MemoryExamples

    def __init__(self, images: MemoryExamples, boxes: Boxes, spec: Spec) -> None:
        assert len(images) == len(boxes)
        self.images, self.boxes, self.spec = images, boxes, spec
        self.notes, self.unreadable = images.notes, images.unreadable

    def like(self, boxes: Boxes, spec: Spec) -> BoxesInMemory:
        return BoxesInMemory(self.images, boxes, spec)

    @property
    def nbytes(self) -> int:
        return self.images.nbytes

    @property
    def in_memory(self) -> bool:
        return True
