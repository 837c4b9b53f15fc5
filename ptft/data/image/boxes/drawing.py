"""Boxes drawn on their image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324", "#808000", "#000075")
"""Of the classes in turn: dark enough for white letters."""
LINE, LETTER = 300, 40
"""An image's longer side is so many lines thick, and so many letters high."""


def drawn(image: Image.Image, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> bytes:
    """A PNG of an RGB image with a box of each row (`left`, `top`, `right`, `bottom`), `class` and `score` above it."""
    image = image.copy()
    side = max(image.size)
    thick, font = max(1, round(side / LINE)), ImageFont.load_default(max(9, round(side / LETTER)))
    draw = ImageDraw.Draw(image)
    number = {name: k for k, name in enumerate(classes)}
    for row in reversed(rows):  # the likeliest last, above the others
        colour = COLOURS[number.get(row["class"], 0) % len(COLOURS)]
        draw.rectangle([row["left"], row["top"], row["right"], row["bottom"]], outline=colour, width=thick)
        text = f"{row['class']} {row['score']:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = min(row["left"], max(0, image.width - (right - left)))
        y = row["top"] - (bottom - top) - 2 * thick
        y = y if y >= 0 else row["top"]
        draw.rectangle([x, y, x + right - left + 2 * thick, y + bottom - top + 2 * thick], fill=colour)
        draw.text((x + thick - left, y + thick - top), text, font=font, fill="white")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
