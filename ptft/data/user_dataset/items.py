"""Items of a user's own torch Dataset: what they hold as ptft has it, and what is wrong with one.

Axes: C channels, H height, W width, n samples of a waveform.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptft.data.files import nfc
from ptft.data.image import reader as image_reader
from ptft.errors import DataError, PtftError, first_line, shortened

FULL_SCALE = 2**15
LONG = 100
"""What is longer than so many times its height is no image, but a waveform in channels."""
GREY_MODES = ("1", "L", "LA", "F")


class DatasetItem(NamedTuple):
    """What an item is of, and what to call it in a message."""

    input: Any
    label: Any
    where: str


def read(dataset: Any, index: int, name: str) -> DatasetItem:
    """The pair that `dataset[index]` is. Raises DataError naming an item that can't be read, or is none."""
    where = f"{name}: item {index}"
    try:
        pair = dataset[index]
    except PtftError:
        raise
    except Exception as error:  # whatever a stranger's dataset may raise
        raise DataError(f"{where} can't be read ({type(error).__name__}: {first_line(error)})") from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        several = f" of {len(pair)}" if isinstance(pair, tuple | list | dict) else ""
        raise DataError(f"{where} is a {type(pair).__name__}{several}; it must be a pair, (input, label)")
    return DatasetItem(pair[0], pair[1], where)


def kind(item: DatasetItem) -> str:
    """The modality of an input: "image", "audio" or "text". Raises DataError for another."""
    value = item.input
    if isinstance(value, str):
        return "text"
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 2 and LONG * value.shape[0] < value.shape[1]:
        return "audio"
    if isinstance(value, Image.Image) or (isinstance(value, Tensor | np.ndarray) and value.ndim in (2, 3)):
        return "image"
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 1:
        return "audio"
    raise DataError(
        f"{item.where} holds {_shown(value)}; an input is an image (PIL, [C, H, W] or [H, W]), a waveform [n] or a text"
    )


def label_of(value: Any, classes: tuple[str, ...] | None, where: str) -> str:
    """The name of a class: of its number, or a name itself; of a number without `classes` that number.

    Raises DataError for what is neither, and for a class that there is not.
    """
    if isinstance(value, np.generic) or (isinstance(value, Tensor | np.ndarray) and len(value.reshape(-1)) == 1):
        value = value.item()
    if isinstance(value, str):
        name = nfc(value)
        if classes is not None and name not in classes:
            raise DataError(f"{where} has the label {name!r}, its classes are {shortened(classes, 8)}")
        return name
    if not isinstance(value, int):
        raise DataError(f"{where} has the label {_shown(value)}; a label is a whole number or a name")
    if classes is None:
        return str(int(value))
    if not 0 <= value < len(classes):
        raise DataError(f"{where} has the label {int(value)}, its classes are {len(classes)} (0 to {len(classes) - 1})")
    return classes[value]


def image(item: DatasetItem) -> Tensor:
    """An input as uint8 [C, H, W] with 1 or 3 channels. Raises DataError for what is no such image."""
    value = item.input
    if isinstance(value, Image.Image):
        mode = "L" if value.mode in GREY_MODES or value.mode.startswith("I") else "RGB"
        try:
            pixels = torch.from_numpy(np.array(image_reader.to_mode(value, mode)))
        except (OSError, ValueError) as error:
            raise DataError(f"{item.where} is no readable image ({first_line(error)})") from error
        return pixels.unsqueeze(0) if mode == "L" else pixels.permute(2, 0, 1).contiguous()
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (2, 3):
        raise DataError(f"{item.where} holds {_shown(value)}, item 0 an image")
    tensor = _tensor(value)
    if tensor.ndim == 2:
        tensor = tensor.unsqueeze(0)
    elif tensor.shape[-1] in (1, 3) and (isinstance(value, np.ndarray) or tensor.shape[0] not in (1, 3)):
        tensor = tensor.permute(2, 0, 1)
    if tensor.shape[0] not in (1, 3) or 0 in tensor.shape:
        raise DataError(f"{item.where} holds {_shown(value)}; an image has 1 or 3 channels, [C, H, W] or [H, W]")
    return _pixels(tensor, item.where).contiguous()


def _pixels(values: Tensor, where: str) -> Tensor:
    if values.dtype == torch.uint8:
        return values
    if values.dtype == torch.bool:
        return values.to(torch.uint8) * 255
    low, high = values.min().item(), values.max().item()
    if values.is_floating_point():
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"{where} has values from {low:g} to {high:g}; floats are from 0 to 1: leave normalising to ptft "
                "(dataset.mean, dataset.std), or give uint8"
            )
        return (values.float() * 255).round().to(torch.uint8)
    if low < 0 or high > 255:
        raise DataError(f"{where} has values from {low} to {high}; whole numbers are from 0 to 255")
    return values.to(torch.uint8)


def wave(item: DatasetItem) -> Tensor:
    """An input as float32 [n] from -1 to 1, channels mixed. Raises DataError for what is no waveform."""
    value = item.input
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (1, 2):
        raise DataError(f"{item.where} holds {_shown(value)}; with dataset.rate it is a waveform, [n] or [C, n]")
    tensor = _tensor(value)
    if tensor.ndim == 2 and tensor.shape[0] > tensor.shape[1]:
        raise DataError(f"{item.where} holds {_shown(value)}; of several channels they come first, [C, n]")
    if tensor.dtype == torch.int16:
        tensor = tensor.float() / FULL_SCALE
    elif not tensor.is_floating_point():
        raise DataError(f"{item.where} holds {_shown(value)}; a waveform is float from -1 to 1, or int16")
    if not tensor.numel():
        raise DataError(f"{item.where} holds no sound")
    mixed = tensor.float() if tensor.ndim == 1 else tensor.float().mean(0)
    peak = mixed.abs().max().item()
    if not peak <= 1:
        raise DataError(f"{item.where} has amplitudes up to {peak:g}; floats are from -1 to 1, else give int16")
    return mixed


def text(item: DatasetItem) -> str:
    """Raises DataError for what is no text, or is empty."""
    if not isinstance(item.input, str):
        raise DataError(f"{item.where} holds {_shown(item.input)}, item 0 a text")
    if not item.input.strip():
        raise DataError(f"{item.where} holds no text")
    return item.input.strip()


def _tensor(value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return of_array(value.astype(np.int64) if value.dtype == np.uint16 else value)


def of_array(value: np.ndarray) -> Tensor:
    """A tensor of the array, which it shares where it may: what is only to be read, as of bytes, is copied."""
    return torch.from_numpy(np.require(value, requirements=["C", "W"]))


def _shown(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"{value!r:.40} ({type(value).__name__})"
