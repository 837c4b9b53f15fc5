"""Metrics of masks, from counts of pixels. Axes: B images, P pixels, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptft.core import Table

BY_CLASS = ["pixels", "iou", "precision", "recall"]


def confusion(predicted: Tensor, true: Tensor, valid: Tensor, classes: int) -> Tensor:
    """long [B, K, K], rows true and columns predicted, of the pixels [B, P] where `valid` is true."""
    images = torch.arange(len(true), device=true.device).unsqueeze(1)
    cells = (images * classes + true) * classes + predicted
    counts = cells[valid].bincount(minlength=len(true) * classes**2)
    return counts.view(len(true), classes, classes)


def ious(confusion: Tensor) -> Tensor:
    """Float64 [..., K]: the pixels of a class that were found, of all that are of it or were taken for it (Jaccard's
    index); NaN where there are none."""
    counts = confusion.double()
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits / (counts.sum(-1) + counts.sum(-2) - hits)


def measures(confusion: Tensor) -> dict[str, float]:
    """`miou`, the mean over the classes that are there or were answered, and `pixel_accuracy`; of [K, K]."""
    counts = confusion.double()
    return {
        "miou": float(ious(counts).nanmean()),
        "pixel_accuracy": float(counts.diagonal().sum() / counts.sum()),
    }


def by_class(confusion: Tensor, classes: Sequence[str]) -> Table:
    """How many pixels each class has, its IoU, and the shares of the answered and of the true pixels that are right."""
    counts = confusion.double()
    hits, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    columns = torch.stack([true, ious(counts), hits / predicted, hits / true], 1)
    return Table(list(classes), BY_CLASS, columns.tolist())
