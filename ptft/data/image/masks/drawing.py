"""Masks as pictures: with a palette, or laid over their image. Axes: h, w."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ptft.data.image.boxes.drawing import COLOURS
from ptft.data.image.masks.examples import BACKGROUND, VALUES
from ptft.data.image.masks.fitting import IGNORED, Pixels

SHARE = 0.5
"""Of an overlay that is colour."""
LETTER = 40
GOLDEN = 0.618034
"""Of a turn of the hue from one class to the next, once the named colours are used up: neighbours differ."""


def palette(classes: Sequence[str]) -> list[int]:
    """256 colours, r, g, b each: black for background and what there is not, white for 255."""
    colours = [(0, 0, 0)] * VALUES
    colours[IGNORED] = (255, 255, 255)
    painted = [k for k, name in enumerate(classes) if name != BACKGROUND]
    for place, k in enumerate(painted):
        colours[k] = _colour(place)
    return [value for colour in colours for value in colour]


def _colour(place: int) -> tuple[int, int, int]:
    if place < len(COLOURS):
        text = COLOURS[place]
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    red, green, blue = colorsys.hsv_to_rgb(place * GOLDEN % 1, 0.75, 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)


def indexed(mask: Pixels, classes: Sequence[str]) -> bytes:
    """A PNG of a mask [h, w], whose values are the numbers of the classes and shown in their colours."""
    image = Image.fromarray(mask)
    image.putpalette(palette(classes))
    return _png(image)


def overlaid(image: Image.Image, mask: Pixels, classes: Sequence[str]) -> bytes:
    """A PNG of an RGB image with the colours of its classes laid over it, and their names in a corner."""
    colours = np.array(palette(classes), dtype=np.float32).reshape(-1, 3)
    shown = np.asarray(image, dtype=np.float32)
    background = classes.index(BACKGROUND) if BACKGROUND in classes else IGNORED
    painted = ((mask != background) & (mask != IGNORED))[..., None]
    mixed = np.where(painted, shown + SHARE * (colours[mask] - shown), shown)
    out = Image.fromarray(mixed.round().astype(np.uint8))
    _name(out, [(classes[k], colours[k]) for k in np.unique(mask[painted[..., 0]]).tolist()])
    return _png(out)


def _name(image: Image.Image, named: Sequence[tuple[str, Pixels]]) -> None:
    """Names in their colours, one below the other from the top left, on black."""
    font = ImageFont.load_default(max(9, round(max(image.size) / LETTER)))
    draw, y = ImageDraw.Draw(image), 0
    for name, colour in named:
        left, top, right, bottom = map(round, draw.textbbox((0, 0), name, font=font))
        fill = tuple(int(value) for value in colour)
        draw.rectangle([0, y, right - left + 4, y + bottom - top + 4], fill=fill)
        draw.text((2 - left, y + 2 - top), name, font=font, fill="white")
        y += bottom - top + 4


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
