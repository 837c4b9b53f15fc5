"""What every dataset of annotated images shares: their target, and their classes. Axes: N images, K classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from ptft.core import Examples
from ptft.data import files
from ptft.data.cleaning.ignore import KEY
from ptft.data.examples import OnDemandExamples, SplitExamples, too_many
from ptft.data.image import letterbox
from ptft.data.image.boxes.examples import BoxExamples
from ptft.data.image.boxes.marks import Problems
from ptft.data.image.boxes.tensors import Boxes
from ptft.data.image.masks.examples import BACKGROUND, MaskExamples, Painter
from ptft.data.image.reader import show
from ptft.data.image.source import ImageSource
from ptft.data.own.unusable import Unread
from ptft.data.splits import Part
from ptft.errors import ConfigError, DataError, are, counted, shortened
from ptft.metrics import detection

BOXES, LABELS, MASKS, IMAGES = "boxes", "labels", "masks", "images"
READERS = {BOXES: "boxes.rows", MASKS: "masks.rows"}
"""What reads new images for a model of them, and makes rows of its answers."""
LONGEST = 512
"""Pixels of the longer side of images where nothing else says one."""
WHOLE = 32
"""Sides are a multiple of so many pixels, which networks can halve five times."""
MOST = 255
"""Classes that a pixel of a mask can name."""


class Marks(Protocol):
    """What is marked in N images."""

    def sets(self, classes: int) -> Tensor:
        """uint8 [N, K], which classes an image has."""


class Annotated(NamedTuple):
    """A split: its images, whose `labels` are the sets of their classes (uint8 [N, K]), and what is marked in them."""

    images: OnDemandExamples
    marks: Marks


class AnnotatedSource(ImageSource):
    """Images with marks. A subclass calls `describe_marks` when it knows its classes, and implements `annotated`, and
    `painter` where it has masks.

    target: "boxes"; "masks": the class of every pixel; or "labels": which classes an image has a mark of.
    every: whether images that can't be used are listed, however many they are (`unread`), whatever `on_error` says.
    Images are letterboxed, unless `fit` is "stretch"; "crop", for labels alone, would cut marks.
    """

    has_sets = True
    targets: ClassVar[tuple[str, ...]] = (BOXES, MASKS, LABELS)

    def __init__(
        self,
        *,
        target: str = BOXES,
        fit: str | None = None,
        crop_pct: float | None = None,
        every: bool = False,
        **keys: Any,
    ) -> None:
        if target not in self.targets:
            raise ConfigError(f"dataset.target={target}: one of {', '.join(self.targets)}")
        if target != LABELS and (fit == "crop" or crop_pct not in (None, 1)):
            typed = f"fit={fit}" if fit == "crop" else f"crop_pct={crop_pct}"
            raise ConfigError(f"dataset.{typed}: cuts {target}; dataset.fit={letterbox.FIT} and stretch keep them")
        super().__init__(fit=fit, crop_pct=crop_pct, **keys)
        self.target, self.every = target, every
        theirs = None if self.like is None else self.like.shape.get("fit")
        if fit is None:
            self.fitting["fit"] = theirs if theirs == "stretch" else letterbox.FIT
        if self.fitting["fit"] != "crop":
            self.fitting["crop_pct"] = 1
        if target == BOXES:
            detection.check()

    @abstractmethod
    def annotated(self, split: str) -> Annotated:
        """The images and marks of one of the dataset's own splits, of its own classes."""

    def painter(self, split: str) -> Painter:
        """What makes the masks of one of the dataset's own splits, of its own classes."""
        raise NotImplementedError(f"{type(self).__name__} has no masks")

    def describe_marks(self, categories: Sequence[int], classes: Sequence[str], *description: Any) -> None:
        """As `describe`; categories: the ids that the dataset's own files have for the classes."""
        if self.target == MASKS and len(classes) > MOST:
            raise DataError(f"dataset.root={self.root}: has {len(classes)} classes, and masks at most {MOST}")
        if self.target == MASKS and self.classes is not None and BACKGROUND in {*classes} - {*self.classes}:
            self.classes = (BACKGROUND, *self.classes)
        self.describe(classes, *description)
        self.plain = self.spec
        if self.target != LABELS:
            ids = dict(zip(self.own_classes, categories, strict=True))
            own = {
                "reader": READERS[self.target],
                "categories": [ids[name] for name in self.classes or self.own_classes],
            }
            self.spec = replace(self.spec, target=self.target, shape={**self.spec.shape, **own})

    def in_order(self, categories: Sequence[int], classes: Sequence[str]) -> tuple[list[int], list[str]]:
        """Both in the order of the checkpoint's classes where these are the same; what is only measured may lack some.

        So the numbers of classes are those of the model.
        """
        known = self.like if self.like is not None and self.like.target == self.target != LABELS else None
        theirs = () if known is None or self.called is not None else known.classes
        if not (set(classes) == set(theirs) or (self.whole and set(classes) <= set(theirs))):
            return list(categories), list(classes)
        ids = dict(zip(theirs, known.shape["categories"], strict=True)) if known else {}
        ids |= dict(zip(classes, categories, strict=True))
        return [ids[name] for name in theirs], list(theirs)

    def whole_size(self, sizes: Tensor) -> tuple[int, int]:
        """That of the largest of some images (long [N, 2]) once no side is longer than LONGEST, in whole tiles."""
        scale = (LONGEST / sizes.double().amax(1)).clamp(max=1)
        largest = (sizes * scale[:, None]).round().amax(0).tolist()
        high, wide = (int(-(-side // WHOLE) * WHOLE) for side in largest)
        brought = f"images are brought to {show((high, wide))} whole, with a border where they are smaller"
        self.note(f"{brought}; dataset.size=… changes it")
        return high, wide

    def tell(self, split: str, problems: Problems, what: str) -> None:
        """Say what of a split can't be used and is left out. Raises DataError where that is too much, or not to be."""
        if what == IMAGES:
            self._leave_out(split, problems)
        count = len(problems.found)
        if not count:
            return
        said = f"{split or 'the dataset'}: {count:,} of {counted(problems.total, what)} can't be used"
        listed = self.every and what == IMAGES
        if self.on_error != "skip" and not listed:
            raise DataError(f"{said}: {problems.shown()}; dataset.on_error=skip leaves them out")
        if not listed and (why := too_many(count, problems.total)):
            raise DataError(f"{said}: {problems.shown()}: {why}")
        names = self._names_of(problems) if what == IMAGES else {}
        self.unusable += [(names.get(name, name), why) for name, why in problems.found]
        if listed:
            return
        self.note(f"{said} and {are(count)} left out (see split.csv): {problems.shown()}")

    def _leave_out(self, split: str, problems: Problems) -> None:
        """Take out of the images that can't be used those that `dataset.ignore` names; the others are kept as such."""
        names = self._names_of(problems)
        named = [path for path, name in names.items() if self.ignore is not None and self.ignore.leaves_out(name)]
        problems.found = [(path, why) for path, why in problems.found if path not in named]
        self.unread += [Unread(names[path], split, why) for path, why in problems.found]
        self.unusable += [(names[path], KEY) for path in named]
        if named:
            self.note(f"{split or 'the dataset'}: {counted(len(named), IMAGES)} {are(len(named))} left out ({KEY})")

    def _names_of(self, problems: Problems) -> dict[str, str]:
        """The paths of images that can't be used -> what examples are called."""
        assert self.root is not None
        base = self.root if self.root.is_dir() else self.root.parent
        return {path: files.relative(Path(path), base) for path, _ in problems.found}

    def load(self, split: str) -> SplitExamples:
        images, marks = self.annotated(split)
        if self.target == LABELS:
            return images
        if self.target == MASKS:
            return MaskExamples(images, self.painter(split), self.own_classes)
        assert isinstance(marks, Boxes)
        return BoxExamples(images, marks, replace(self.spec, classes=self.own_classes))

    def groups(self, split: str) -> Tensor:
        """uint8 [N, K], which classes an image has a mark of."""
        return self.annotated(split).marks.sets(len(self.own_classes))

    def choose(self, part: Part) -> Examples:
        if self.target == LABELS:
            return super().choose(part)
        examples = self.loaded(part.split).at(part.rows)
        if isinstance(examples, MaskExamples):
            self._say_masks(part)
            kept = self.classes or self.own_classes
            known = self.like.classes if self.whole and self.like is not None else ()
            self._say_others([name for name in self.own_classes if name not in kept], kept, known)
            return examples.of_classes(kept, self.spec.classes, known)
        assert isinstance(examples, BoxExamples)
        chosen = examples.of_classes(self.classes or self.own_classes)
        named = chosen.like(chosen.boxes, self.spec)
        self._say(part, named.boxes)
        return named

    def _say_others(self, others: Sequence[str], kept: Sequence[str], known: Sequence[str]) -> None:
        """What becomes of pixels of classes that are not kept."""
        ground = [name for name in others if name not in known] if BACKGROUND in kept else []
        if ground:
            self.note(f"pixels of {shortened(ground, 8)} count as {BACKGROUND} (dataset.classes)")
        if ignored := [name for name in others if name not in ground]:
            self.note(f"pixels of {shortened(ignored, 8)} count for nothing (dataset.classes)")

    def _say_masks(self, part: Part) -> None:
        count = part.labels.long().sum(0).tolist()
        found = {name: many for name, many in zip(self.spec.classes, count, strict=True) if name != BACKGROUND}
        listed = [f"{name} in {many:,}" for name, many in found.items()]
        self.note(f"{part.split}: of {len(part.rows):,} images with masks {shortened(listed, 8)}")
        if absent := [name for name, many in found.items() if not many]:
            self.note(f"no pixel of {shortened(absent, 8)} is in {part.split}")

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
