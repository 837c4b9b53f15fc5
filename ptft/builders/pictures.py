"""Examples as pictures, for loggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ptft.core import Examples


def of_examples(examples: Examples, indices: Sequence[int]) -> list[Any] | None:
    """PIL images of these examples of a split, as they are read; None where they are none (uint8 [B, 1 or 3, H, W])."""
    raw = examples.take(torch.tensor(indices))["input"]
    if raw.dtype != torch.uint8 or raw.dim() != 4 or raw.shape[1] not in (1, 3):
        return None
    from PIL import Image

    arrays = raw.permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in arrays]
