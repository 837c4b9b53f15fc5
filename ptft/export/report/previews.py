"""What of an example can be seen or heard on a page: small pictures and short sounds as data URIs."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ptft.core import Examples, Spec

SIDE = 96
"""Most pixels of a picture's longer side."""
SECONDS = 2.0
"""Of a sound, its begin."""
SOUNDS = 24
"""Of so many rows sounds are kept: one is twenty times as large as a picture."""
BATCH = 64


def of_rows(examples: Examples, spec: Spec, indices: Sequence[int], sounds: int = SOUNDS) -> list[str | None]:
    """A data URI for each of these examples of a split; None where it is text, or can't be shown, or more than so many
    are heard."""
    found: list[str | None] = []
    for start in range(0, len(indices), BATCH):
        raw = examples.take(torch.tensor(indices[start : start + BATCH], device=examples.device))
        found.extend(_shown(raw["input"].cpu(), raw.get("length"), spec, sounds - len(found)))
    return found


def _shown(raw: Tensor, lengths: Tensor | None, spec: Spec, sounds: int) -> list[str | None]:
    if raw.dtype == torch.uint8 and raw.dim() == 4 and raw.shape[1] in (1, 3):
        return [picture(array) for array in raw.permute(0, 2, 3, 1).numpy()]
    rate = spec.shape.get("rate")
    if isinstance(rate, int) and raw.dtype == torch.int16 and raw.dim() == 2:
        ends = [raw.shape[1]] * len(raw) if lengths is None else lengths.tolist()
        pairs = enumerate(zip(raw, ends, strict=True))
        return [sound(samples[:end], rate) if k < sounds else None for k, (samples, end) in pairs]
    return [None] * len(raw)


def picture(array: Any) -> str:
    """uint8 [H, W, 1 or 3] -> a PNG, or a JPEG where the picture had to be made smaller."""
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    file, small = io.BytesIO(), max(image.size) <= SIDE
    if not small:
        image.thumbnail((SIDE, SIDE))
    image.save(file, "PNG" if small else "JPEG", **({} if small else {"quality": 80}))
    return _uri("image/png" if small else "image/jpeg", file.getvalue())


def sound(samples: Tensor, rate: int) -> str:
    """int16 [n] -> a WAV of its first seconds."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples[: round(SECONDS * rate)].numpy().astype("<i2").tobytes())
    return _uri("audio/wav", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
