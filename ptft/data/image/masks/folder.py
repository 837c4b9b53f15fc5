"""Images in a folder, and of each a mask of the same name in another. Axes: N images, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptft.data import files as own_files
from ptft.data.image.boxes.annotated import IMAGES, MASKS, MOST, Annotated, AnnotatedSource
from ptft.data.image.boxes.marks import Problems
from ptft.data.image.listed.images import MEAN, STD, FileExamples
from ptft.data.image.masks.examples import VALUES, Painter
from ptft.data.image.masks.files import FilePainter, Seen, by_stem, folders, seen, stem
from ptft.data.image.masks.fitting import IGNORED, Pixels
from ptft.data.image.reader import SUFFIXES
from ptft.data.image.source import pair
from ptft.data.label_sets.cells import joined
from ptft.data.splits import own_name
from ptft.data.workers import in_threads
from ptft.errors import ConfigError, DataError, absent, shortened

LAYOUT = "ROOT/images/train/NAME.jpg with ROOT/masks/train/NAME.png, and the same of val; or neither divided"
NAMES = "classes.txt"


class Masks(NamedTuple):
    """Of N images: their paths, those of their masks, and what is known of these; numbers: uint8 [256], the class of
    each value."""

    images: list[Path]
    masks: list[Path]
    seen: list[Seen]
    numbers: Pixels

    def at(self, rows: Sequence[int]) -> Masks:
        images, masks = ([paths[row] for row in rows] for paths in (self.images, self.masks))
        return Masks(images, masks, [self.seen[row] for row in rows], self.numbers)

    def sets(self, classes: int) -> Tensor:
        vectors = torch.zeros(len(self.images), classes, dtype=torch.uint8)
        for i, mask in enumerate(self.seen):
            found = np.unique(self.numbers[mask.values])
            vectors[i, found[found != IGNORED].tolist()] = 1
        return vectors


class MaskFolder(AnnotatedSource):
    """Images with masks in files: grey ones or such with a palette, whose values are the numbers of the classes.

    root: a folder of `images/SPLIT` and `masks/SPLIT`, of `SPLIT/images` and `SPLIT/masks`, or of `images` and `masks`,
        which are divided into 80, 10 and 10 percent by `split_seed`. A mask has the name of its image.
    images, masks: what these folders are called.
    values: those of the classes, in their order, others count for nothing; None: 0, 1, 2 …, and 255 counts for nothing.
    Names of the classes stand in `classes.txt` of the root, one a line; or `names` gives them; else they are numbers.
    own_size: the size where neither `size` nor a checkpoint says one; None: the longer side is 512 pixels.
    All masks are read at the beginning: raises DataError naming those that are missing, unreadable, of another size
    than their image, or that hold a value of no class.
    """

    targets: ClassVar[tuple[str, ...]] = (MASKS,)

    def __init__(
        self,
        *,
        images: str = "images",
        masks: str = "masks",
        values: Sequence[int] | None = None,
        own_size: int | Sequence[int] | None = None,
        split_seed: int = 0,
        labelled: bool = True,
        model_size: Any = None,
        **keys: Any,
    ) -> None:
        super().__init__(target=MASKS, **keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {LAYOUT}")
        found = folders(self.root, images, masks)
        if not found:
            what = f"holds no folder {images}" if self.root.exists() else absent(self.root)
            raise DataError(f"dataset.root={self.root}: {what}; {LAYOUT}")
        if len({own_name(split) for split in found}) < len(found):
            raise DataError(f"dataset.root={self.root}: two of its folders are one split ({shortened(list(found), 8)})")
        self.made = {own_name(split): self._pairs(split, *each) for split, each in found.items()}
        names = self._names(values)
        self._check_values(names, values)
        ids, ordered = self.in_order(range(len(names)), names)
        self._number(names, ordered, values)
        if "" in self.made:
            self._divide(self.root, split_seed, ordered)
        if self.size is None and (self.like is None or self.like.target != MASKS):
            sizes = torch.tensor([mask.size for made in self.made.values() for mask in made.seen])
            self.size = self.whole_size(sizes) if own_size is None else pair(own_size)
        self.describe_marks(ids, ordered, tuple(self.made), None, 3, MEAN, STD)

    def _pairs(self, split: str, images: Path, masks: Path) -> Masks:
        """The images of a split with their masks, and what is known of these."""
        there, problems = by_stem(masks), Problems()
        paths = own_files.find(images, SUFFIXES)
        [looked] = in_threads(partial(_look, images, there), [paths])
        found = Masks([], [], [], np.zeros(VALUES, np.uint8))
        for path, (mask, known) in zip(paths, looked, strict=True):
            if isinstance(known, Seen):
                assert mask is not None
                found.images.append(path)
                found.masks.append(mask)
                found.seen.append(known)
            else:
                problems.add(str(path), known)
        problems.total = len(paths)
        self.tell(split, problems, IMAGES)
        if not found.images:
            raise DataError(f"{images}: holds no image with a mask in {masks}; {LAYOUT}")
        if lone := sorted(there.keys() - {stem(path, images) for path in paths}):
            self.note(f"{split or masks.name}: masks without an image are not used: {shortened(lone, 4)}")
        return found

    def _names(self, values: Sequence[int] | None) -> list[str]:
        """What the classes are called, in the order of their numbers."""
        assert self.root is not None
        if (file := self.root / NAMES).exists():
            names = [own_files.nfc(line.strip()) for line in own_files.read_lines(file) if line.strip()]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise DataError(f"{file}: names {twice} twice")
            return names
        if values is not None:
            return [str(value) for value in values]
        if self.called is not None and not isinstance(self.called, Mapping):
            return [str(number) for number in range(len(self.called))]
        most = max((value for value in self._found() if value != IGNORED), default=0)
        return [str(number) for number in range(most + 1)]

    def _found(self) -> list[int]:
        """The values of all masks."""
        found = np.stack([mask.values for made in self.made.values() for mask in made.seen])
        return [int(value) for value in np.flatnonzero(found.any(0))]

    def _check_values(self, names: Sequence[str], values: Sequence[int] | None) -> None:
        """Raises DataError for a value that is of no class, naming a mask that has it."""
        if len(names) > MOST:
            raise DataError(f"dataset.root={self.root}: has {len(names)} classes, and masks at most {MOST}")
        if values is not None:
            if len(values) != len(names) or len({*values}) < len(values) or not all(0 <= v < VALUES for v in values):
                raise ConfigError(
                    f"dataset.values={list(values)}: {len(names)} different values from 0 to {IGNORED}, one for each "
                    f"class ({shortened(list(names), 8)})"
                )
            if other := [str(value) for value in self._found() if value not in values]:
                self.note(f"values that dataset.values does not name count for nothing: {shortened(other, 8)}")
            return
        if self._found() == [0, IGNORED]:
            raise DataError(
                f"dataset.root={self.root}: masks hold 0 and {IGNORED} alone, and {IGNORED} counts for nothing; where "
                f"it is a class, type dataset.values=[0,{IGNORED}]"
            )
        for made in self.made.values():
            for path, mask in zip(made.masks, made.seen, strict=True):
                if len(beyond := mask.values[len(names) : IGNORED].nonzero()[0]):
                    raise DataError(
                        f"{path}: holds the value {len(names) + int(beyond[0])}, and there are {len(names)} classes "
                        f"({shortened(list(names), 8)}); mend it, {NAMES} or dataset.names, or type dataset.values"
                    )

    def _number(self, names: Sequence[str], ordered: Sequence[str], values: Sequence[int] | None) -> None:
        """From the values of masks to the numbers of classes."""
        numbers = np.full(VALUES, IGNORED, np.uint8)
        numbers[list(values or range(len(names)))] = [ordered.index(name) for name in names]
        self.made = {split: made._replace(numbers=numbers) for split, made in self.made.items()}

    def _divide(self, root: Path, seed: int, names: Sequence[str]) -> None:
        made = self.made.pop("")
        sets = [joined(names[k] for k in row.nonzero().flatten().tolist()) for row in made.sets(len(names))]
        known = partial(self._relative, made.images)
        parts = self.divide(root, range(len(made.images)), seed, known, names=sets if any(sets) else None)
        self.made |= {split: made.at(rows) for split, rows in parts.items()}

    def _relative(self, paths: Sequence[Path]) -> list[str]:
        assert self.root is not None
        return [own_files.relative(path, self.root) for path in paths]

    def annotated(self, split: str) -> Annotated:
        assert self.root is not None
        made = self.made[split]
        sets = made.sets(len(self.own_classes))
        return Annotated(FileExamples(made.images, sets, self.plain, self.root, self.on_error), made)

    def painter(self, split: str) -> Painter:
        assert self.root is not None
        made = self.made[split]
        return FilePainter(made.masks, [mask.turn for mask in made.seen], made.numbers, self.plain, self.root)

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self.made[split].images) for split in splits}


def _look(folder: Path, there: Mapping[str, Path], image: Path) -> tuple[Path | None, Seen | str]:
    """The mask of an image and what is known of it, or why it can't be used."""
    mask = there.get(stem(image, folder))
    if mask is None:
        return None, "has no mask"
    try:
        return mask, seen(image, mask)
    except DataError as error:
        return mask, str(error).removeprefix(f"{image}: ")


def sample(root: Path, count: int = 6) -> None:
    """Write a tiny set below `root`: squares on noise and their masks, in train and val."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = generator.integers(0, 100, (48, 64, 3), dtype=np.uint8)
            mask = np.zeros((48, 64), np.uint8)
            top, left = (int(generator.integers(4, 20)) for _ in range(2))
            pixels[top : top + 16, left : left + 16] = 255
            mask[top : top + 16, left : left + 16] = 1
            Image.fromarray(pixels).save(root / "images" / split / f"{i}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{i}.png")
    (root / NAMES).write_text("background\nsquare\n")
