"""Values of Python as items to predict for: images, waveforms and texts that stand in no file.

They are read as files of the same content are: an image of Pillow's, NumPy's or torch's is resized as a PNG file is.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ptft.core import Spec
from ptft.data import readers
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.length import fit, longer_than, max_samples
from ptft.data.image import reader as image_reader
from ptft.data.readers import Held
from ptft.data.user_dataset import items as own_items
from ptft.data.user_dataset.items import DatasetItem
from ptft.errors import DataError


class Inputs(NamedTuple):
    """Items; single: whether they are one input, whose answer stands by itself; files: whether they have a path.

    counts: of items that are of one path each, or of no path.
    """

    items: Sequence[Any]
    single: bool
    files: bool
    counts: Sequence[int]


def items(spec: Spec, x: Any) -> Inputs:
    """What `x` means: a path (of texts a `Path`; a string is a text itself), a value, or a list of either.

    Values are images (Pillow's; uint8 or float from 0 to 1 [H, W], [C, H, W], NumPy's [H, W, C], or a batch of them),
    waveforms at the model's rate (int16 or float from -1 to 1, [n] or [C, n]), or with theirs as (values, rate) or
    `{"array": …, "sampling_rate": …}`, texts or pairs of texts, and `{"question": …, "context": …}`. Raises DataError
    for anything else, and for a path where there is nothing.
    """
    if _is_path(spec, x):
        found = _at(spec, x)
        single = len(found) == 1 and Path(str(found[0])) == Path(os.path.expanduser(x))
        return Inputs(found, single, True, [len(found)])
    several = isinstance(x, list) or _is_batch(spec, x)
    values = list(x) if several else [x]
    if any(_is_path(spec, value) for value in values):
        if not all(_is_path(spec, value) for value in values):
            raise DataError("paths and values in one list: give them one after the other")
        parts = [_at(spec, path) for path in values]
        return Inputs(list(itertools.chain(*parts)), False, True, [len(part) for part in parts])
    held = _held(spec, values)
    return Inputs(held, not several, False, [len(held)])


def _is_path(spec: Spec, value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and spec.modality != "text")


def _at(spec: Spec, path: str | Path) -> Sequence[Any]:
    found = readers.find(spec, str(path))
    if not found:
        raise DataError(f"{path}: no {spec.modality} files there; name a file, a folder or a glob")
    return found


def _is_batch(spec: Spec, value: Any) -> bool:
    """Whether an array has an axis more than an image."""
    return spec.modality == "image" and isinstance(value, Tensor | np.ndarray) and value.ndim == 4


def _held(spec: Spec, values: Sequence[Any]) -> Sequence[Any]:
    if hasattr(reader := readers.of(spec), "of_values"):
        return cast(Sequence[Any], reader.of_values(values, spec))
    if spec.modality == "text":
        texts = [(f"input {i}", _text(value, f"input {i}")) for i, value in enumerate(values)]
        return readers.typed(spec, lambda: texts, "a text")
    named = [DatasetItem(value, None, f"input {i}") for i, value in enumerate(values)]
    held = {"image": _image, "audio": _wave}[spec.modality]
    return [held(item, spec) for item in named]


def _text(value: Any, name: str) -> str:
    """A text, or a pair of them with a tab between. Raises DataError."""
    texts = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f"{name} is {value!r:.60}; the model reads texts: a string, or a tuple of two")
    return "\t".join(text.replace("\t", " ") for text in texts) if len(texts) > 1 else texts[0]


def _image(item: DatasetItem, spec: Spec) -> Held:
    if (kind := own_items.kind(item)) != "image":
        raise DataError(f"{item.where} is of {kind}, and the model reads {spec.modality}")
    if isinstance(item.input, Image.Image):
        image = ImageOps.exif_transpose(item.input)
    else:
        pixels = own_items.image(item).permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    try:
        image = image_reader.to_mode(image, "L" if spec.shape["channels"] == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise DataError(f"{item.where} is no readable image ({error})") from error
    return Held(item.where, image_reader.fitted(image, spec, item.where), (image.height, image.width))


def _wave(item: DatasetItem, spec: Spec) -> Held:
    wanted = int(spec.shape["rate"])
    values, rate = item.input, wanted
    if isinstance(values, Mapping) and {"array", "sampling_rate"} <= values.keys():
        values, rate = values["array"], int(values["sampling_rate"])
    elif isinstance(values, tuple) and len(values) == 2:
        values, rate = values[0], int(values[1])
    if rate <= 0:
        raise DataError(f"{item.where} has a rate of {rate}; samples a second are above 0")
    item = DatasetItem(values, None, item.where)
    wave = audio_reader.resampled(own_items.wave(item), rate, wanted)
    longer = len(wave) > (max_samples(spec) or len(wave))
    return Held(item.where, fit(wave, spec), remark=longer_than(spec) if longer else None)
