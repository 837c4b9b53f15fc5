"""Drawn figures with their boxes and masks: as many images as wanted, made in batches by seed and index.

Axes: N images, B batch, S places for a figure in an image, H height, W width.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.examples import OnDemandExamples
from ptft.data.image import reader as image_reader
from ptft.data.image.boxes.annotated import MASKS, Annotated, AnnotatedSource
from ptft.data.image.boxes.tensors import Boxes
from ptft.data.image.masks.examples import BACKGROUND, Painter
from ptft.data.splits import SPLITS
from ptft.runtime.together.splitmix import key, mix, noise, uniform, within

KINDS = ("circle", "cross", "square", "triangle")
VERSION = 1
"""Of the drawing: another number where images look otherwise."""
SIDE = 64
GRIDS = (2, 3, 4)
"""Figures stand in grids of so many cells a side, so that there are large ones and small ones."""
PLACES = max(GRIDS) ** 2
DRAWS = 8
"""Numbers that a figure takes."""
_FILLED = 0.45
_RADIUS = (0.28, 0.6)  # of a cell's side
_SHIFT = 0.2  # of a cell's side, from its middle
_GROUND = (0.0, 0.35)
_INK = (0.45, 1.0)
_GRAIN = 0.08


class Figures:
    """What is drawn in some images: keys int64 [B] -> for each place whether there is a figure (`there`, bool [S, B]),
    its `kind` (long), middle `x`, `y` and `radius` in shares of the image, and `colour` [3, S, B]; `ground` [3, B]."""

    def __init__(self, keys: Tensor) -> None:
        chance = uniform(keys, 4 + PLACES * DRAWS).float()
        self.ground = within(chance[1:4], _GROUND)
        grid = torch.tensor(GRIDS)[(chance[0] * len(GRIDS)).long()]
        draws = chance[4:].view(DRAWS, PLACES, -1)
        place = torch.arange(PLACES).unsqueeze(1)
        self.there = (place < grid * grid) & (draws[0] < _FILLED)
        self.kind = (draws[1] * len(KINDS)).long()
        self.x = (place % grid + 0.5 + _SHIFT * (2 * draws[2] - 1)) / grid
        self.y = (place // grid + 0.5 + _SHIFT * (2 * draws[3] - 1)) / grid
        self.radius = within(draws[4], _RADIUS) / grid
        self.colour = within(draws[5:8], _INK)

    def boxes(self, size: tuple[int, int]) -> Boxes:
        """In pixels of images of `size`, cut to them."""
        height, width = size
        radius = self.radius * min(size)
        x, y = self.x * width, self.y * height
        sides = torch.stack([x - radius, y - radius, x + radius, y + radius], -1)
        sides = sides.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        there = self.there.T
        box = sides.transpose(0, 1)[there].double()
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        crowd = torch.zeros(len(box), dtype=torch.bool)
        sizes = torch.tensor(size).expand(there.shape[0], 2).clone()
        return Boxes(there.sum(1), sizes, box, self.kind.T[there], crowd, area)

    def draw(self, size: tuple[int, int]) -> Tensor:
        """float [B, 3, H, W] from 0 to 1, the later places over the earlier ones."""
        height, width = size
        canvas = self.ground.T[:, :, None, None].expand(-1, -1, height, width).clone()
        for i in range(PLACES):
            inside = self._inside(i, size).unsqueeze(1)
            canvas = canvas + inside * (self.colour[:, i].T[:, :, None, None] - canvas)
        return canvas

    def masks(self, size: tuple[int, int]) -> Tensor:
        """uint8 [B, H, W], 0 for the ground and 1 + the kind of the figure that covers most of a pixel."""
        out = torch.zeros(self.kind.shape[1], *size, dtype=torch.uint8)
        for i in range(PLACES):
            number = (self.kind[i] + 1).to(torch.uint8)[:, None, None]
            out = torch.where(self._inside(i, size) >= 0.5, number, out)
        return out

    def _inside(self, place: int, size: tuple[int, int]) -> Tensor:
        """float [B, H, W] from 0 to 1, how much of each pixel the figure at a place covers."""
        height, width = size
        down, across = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        radius = (self.radius[place] * min(size))[:, None, None]
        x = across - (self.x[place] * width)[:, None, None]
        y = down[:, None] - (self.y[place] * height)[:, None, None]
        covered = (0.5 - distance(x, y, radius, self.kind[place][:, None, None])).clamp(0, 1)
        return covered * self.there[place][:, None, None]


def distance(x: Tensor, y: Tensor, radius: Tensor, kind: Tensor) -> Tensor:
    """How far outside of a figure around (0, 0) a point is, negative inside; each fills the square of its radius."""
    wide, high = x.abs(), y.abs()
    circle = (x * x + y * y).sqrt() - radius
    cross = torch.minimum(
        torch.maximum(wide - radius, high - radius / 3), torch.maximum(wide - radius / 3, high - radius)
    )
    square = torch.maximum(wide, high) - radius
    triangle = torch.maximum(y - radius, (2 * wide - y - radius) / 5**0.5)
    return torch.where(kind == 0, circle, torch.where(kind == 1, cross, torch.where(kind == 2, square, triangle)))


class ShapeImages(OnDemandExamples):
    """The images of a split: `seed` is an int64 key of it. labels: uint8 [N, K], which figures an image has."""

    labels: Tensor

    def __init__(self, count: int, seed: int, shape: dict[str, Any]) -> None:
        self.count, self.seed = count, seed
        self.size, self.channels = (int(shape["size"][0]), int(shape["size"][1])), int(shape["channels"])
        self.boxes = Figures(self.keys(torch.arange(count))).boxes(self.size)
        self.labels = self.boxes.sets(len(KINDS))

    def keys(self, indices: Tensor) -> Tensor:
        return mix(indices ^ self.seed)

    def __len__(self) -> int:
        return self.count

    def take(self, indices: Tensor) -> Batch:
        keys = self.keys(indices)
        drawn = Figures(keys).draw(self.size)
        grain = noise(keys, self.size[0] * self.size[1]).view(-1, 1, *self.size) * _GRAIN
        pixels = ((drawn + grain).clamp(0, 1) * 255).round().to(torch.uint8)
        images = image_reader.convert(pixels, self.channels)
        return {"input": images, "label": self.labels[indices], "index": indices}

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, *self.size

    def name(self, index: int) -> str:
        return f"image {index}"

    def digest(self) -> bytes:
        settings = repr((VERSION, self.seed, KINDS, self.size, self.channels, self.count))
        return hashlib.sha256(settings.encode()).digest()


class FigurePainter(Painter):
    """The masks of the images of a split."""

    def __init__(self, images: ShapeImages) -> None:
        self.images = images

    def __call__(self, rows: Tensor) -> Tensor:
        return Figures(self.images.keys(rows)).masks(self.images.size)

    def digest(self) -> bytes:
        return self.images.digest()


class FigureMarks(NamedTuple):
    """Which of background and figures an image has; `found` uint8 [N, K]. Background is what they all have."""

    found: Tensor

    def sets(self, classes: int) -> Tensor:
        return self.found


class Shapes(AnnotatedSource):
    """Circles, crosses, squares and triangles of any colour on dark ground, 64 x 64 unless asked otherwise. Embedded.

    images: how many in train; val and test have `held_out` each, and no image in common.
    target: boxes; masks, where the ground is the class `background`; or labels: which figures an image has.
    """

    skips: ClassVar[bool] = False
    embedded: ClassVar[bool] = True

    def __init__(self, *, images: int = 2_000, held_out: int = 300, **keys: Any) -> None:
        super().__init__(**keys)
        self.images = {"train": images, "val": held_out, "test": held_out}
        self._drawn: dict[str, Annotated] = {}
        mean, std = (0.3, 0.3, 0.3), (0.25, 0.25, 0.25)
        names = KINDS if self.target != MASKS else (BACKGROUND, *KINDS)
        first = len(KINDS) - len(names) + 1  # the ground is 0
        self.describe_marks(range(first, len(KINDS) + 1), names, SPLITS, (SIDE, SIDE), 3, mean, std)

    def annotated(self, split: str) -> Annotated:
        if split not in self._drawn:
            images = ShapeImages(self.images[split], key(self.seed, SPLITS.index(split)), self.spec.shape)
            found = torch.cat([torch.zeros(len(images), 1, dtype=torch.uint8), images.labels], 1)
            marks = FigureMarks(found) if self.target == MASKS else images.boxes
            self._drawn[split] = Annotated(images, marks)
        return self._drawn[split]

    def painter(self, split: str) -> Painter:
        images = self.annotated(split).images
        assert isinstance(images, ShapeImages)
        return FigurePainter(images)

    def known_by(self, split: str) -> None:
        return None


def sample(root: Path) -> None:
    """Nothing to write: figures are drawn."""
