"""Characters of text fonts, distorted until they resemble handwriting: as many images as wanted, made in batches.

Axes: B batch, K classes, G glyphs, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from ptft.core import Batch
from ptft.data.examples import OnDemandExamples
from ptft.data.image import reader as image_reader
from ptft.data.image.source import ImageSource, Keys
from ptft.data.ragged import starts_of
from ptft.data.splits import SPLITS
from ptft.errors import ConfigError
from ptft.runtime.together.splitmix import key, mix, noise, uniform, within

if TYPE_CHECKING:
    from typing_extensions import Unpack

DIGITS = tuple("0123456789")
LETTERS = (*(c + c.lower() if c in "CIJKLMOPSUVWXYZ" else c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), *"abdefghnqrt")
"""26 capitals and those 11 small letters whose shape differs: the merged classes of EMNIST (Cohen et al., 2017)."""

VERSION = 1
"""Of the distortions: another number where images look otherwise."""

# Ranges of the distortions; lengths in pixels of an image of 28 pixels.
_HEIGHT = (18.0, 30.0)
_NARROW = (0.7, 1.15)
_ROTATE = 0.27
_SHEAR = 0.3
_SHIFT = 2.0
_WARP = 3.0
_THICK = (-0.1, 1.8)
_SOFT = (0.8, 3.0)
_INK = (0.75, 1.0)
_NOISE = 0.12
_COARSE = 0.35


class GlyphExamples(OnDemandExamples):
    """`count` images, each a function of `seed` (an int64 key of the split) and its index; labels go round."""

    labels: Tensor

    def __init__(self, count: int, seed: int, forms: Sequence[str], shape: dict[str, Any]) -> None:
        self.seed, self.forms = seed, tuple(forms)
        self.size, self.channels = tuple(shape["size"]), int(shape["channels"])
        self.labels = torch.arange(count) % len(forms)
        characters = "".join(forms)
        self.fields, character = glyphs(characters)
        owner = torch.tensor([k for k, form in enumerate(forms) for _ in form])[character]
        self.order = owner.argsort(stable=True)
        self.counts = owner.bincount(minlength=len(forms))
        self.starts = starts_of(self.counts)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Batch:
        keys = mix(indices ^ self.seed)
        labels = self.labels[indices]
        chance = uniform(keys, 50).float()
        glyph = self.order[self.starts[labels] + (chance[0] * self.counts[labels]).long()]
        images = _render(self.fields[glyph].unsqueeze(1), chance[1:], keys, self.size)
        return {"input": image_reader.convert(images, self.channels), "label": labels, "index": indices}

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, *self.size

    def name(self, index: int) -> str:
        return f"glyph {index}"

    def digest(self) -> bytes:
        """Of all that decides the images: the key, the characters, in how many fonts each is, and the distortions."""
        settings = repr((VERSION, self.seed, self.forms, self.counts.tolist(), self.size, self.channels, len(self)))
        return hashlib.sha256(settings.encode()).digest()

    def earlier_digest(self) -> bytes:
        """Of the first images."""
        return hashlib.sha256(self.take(torch.arange(min(32, len(self))))["input"].numpy().data).digest()

    def cache_digest(self) -> bytes:
        return self.earlier_digest() + repr((self.seed, self.forms)).encode()


def _render(fields: Tensor, chance: Tensor, keys: Tensor, size: tuple[int, ...]) -> Tensor:
    """Distance fields [B, 1, S, S] and numbers in 0..1 [49, B] -> uint8 [B, 1, H, W]."""
    unit = min(size) / 28
    height = within(chance[0], _HEIGHT) * unit
    grid = _grid(height, chance[1:6], chance[6:38], size, unit)
    distance = functional.grid_sample(fields, grid, padding_mode="border", align_corners=False).squeeze(1)
    pixels = distance * (height / EXTENT)[:, None, None]
    thick, soft, ink, grain, coarse = (c[:, None, None] for c in chance[38:43])
    edge = (pixels + within(thick, _THICK) * unit) / (within(soft, _SOFT) * unit)
    strokes = _coarsen((edge + 0.5).clamp(0, 1), coarse[:, 0, 0] < _COARSE)
    strokes = strokes * within(ink, _INK)
    dirt = noise(keys, size[0] * size[1]).view(-1, *size) * (grain * grain * _NOISE)
    drawn: Tensor = strokes + dirt
    return (drawn.clamp(0, 1) * 255).round().to(torch.uint8).unsqueeze(1)


def _grid(height: Tensor, affine: Tensor, warp: Tensor, size: tuple[int, ...], unit: float) -> Tensor:
    """Where every pixel looks in the picture of its character, [B, H, W, 2] in -1..1.

    Rotation by its tangent, and nothing but + - * / and square roots: exact, so independent of the batch.
    """
    turn, narrow, shear, right, down = affine
    tangent = (2 * turn - 1) * _ROTATE
    cosine = 1 / (1 + tangent * tangent).sqrt()
    sine = tangent * cosine
    slant = (2 * shear - 1) * _SHEAR
    bend = (2 * warp.view(2, 4, 4, -1) - 1).permute(3, 0, 1, 2) * (_WARP * unit)
    bend = functional.interpolate(bend, size, mode="bilinear", align_corners=True)
    rows = torch.arange(size[0]) - (size[0] - 1) / 2
    columns = torch.arange(size[1]) - (size[1] - 1) / 2
    x = columns + bend[:, 0] - ((2 * right - 1) * _SHIFT * unit)[:, None, None]
    y = rows[:, None] + bend[:, 1] - ((2 * down - 1) * _SHIFT * unit)[:, None, None]
    cosine, sine, slant = (v[:, None, None] for v in (cosine, sine, slant))
    turned_x, turned_y = cosine * x + sine * y, cosine * y - sine * x
    scale = (EXTENT / height * (2 / SIDE))[:, None, None]
    across = (turned_x + slant * turned_y) * scale / within(narrow, _NARROW)[:, None, None]
    return torch.stack([across, turned_y * scale], -1)


def _coarsen(strokes: Tensor, chosen: Tensor) -> Tensor:
    """Some of the images [B, H, W] as a scanner of 8 x 8 pixels sees them."""
    rows = chosen.nonzero().flatten()
    small = functional.adaptive_avg_pool2d(strokes[rows].unsqueeze(1), 8)
    return strokes.index_copy(0, rows, functional.interpolate(small, strokes.shape[1:], mode="bilinear").squeeze(1))


class Glyphs(ImageSource):
    """Distorted characters, white on black, 28 x 28 unless asked otherwise. Embedded: needs no files.

    images: how many in train; val and test have `held_out` each, and no image in common.
    charset: "digits", "letters" (26 capitals and the 11 small letters of another shape, see LETTERS), or a string of
        characters, each a class of its own.
    Raises ConfigError for a character that no font has.
    """

    skips: ClassVar[bool] = False
    embedded: ClassVar[bool] = True

    def __init__(
        self, *, images: int = 20_000, held_out: int = 2_000, charset: str = "digits", **keys: Unpack[Keys]
    ) -> None:
        super().__init__(**keys)
        self.forms = _forms(str(charset))
        if lacking := _lacking():
            self.note(lacking)
        self.images = {"train": images, "val": held_out, "test": held_out}
        self.describe([form[0] for form in self.forms], SPLITS, (28, 28), 1, (0.24,), (0.33,))

    def load(self, split: str) -> GlyphExamples:
        seed = key(self.seed, SPLITS.index(split))
        return GlyphExamples(self.images[split], seed, self.forms, self.spec.shape)


def _forms(charset: str) -> tuple[str, ...]:
    """The characters of every class."""
    forms = {"digits": DIGITS, "letters": LETTERS}.get(charset, tuple(charset))
    if len(forms) < 2 or len(set(forms)) < len(forms):
        raise ConfigError(f"dataset.charset={charset}: digits, letters, or at least two characters, none of them twice")
    held = set(glyphs("".join(forms))[1].tolist())
    lacking = [c for number, c in enumerate("".join(forms)) if number not in held]
    if lacking:
        raise ConfigError(f"dataset.charset={charset}: no font has the character {lacking[0]!r}")
    return forms


def sample(root: Path) -> None:
    """Nothing to write: the fonts come with matplotlib."""


SIDE = 64


EXTENT = 40
"""Pixels of the longer side of every character in its SIDE x SIDE picture."""


REACH = 12
"""Pixels from a stroke beyond which nothing depends on the distance."""


FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)
"""Text fonts of matplotlib that hold letters and digits. Symbol fonts and old-style figures (cmmi10) are left out.

