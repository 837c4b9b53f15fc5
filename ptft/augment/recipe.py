"""What random views are made of where a key is `auto`: by a look at the images. Figures: tests/benchmarks/README.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptft.augment.look import Look

AUTO = "auto"
LARGE = 64
"""Pixels of the shorter side from which on a blurred image still shows what it is of."""


def figure(look: Look) -> bool:
    """Characters, drawings, clothes: a mirrored or recoloured one may mean something else, and a small part nothing."""
    return look.grey and look.plain


def large(look: Look) -> bool:
    return min(look.size) >= LARGE


CHOICES: dict[str, Callable[[Look], Any]] = {
    "flip": lambda look: not figure(look),
    "rotate": lambda look: 15 if figure(look) else 0,
    "shear": lambda look: 15 if figure(look) else 0,
    "scale": lambda look: 0.2 if figure(look) else 0,
    "crop": lambda look: 0.6 if figure(look) else 0.2 if large(look) else 0.3,
    "grey": lambda look: 0.0 if look.grey else 0.2,
    "blur": lambda look: 0.5 if large(look) and not figure(look) else 0.0,
    "solarize": lambda look: 0.1 if large(look) and not figure(look) else 0.0,
    "global_crop": lambda look: [0.5, 1.0] if figure(look) else [0.4, 1.0],
    "local_crop": lambda look: [0.25, 0.5] if figure(look) else [0.1, 0.4],
}
"""Key -> what is chosen. Grey, blur and solarisation are those of SimCLR (appendix A) and BYOL (table 6)."""


def chosen(key: str, look: Look) -> Any:
    """Raises KeyError where nothing is known of such a key."""
    return CHOICES[key](look)
