"""What every dataset of annotated images shares: their target, and their classes. Axes: N images, K classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ptft.core import Examples
from ptft.data.examples import OnDemandExamples, SplitExamples
from ptft.data.image import letterbox
from ptft.data.image.boxes.examples import BoxExamples
from ptft.data.image.boxes.tensors import Boxes
from ptft.data.image.source import ImageSource
from ptft.data.splits import Part
from ptft.errors import ConfigError, shortened
from ptft.metrics import detection

BOXES, LABELS = "boxes", "labels"
READER = "boxes.rows"
"""What reads new images for a model of boxes, and makes rows of its answers."""


class Annotated(NamedTuple):
    """A split: its images, whose `labels` are the sets of their classes (uint8 [N, K]), and their boxes."""

    images: OnDemandExamples
    boxes: Boxes


class AnnotatedSource(ImageSource):
    """Images with boxes. A subclass calls `describe_boxes` when it knows its classes, and implements `annotated`.

    target: "boxes", or "labels": which classes an image has a box of.
    Images are letterboxed, unless `fit` is "stretch"; "crop", for labels alone, would cut boxes.
    """

    has_sets = True

    def __init__(
        self, *, target: str = BOXES, fit: str | None = None, crop_pct: float | None = None, **keys: Any
    ) -> None:
        if target not in (BOXES, LABELS):
            raise ConfigError(f"dataset.target={target}: one of {BOXES}, {LABELS}")
        if target == BOXES and (fit == "crop" or crop_pct not in (None, 1)):
            typed = f"fit={fit}" if fit == "crop" else f"crop_pct={crop_pct}"
            raise ConfigError(f"dataset.{typed}: cuts boxes; dataset.fit={letterbox.FIT} and stretch keep them")
        super().__init__(fit=fit, crop_pct=crop_pct, **keys)
        self.target = target
        theirs = None if self.like is None else self.like.shape.get("fit")
        if fit is None:
            self.fitting["fit"] = theirs if theirs == "stretch" else letterbox.FIT
        if self.fitting["fit"] != "crop":
            self.fitting["crop_pct"] = 1
        if target == BOXES:
            detection.check()

    @abstractmethod
    def annotated(self, split: str) -> Annotated:
        """The images and boxes of one of the dataset's own splits, of its own classes."""

    def describe_boxes(self, categories: Sequence[int], classes: Sequence[str], *description: Any) -> None:
        """As `describe`; categories: the ids that the dataset's own files have for the classes."""
        self.describe(classes, *description)
        self.plain = self.spec
        if self.target == BOXES:
            ids = dict(zip(self.own_classes, categories, strict=True))
            own = {"reader": READER, "categories": [ids[name] for name in self.classes or self.own_classes]}
            self.spec = replace(self.spec, target=BOXES, shape={**self.spec.shape, **own})

    def in_order(self, categories: Sequence[int], classes: Sequence[str]) -> tuple[list[int], list[str]]:
        """Both in the order of the checkpoint's classes where these are the same; what is only measured may lack some.

        So the numbers of classes are those of the model.
        """
        known = self.like if self.like is not None and self.like.target == BOXES else None
        theirs = () if known is None or self.called is not None else known.classes
        if not (set(classes) == set(theirs) or (self.whole and set(classes) <= set(theirs))):
            return list(categories), list(classes)
        ids = dict(zip(theirs, known.shape["categories"], strict=True)) if known else {}
        ids |= dict(zip(classes, categories, strict=True))
        return [ids[name] for name in theirs], list(theirs)

    def load(self, split: str) -> SplitExamples:
        images, boxes = self.annotated(split)
        if self.target == LABELS:
            return images
        return BoxExamples(images, boxes, replace(self.spec, classes=self.own_classes))

    def groups(self, split: str) -> torch.Tensor:
        """uint8 [N, K], which classes an image has a box of."""
        return self.annotated(split).boxes.sets(len(self.own_classes))

    def choose(self, part: Part) -> Examples:
        if self.target == LABELS:
            return super().choose(part)
        examples = self.loaded(part.split).at(part.rows)
        assert isinstance(examples, BoxExamples)
        chosen = examples.of_classes(self.classes or self.own_classes)
        named = chosen.like(chosen.boxes, self.spec)
        self._say(part, named.boxes)
        return named

    def _say(self, part: Part, boxes: Boxes) -> None:
        count = boxes.label.bincount(minlength=len(self.spec.classes)).tolist()
        listed = [f"{name} {number:,}" for name, number in zip(self.spec.classes, count, strict=True)]
        empty, crowds = int((boxes.count == 0).sum()), int(boxes.crowd.sum())
        more = [f"{empty:,} have none"] * bool(empty) + [
            f"{crowds:,} boxes are of crowds, which are not learned"
        ] * bool(crowds)
        said = f"{part.split}: {len(boxes.label):,} boxes in {len(boxes):,} images: {shortened(listed, 8)}"
        self.note("; ".join([said, *more]))
        if absent := [name for name, number in zip(self.spec.classes, count, strict=True) if not number]:
            self.note(f"no box of {shortened(absent, 8)} is in {part.split}")
