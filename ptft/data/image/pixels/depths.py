"""Which values of an image of more than 8 bits, or of floats, are black and white; see `../reader.py` for the rules."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ptft.data.hub.cells import File, stream

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises of files that it can't read."""
DEPTHS = (255, 4095, 65535)
"""The largest values that 16-bit files of integers are made for."""


def to_8_bit(image: Image.Image) -> Image.Image:
    """Integers and floats scaled to 0..255, where Pillow's own conversion clips. Raises ValueError for NaN or Inf."""
    values = np.asarray(image).astype(np.float64 if image.mode == "I" else np.float32)
    least, most = _range(image.mode, values)
    return Image.fromarray(((values - least) * (255 / (most - least))).round().clip(0, 255).astype(np.uint8))


def _range(mode: str, values: np.ndarray) -> tuple[float, float]:
    """The values that are black and white in an image of integers ("I", "I;16…") or floats ("F")."""
    least, most = float(values.min()), float(values.max())
    if not np.isfinite([least, most]).all():
        raise ValueError("it holds values that are not finite")
    if mode.startswith("I;"):
        return 0, next(depth for depth in DEPTHS if most <= depth)
    if mode == "F" and least >= 0 and most <= 1:
        return 0, 1
    return (least, most) if most > least else (min(least, 0), max(most, 1))


def range_note(paths: Sequence[File]) -> str | None:
    """What to say of files whose values have another range than their kind usually has: the first, and how many."""
    notes = []
    for path in paths:
        try:
            with Image.open(stream(path)) as image:
                if image.mode != "F" and not image.mode.startswith("I"):
                    continue
                mode, values = image.mode, np.asarray(image)
                black, white = _range(mode, values)
        except BROKEN:
            continue  # reading it says so, or leaves it out
        if (black, white) not in ((0, 1), (0, 65535)):
            scaled = f"such images are scaled, {black:g} black, {white:g} white"
            notes.append(f"{path} holds values up to {values.max():g}; {scaled}")
    return f"{notes[0]} ({len(notes)} of {len(paths)} that were looked at)" if notes else None
