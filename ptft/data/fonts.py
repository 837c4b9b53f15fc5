"""Characters of text fonts as distance fields, so that a threshold makes strokes thicker or thinner.

Axes: G glyphs (one character in one font), S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

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
"""Text fonts of matplotlib that hold letters and digits. Symbol fonts and old-style figures (cmmi10) are left out."""

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
    return [folder / f"{name}.ttf" for name in FONTS]


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