Before 3.11, which needs Python 3.11, matplotlib had no cmti10: the images are others there, and `digest` says so.
"""


_MISSING = "\U0010fffe"  # no font has it: what is drawn is the font's sign for "not here"


@lru_cache(maxsize=8)
def glyphs(characters: str) -> tuple[Tensor, Tensor]:
    """(signed distances float [G, S, S], which of `characters` each glyph is, long [G]) in every font that has it.

    Distances are in pixels of the picture, positive inside the strokes.
    """
    pictures, owners = [], []
    for path in _paths():
        font = ImageFont.truetype(path, 2 * SIDE)
        missing = _draw(_MISSING, font)
        for number, character in enumerate(characters):
            picture = _draw(character, font)
            if picture is not None and not (missing is not None and np.array_equal(picture, missing)):
                pictures.append(picture)
                owners.append(number)
    if not pictures:
        return torch.empty(0, SIDE, SIDE), torch.empty(0, dtype=torch.long)
    inside = torch.from_numpy(np.stack(pictures)) > 127
    return _distance(~inside) - _distance(inside), torch.tensor(owners)


def _paths() -> Sequence[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [path for name in FONTS if (path := folder / f"{name}.ttf").exists()]


def _lacking() -> str | None:
    """What to say where there are fewer fonts than elsewhere."""
    lacking = [name for name in FONTS if name not in {path.stem for path in _paths()}]
    if not lacking:
        return None
    return f"matplotlib has no {', '.join(lacking)} here, which 3.11 (from Python 3.11 on) has: the images are others"


def _draw(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    """White on black, centred, its longer side EXTENT pixels: uint8 [S, S]. None for a blank character."""
    canvas = Image.new("L", (6 * SIDE, 6 * SIDE))
    ImageDraw.Draw(canvas).text((2 * SIDE, 2 * SIDE), character, fill=255, font=font)
    box = canvas.getbbox()
    if box is None:
        return None
    scale = EXTENT / max(box[2] - box[0], box[3] - box[1])
    width, height = (max(1, round(scale * (box[i + 2] - box[i]))) for i in (0, 1))
    small = canvas.resize((width, height), Image.Resampling.BOX, box=box)
    picture = Image.new("L", (SIDE, SIDE))
    picture.paste(small, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(picture)


def _distance(to: Tensor) -> Tensor:
    """bool [G, S, S] -> float [G, S, S]: how far the nearest True pixel is, REACH at most.

    Exact up to there, one axis after the other: Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
    Functions", 2012.
    """
    squares = functional.pad(torch.where(to, 0.0, float(2 * REACH**2)), [REACH] * 4, value=2.0 * REACH**2)
    for axis in (-1, -2):
        views = (squares.narrow(axis, REACH + step, SIDE) + step**2 for step in range(-REACH, REACH + 1))
        squares = reduce(torch.minimum, views)
    return squares.sqrt().clamp(max=REACH)
