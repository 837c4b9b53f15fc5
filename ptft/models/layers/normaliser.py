"""Images as a Spec normalises them. Axes: C channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ptft.core import Spec


def normaliser(spec: Spec) -> tuple[Tensor, Tensor]:
    """(raw / 255 - mean) / std as one multiply-add: raw * scale + offset, both [C, 1, 1] or [1, 1, 1].

    A constant channel has no spread to divide by.
    """
    std = torch.tensor(spec.std or (1.0,)).clamp(min=1 / 255)
    mean = torch.tensor(spec.mean or (0.0,))
    return (1 / (255 * std)).view(-1, 1, 1), (-mean / std).view(-1, 1, 1)
