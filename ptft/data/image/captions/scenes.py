"""Drawn scenes with captions: two figures of named colours and how they stand; by seed and index, as many as wanted.

Axes: N images, B batch, H height, W width, S the two figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.cleaning.learned import learned
from ptft.data.examples import OnDemandExamples
from ptft.data.image import reader as image_reader
from ptft.data.image.boxes.shapes import KINDS, distance
from ptft.data.image.captions.examples import CaptionExamples, Captions, captioned, spec_of_captions
from ptft.data.image.source import NO_CLASS, ImageSource, Keys
from ptft.data.splits import SPLITS
from ptft.errors import ConfigError
from ptft.runtime.together.splitmix import key, mix, noise, uniform, within

if TYPE_CHECKING:
    from typing_extensions import Unpack

VERSION = 1
"""Of the drawing: another number where images look otherwise."""
SIDE, LENGTH = 64, 48
"""Pixels of a side, and tokens of a caption at the most, where nobody says them; the longest is of 40 bytes."""
COLOURS = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.75, 0.2),
    "blue": (0.2, 0.3, 0.95),
    "yellow": (0.95, 0.9, 0.2),
    "pink": (0.95, 0.5, 0.75),
    "white": (0.95, 0.95, 0.95),
}
STANDS = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}
"""How the first stands to the second: across and down, from the middle of the image."""
_APART = (0.2, 0.28)  # of the image's side, from its middle
_SHIFT = 0.12
_RADIUS = (0.1, 0.18)
_GROUND = (0.0, 0.3)
_GRAIN = 0.08


class Scene:
    """What is drawn in some images: keys int64 [B] -> of both figures `kind` and `colour` (long [2, B]), and how the
    first `stands` to the second (long [B]), with where they are and how large, in shares of the image."""

    def __init__(self, keys: Tensor) -> None:
        chance = uniform(keys, 16).float()
        self.kind = (chance[0:2] * len(KINDS)).long()
        self.colour = (chance[2:4] * len(COLOURS)).long()
        self.stands = (chance[4] * len(STANDS)).long()
        self.ground = within(chance[5], _GROUND)
        self.radius = within(chance[6:8], _RADIUS)
        towards = torch.tensor(list(STANDS.values()), dtype=torch.float32)[self.stands].T  # [2, B], across and down
        apart = within(chance[8:10], _APART) * torch.tensor([[1.0], [-1.0]])
        sideways = _SHIFT * (2 * chance[10:12] - 1)
        self.x = 0.5 + apart * towards[0] + sideways * towards[1]
        self.y = 0.5 + apart * towards[1] + sideways * towards[0]

    def captions(self) -> list[str]:
        """What is said of each: "a red circle above a blue square"."""
        colours, stands = list(COLOURS), list(STANDS)
        figures = [
            [f"a {colours[c]} {KINDS[k]}" for c, k in zip(colour, kind, strict=True)]
            for colour, kind in zip(self.colour.tolist(), self.kind.tolist(), strict=True)
        ]
        return [f"{a} {stands[s]} {b}" for a, s, b in zip(figures[0], self.stands.tolist(), figures[1], strict=True)]

    def draw(self, size: tuple[int, int]) -> Tensor:
        """float [B, 3, H, W] from 0 to 1."""
        height, width = size
        canvas = self.ground[:, None, None, None].expand(-1, 3, height, width).clone()
        ink = torch.tensor(list(COLOURS.values()))
        down, across = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        for i in range(2):
            x = across - (self.x[i] * width)[:, None, None]
            y = down[:, None] - (self.y[i] * height)[:, None, None]
            radius = (self.radius[i] * min(size))[:, None, None]
            inside = (0.5 - distance(x, y, radius, self.kind[i][:, None, None])).clamp(0, 1).unsqueeze(1)
            canvas = canvas + inside * (ink[self.colour[i]][:, :, None, None] - canvas)
        return canvas


class SceneImages(OnDemandExamples):
    """The images of a split: `seed` is an int64 key of it."""

    def __init__(self, count: int, seed: int, shape: dict[str, Any]) -> None:
        self.count, self.seed = count, seed
        self.size, self.channels = (int(shape["size"][0]), int(shape["size"][1])), int(shape["channels"])

    def keys(self, indices: Tensor) -> Tensor:
        return mix(indices ^ self.seed)

    def __len__(self) -> int:
        return self.count

    def take(self, indices: Tensor) -> Batch:
        keys = self.keys(indices)
        grain = noise(keys, self.size[0] * self.size[1]).view(-1, 1, *self.size) * _GRAIN
        pixels = ((Scene(keys).draw(self.size) + grain).clamp(0, 1) * 255).round().to(torch.uint8)
        return {"input": image_reader.convert(pixels, self.channels), "index": indices}

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, *self.size

    def name(self, index: int) -> str:
        return f"scene {index}"

    def digest(self) -> bytes:
        settings = repr((VERSION, self.seed, KINDS, COLOURS, STANDS, self.size, self.channels, self.count))
        return hashlib.sha256(settings.encode()).digest()


class Scenes(ImageSource):
    """Two figures of six colours, one above, below, left or right of the other, and a caption that says so.

    images: how many in train; held_out: in val and in test each.
    tokenizer, vocabulary, length, tower: of the captions, as `CaptionFolder` has them.
    """

    skips: ClassVar[bool] = False
    embedded: ClassVar[bool] = True

    def __init__(
        self,
        *,
        images: int = 4_000,
        held_out: int = 400,
        tokenizer: str | None = None,
        vocabulary: int = 300,
        length: int | None = None,
        tower: Spec | None = None,
        **keys: Unpack[Keys],
    ) -> None:
        super().__init__(**keys)
        if min(images, held_out) < 1:
            raise ConfigError(f"dataset.images={images}, dataset.held_out={held_out}: must be above 0")
        self.images = {"train": images, "val": held_out, "test": held_out}
        mean, std = (0.3, 0.3, 0.3), (0.25, 0.25, 0.25)
        self.describe((NO_CLASS,), SPLITS, (SIDE, SIDE), 3, mean, std)
        self.spec = captioned(self.spec, self.like, self._training_texts, tokenizer, vocabulary, length, LENGTH, tower)

    def drawing(self, split: str) -> SceneImages:
        return SceneImages(self.images[split], key(self.seed, SPLITS.index(split)), self.spec.shape)

    def load(self, split: str) -> OnDemandExamples:
        """The images alone, while there is no tokenizer for their captions."""
        images, captions = self.drawing(split), spec_of_captions(self.spec)
        if captions is None:
            return images
        return CaptionExamples(images, Captions.of(said(images), captions, images.keys(torch.arange(len(images)))))

    def _training_texts(self) -> Sequence[str]:
        return learned(self, lambda own: said(own.drawing(own.train)))

    def groups(self, split: str) -> Tensor:
        return torch.zeros(self.images[split], dtype=torch.long)

    def known_by(self, split: str) -> None:
        return None


def said(images: SceneImages) -> list[str]:
    """The captions of all of them."""
    return Scene(images.keys(torch.arange(len(images)))).captions()


def sample(root: Path) -> None:
    """Nothing to write: scenes are drawn."""
