"""The protocol of what shows marks in inputs of a modality; a Spec says by name which module that is.

Axes: P the positions of an input: [H, W] of pixels, [T] of ids, [F, M] of frames and bands ([N, 1] of samples).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.core import Spec


class Marks(Protocol):
    """A module of `ptft.data.marked`. raw: one example as it was read; x: it prepared, with the axis of a batch."""

    def units(self, raw: Tensor, x: Tensor, spec: Spec) -> Tensor:
        """Which of the parts that are told apart (cells, words) a position belongs to, long [*P]; -1: to none."""

    def empty(self, x: Tensor, units: Tensor, spec: Spec) -> Tensor:
        """What stands for nothing, in the form of x."""

    def named(self, raw: Tensor, units: Tensor, spec: Spec) -> dict[str, Any]:
        """What the parts are: `{"grid": [rows, columns]}`, row by row, or `{"words": […]}`."""

    def draw(self, stem: Path, raw: Tensor, x: Tensor, values: Tensor | None, spec: Spec) -> dict[str, Path]:
        """Write the input, or with values [*P] the input and what is marked in it; the files, by what they are."""


def of(spec: Spec) -> Marks:
    """The module for the Spec's examples."""
    return cast(Marks, importlib.import_module(f"ptft.data.marked.{spec.modality}"))


def cells(height: int, width: int, most: tuple[int, int], square: bool = False) -> Tensor:
    """Long [H, W]: which cell each place is in, row by row, at most so many down and across.

    square: whether cells are as high as they are wide.
    """
    sides = [max(1, -(-side // count)) for side, count in zip((height, width), most, strict=True)]
    sides = [max(sides)] * 2 if square else sides
    rows, columns = torch.arange(height) // sides[0], torch.arange(width) // sides[1]
    return rows.unsqueeze(1) * int(columns[-1] + 1) + columns


def grid(units: Tensor) -> list[int]:
    """[rows, columns] of what `cells` gave."""
    across = int(units[0].max()) + 1
    return [(int(units.max()) + 1) // across, across]


def strength(values: Tensor) -> Tensor:
    """[*P] as it is drawn, from -1 to 1; the strongest hundredth is all of it, so that no single place hides the rest.

    Of inputs of more than 64 places a side neighbours are averaged, or single ones would be too small to be seen.
    """
    width = 2 * ((max(values.shape) - 1) // 64) + 1
    width = min(width, 2 * (min(values.shape) // 2) - 1) if min(values.shape) > 1 else 1
    values = F.avg_pool2d(values.float()[None, None], width, 1, width // 2, count_include_pad=False)[0, 0]
    whole = float(values.abs().flatten().quantile(0.99)) or float(values.abs().max()) or 1.0
    return (values / whole).clamp(-1, 1)
