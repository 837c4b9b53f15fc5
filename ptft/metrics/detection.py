"""Average precision of boxes, as COCO measures it (Lin et al. 2014, "Microsoft COCO"), by the package faster-coco-eval.

Axes: N images, M true boxes, P predicted ones, K classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptft.core import Table
from ptft.errors import not_imported

MOST = 100
"""Boxes of an image that count, the likeliest."""
HALF, THREE_QUARTERS = 0, 5
"""Which of the thresholds 0.5, 0.55 … 0.95 of overlap these are."""
AREAS = ("all", "small", "medium", "large")
"""Up to 32 squared pixels, up to 96 squared, and beyond."""


class Truth(NamedTuple):
    """True boxes of `images` images.

    image: long [M], which. box: float64 [M, 4] (left, top, right, bottom). label: long [M]. crowd: bool [M]. area:
    float64 [M].
    """

    images: int
    image: Tensor
    box: Tensor
    label: Tensor
    crowd: Tensor
    area: Tensor


class Found(NamedTuple):
    """Predicted boxes: image long [P], box float64 [P, 4], label long [P], score float [P]."""

    image: Tensor
    box: Tensor
    label: Tensor
    score: Tensor


def check() -> None:
    """Raises ConfigError where the package is not installed."""
    _package()


def masks(what: str) -> Any:
    """The package's functions of masks, for what is called so. Raises ConfigError where it is not installed."""
    _package(what)
    return importlib.import_module("faster_coco_eval.core.mask")


def _package(what: str = "AP of boxes") -> Any:
    try:
        return importlib.import_module("faster_coco_eval")
    except ImportError as error:
        needs = f"{what} need{'s' if what.startswith('AP') else ''} the package faster-coco-eval"
        raise not_imported(needs, "faster_coco_eval", "'ptft[detection]'", error) from error


def average_precision(truth: Truth, found: Found, classes: Sequence[str]) -> dict[str, float | Table]:
    """AP (mean over overlaps of 0.5 to 0.95), AP50, AP75, those of small, medium and large boxes, AR (of 100 boxes).

    Each from 0 to 1; of what there is no true box they are left out, AP alone is NaN then. `by_class` is the table by
    class; crowds are neither found nor missed. Raises ConfigError without the package.
    """
    package = _package()
    reference = package.COCO()
    reference.dataset = _dataset(truth, len(classes))
    reference.createIndex()
    if len(found.score):
        results = reference.loadRes(_results(found))
    else:  # which loadRes takes from faster-coco-eval 1.8 on
        results = package.COCO()
        results.dataset = {**reference.dataset, "annotations": []}
        results.createIndex()
    measured = package.COCOeval_faster(reference, results, iouType="bbox")
    measured.evaluate()
    measured.accumulate()
    precision, recall = measured.eval["precision"], measured.eval["recall"]
    if not len(np.atleast_1d(precision)):
        return {"AP": float("nan")}
    numbers = _numbers(precision[..., -1], recall[..., -1])
    known = {name: value for name, value in numbers.items() if value == value}
    return {"AP": float("nan"), **known, "by_class": _by_class(precision[..., -1], recall[..., -1], truth, classes)}


def _numbers(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> dict[str, float]:
    """precision [T, R, K, A], recall [T, K, A] of 100 boxes; overlaps T, recalls R, areas A."""
    numbers = {
        "AP": _mean(precision[..., 0]),
        "AP50": _mean(precision[HALF, ..., 0]),
        "AP75": _mean(precision[THREE_QUARTERS, ..., 0]),
    }
    sized = {f"AP_{area}": _mean(precision[..., i]) for i, area in enumerate(AREAS) if i}
    return {**numbers, **sized, "AR": _mean(recall[..., 0])}


def _mean(values: NDArray[np.float64]) -> float:
    """Over what there is: -1 stands where there is no true box."""
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")


def _by_class(
    precision: NDArray[np.float64], recall: NDArray[np.float64], truth: Truth, classes: Sequence[str]
) -> Table:
    """How many boxes each class has, its AP, AP50, AP75 and AR; NaN where it has none."""
    boxes = truth.label[~truth.crowd].bincount(minlength=len(classes)).tolist()
    rows = []
    for k in range(len(classes)):
        own = _numbers(precision[:, :, k : k + 1], recall[:, k : k + 1])
        rows.append([float(boxes[k]), own["AP"], own["AP50"], own["AP75"], own["AR"]])
    return Table(list(classes), ["boxes", "AP", "AP50", "AP75", "AR"], rows)


def _dataset(truth: Truth, classes: int) -> dict[str, Any]:
    """As COCO's files are; ids of annotations count from 1, as 0 means none there."""
    sides = truth.box.double().clone()
    sides[:, 2:] -= sides[:, :2]
    columns = (truth.image, truth.label, sides, truth.area, truth.crowd)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    annotations = [
        {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for i, (image, label, box, area, crowd) in enumerate(rows, 1)
    ]
    images = [{"id": i} for i in range(truth.images)]
    return {
        "images": images,
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
        "annotations": annotations,
    }


def _results(found: Found) -> NDArray[np.float64]:
    """[P, 7]: image, left, top, width, height, score, class."""
    rows = np.empty((len(found.score), 7))
    rows[:, 0], rows[:, 5], rows[:, 6] = found.image.numpy(), found.score.double().numpy(), found.label.numpy()
    box = found.box.double().numpy()
    rows[:, 1:3], rows[:, 3:5] = box[:, :2], box[:, 2:] - box[:, :2]
    return rows
