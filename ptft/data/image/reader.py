"""The image modality: from a path to uint8 [C, H, W]. Sources and `stage=predict` read through the same functions.

`Spec.shape` is `{"size": [H, W], "channels": 1 or 3, "fit": "crop" | "stretch" | "letterbox" | "none"}`, and perhaps
`crop_pct`, the share of each side in the middle that is kept, and `interpolation`. Transparent pixels become white,
deeper values are scaled to 8 bit, EXIF orientation is applied.
16-bit integers count by the bits that an image uses: 8, 12 or 16. Floats are 0 to 1. Floats beyond, and integers of 32
bits, have no range of their own, so they are scaled from the image's least value to its largest.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import files, records
from ptft.data.folders import listed_path
from ptft.data.hub.cells import Cell, stream
from ptft.data.hub.items import rows_at
from ptft.data.image import letterbox
from ptft.data.image.pixels.depths import BROKEN, to_8_bit
from ptft.data.image.pixels.scaling import INTERPOLATIONS, scaled
from ptft.data.own import foreign
from ptft.data.readers import of_rows
from ptft.errors import ConfigError, DataError, first_line

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".ppm", ".pgm", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
TIMES = "\N{MULTIPLICATION SIGN}"
FITS = ("crop", "stretch", letterbox.FIT, "none")
GREY = (0.299, 0.587, 0.114)
"""Weights of R, G, B in the grey value (ITU-R BT.601, as in Pillow)."""

# Pillow warns of odd metadata and large photos; what can't be decoded raises. For good: threads share the filters.
warnings.filterwarnings("ignore", module=r"PIL\.")

DECODING = "ranges of 8, 12 and 16 bits"
"""Differs when the same file is read as other pixels than before, so that what was cached is read again."""

_ORIENTATION = 0x0112


class SizeError(DataError):
    """An image of another size than the rest where nothing resizes."""


def find(path: Path | str) -> list[Path]:
    """The images at `path`, as `files.find`."""
    return files.find(path, SUFFIXES)


def items(path: str, spec: Spec) -> Sequence[Any]:
    """As `find`; of a table with a column `path` the images that it lists; of Parquet files those in their rows."""
    file = Path(os.path.expanduser(path))
    if not (file.is_file() and file.suffix.lower() in records.SUFFIXES):
        found = foreign.items(path, SUFFIXES, "images")
        in_tables = rows_at(path, "image", spec, bool(found))
        return found if in_tables is None else in_tables
    return of_rows(file, spec, SUFFIXES, lambda *row: listed_path(file.parent, *row))


def shape(
    size: tuple[int, int], channels: int, fit: str, crop_pct: float = 1, interpolation: str = "bilinear"
) -> dict[str, object]:
    """The `Spec.shape` of images of `size` = (H, W). Raises ConfigError for what can't be made of an image.

    crop_pct: of the part that `fit` takes, the share of each side in the middle that is kept, as timm counts it: the
        images are resized to `floor(size / crop_pct)` and cut.
    """
    if channels not in (1, 3):
        raise ConfigError(f"dataset.channels={channels}: images have 1 (grey) or 3 (colour) channels")
    if fit not in FITS:
        raise ConfigError(f"dataset.fit={fit}: one of {', '.join(FITS)}")
    if fit == letterbox.FIT and crop_pct != 1:
        raise ConfigError(f"dataset.crop_pct={crop_pct}: cuts, and dataset.fit=letterbox keeps all of an image")
    if not 0 < crop_pct <= 1:
        raise ConfigError(f"dataset.crop_pct={crop_pct}: a share above 0 and up to 1")
    if interpolation not in INTERPOLATIONS:
        raise ConfigError(f"dataset.interpolation={interpolation}: one of {', '.join(INTERPOLATIONS)}")
    usual = {"crop_pct": 1, "interpolation": "bilinear"}  # left out, as in Specs that are older than these keys
    more = {"crop_pct": crop_pct, "interpolation": interpolation}
    more = {key: value for key, value in more.items() if fit != "none" and value != usual[key]}
    return {"size": list(size), "channels": channels, "fit": fit, **more}


def fill(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics per channel for another number of channels."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def show(size: tuple[int, int] | list[int]) -> str:
    """(H, W) as people write it: "28x28" with a real multiplication sign."""
    return f"{size[0]}{TIMES}{size[1]}"


def size_of(path: Path | str | Cell) -> tuple[int, int]:
    """(H, W) of the image as it is meant to be seen, read from its header. Raises DataError naming the file."""
    try:
        with Image.open(stream(path)) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
    except BROKEN as error:
        raise DataError(_unreadable(path, error)) from error
    return (width, height) if turned else (height, width)


def read(path: Path | str | Cell, spec: Spec, first: Path | str | Cell | None = None) -> Tensor:
    """The image at `path` as uint8 [C, H, W], fitted to `spec.shape`.

    `first` is a file of the expected size, named where the fit is "none" and this one differs (SizeError).
    Raises DataError naming the file if it is missing, empty, truncated or no image.
    """
    try:
        image, whole = _open(path, 2 * max(_whole(spec)) if spec.shape["fit"] != "none" else None)
        image = to_mode(image, "L" if spec.shape["channels"] == 1 else "RGB")
    except BROKEN as error:
        raise DataError(_unreadable(path, error)) from error
    return fitted(image, spec, path, first, whole)


def opened(path: Path | str | Cell) -> Image.Image:
    """The image at `path` as it is meant to be seen, in colours. Raises DataError naming the file."""
    try:
        return to_mode(_open(path, None)[0], "RGB")
    except BROKEN as error:
        raise DataError(_unreadable(path, error)) from error


def fitted(
    image: Image.Image,
    spec: Spec,
    name: Path | str | Cell,
    first: Path | str | Cell | None = None,
    whole: tuple[int, int] | None = None,
) -> Tensor:
    """An image of mode "L" or "RGB", as the Spec's channels are, as `read` returns it. name: what to call it.

    whole: its (height, width), where it was decoded smaller.
    """
    height, width = spec.shape["size"]
    if spec.shape["fit"] == "none" and image.size != (width, height):
        raise SizeError(_differs(name, (image.height, image.width), (height, width), first))
    pixels = np.array(_fit(image, spec, whole or (image.height, image.width)), dtype=np.uint8)
    return torch.from_numpy(pixels).reshape(height, width, -1).permute(2, 0, 1).contiguous()


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """Images uint8 [C, H, W] of one size as `input` uint8 [B, C, H, W]."""
    return {"input": torch.stack(list(items))}


def describe(spec: Spec) -> str:
    """As the header of a run shows it: 28x28x1 with real multiplication signs."""
    return TIMES.join(map(str, [*spec.shape["size"], spec.shape["channels"]]))


def preparation(spec: Spec) -> str:
    """How an image becomes an input beyond its size: what is cut, how it is resized, mean and std."""
    parts = [f"crop {spec.shape['crop_pct']:.3g}"] if "crop_pct" in spec.shape else []
    parts += [str(spec.shape["interpolation"])] if "interpolation" in spec.shape else []
    parts += [f"{name} {_few(values)}" for name, values in (("mean", spec.mean), ("std", spec.std)) if values]
    return ", ".join(parts)


def _few(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3g}" for value in (values if len(set(values)) > 1 else values[:1]))


def _open(path: Path | str | Cell, least: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """Decoded and turned upright, and its own (height, width). A JPEG may be decoded smaller, with no side below
    `least`, which is much faster."""
    with Image.open(stream(path)) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        return ImageOps.exif_transpose(image), (width, height) if turned else (height, width)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any mode to "L" or "RGB"."""
    if image.mode.startswith("I") or image.mode == "F":
        image = to_8_bit(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    elif image.mode in ("P", "LAB", "HSV"):
        image = image.convert("RGB")
    return image.convert(mode)


def _fit(image: Image.Image, spec: Spec, whole: tuple[int, int]) -> Image.Image:
    height, width = spec.shape["size"]
    how = INTERPOLATIONS[spec.shape.get("interpolation", "bilinear")]
    if spec.shape["fit"] == letterbox.FIT:
        return letterbox.boxed(image, spec, whole, how)
    high, wide = _whole(spec)
    if image.size != (wide, high):
        if spec.shape["fit"] == "crop":
            top, left, part_high, part_wide = _middle(image.height, image.width, high / wide)
            image = image.crop((left, top, left + part_wide, top + part_high))
        image = image.resize((wide, high), how)
    top, left = round((high - height) / 2), round((wide - width) / 2)  # as torchvision cuts
    return image.crop((left, top, left + width, top + height)) if (high, wide) != (height, width) else image


def _whole(spec: Spec) -> tuple[int, int]:
    """(H, W) that images are resized to; what `spec.shape` asks for is cut from its middle."""
    height, width = spec.shape["size"]
    share = spec.shape.get("crop_pct", 1)
    if share == 1:
        return height, width
    short = min(height, width)
    grown = math.floor(short / share + 1e-6) / short
    return round(height * grown), round(width * grown)


def resize(images: Tensor, spec: Spec, chunk: int = 1024) -> Tensor:
    """Images in memory, uint8 [B, C, H, W], as `spec.shape` asks: uint8 [B, C', H', W'], antialiased, on their device.

    Every image comes out the same whatever else is in the batch. Raises SizeError where the fit is "none".
    """
    height, width = spec.shape["size"]
    high, wide = _whole(spec)
    images = convert(images, spec.shape["channels"])
    if images.shape[-2:] == (height, width) == (high, wide):
        return images
    if spec.shape["fit"] == "none":
        raise SizeError(_differs("an image", (images.shape[-2], images.shape[-1]), (height, width), None))
    if spec.shape["fit"] == "crop":
        top, left, part_high, part_wide = _middle(images.shape[-2], images.shape[-1], high / wide)
        images = images[..., top : top + part_high, left : left + part_wide]
    elif spec.shape["fit"] == letterbox.FIT:
        inner = letterbox.inside(images.shape[-2:], (height, width))
        if inner != (height, width):
            fitted_inside = replace(spec, shape={**spec.shape, "size": list(inner), "fit": "stretch"})
            return letterbox.padded(resize(images, fitted_inside, chunk), spec)
    how = spec.shape.get("interpolation", "bilinear")
    top, left = round((high - height) / 2), round((wide - width) / 2)  # as torchvision cuts
    out = images.new_empty(len(images), images.shape[1], height, width)
    for start in range(0, len(images), chunk):
        part = scaled(images[start : start + chunk], (high, wide), how)
        out[start : start + chunk] = part[..., top : top + height, left : left + width]
    return out


def convert(images: Tensor, channels: int) -> Tensor:
    """uint8 [B, C, H, W] with 1 or 3 channels -> uint8 [B, `channels`, H, W]: grey repeated, or colours mixed."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    red, green, blue = images.float().unbind(1)
    return (red * GREY[0] + green * GREY[1] + blue * GREY[2]).round_().to(torch.uint8).unsqueeze(1)


def _middle(height: int, width: int, ratio: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest part in the middle with height / width = `ratio`, in whole pixels."""
    high, wide = max(1, min(height, round(width * ratio))), max(1, min(width, round(height / ratio)))
    return (height - high) // 2, (width - wide) // 2, high, wide


def _unreadable(path: Path | str | Cell, error: BaseException) -> str:
    if not isinstance(path, Cell) and not os.path.exists(path):
        return f"{path}: no such file"
    if not isinstance(path, Cell) and os.path.isfile(path) and os.path.getsize(path) == 0:
        return f"{path}: the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: not an image of a known kind"
    return f"{path}: not readable as an image ({first_line(error)})"


def _differs(
    path: Path | str | Cell, size: tuple[int, int], expected: tuple[int, int], first: Path | str | Cell | None
) -> str:
    is_this = f"{path} is {show(size)} (height{TIMES}width) and"
    if first:
        return f"{is_this} {first} is {show(expected)}; dataset.size={min(expected)} resizes them all"
    typed = expected[0] if len(set(expected)) == 1 else str(list(expected)).replace(" ", "")
    remedy = f"resize it first, or train with dataset.size={typed}, which resizes every image"
    return f"{is_this} the model has learned from images of {show(expected)} as they are; {remedy}"
