"""From what a detector says of every point to boxes. Axes: B batch, A points, K classes, D boxes of an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.ops import batched_nms

CODER = BoxLinearCoder(normalize_by_size=True)
"""Boxes as distances from a point to their sides, in strides."""
CANDIDATES = 1000
"""So many of an image's likeliest boxes are compared with each other."""


def decoded(distances: Tensor, cells: Tensor) -> Tensor:
    """Distances to left, top, right, bottom in strides, [B, n, 4], of cells [B, n, 4] or [n, 4] -> boxes [B, n, 4]."""
    boxes: Tensor = CODER.decode(distances, cells.expand_as(distances))
    return boxes


def detections(
    logits: Tensor,
    distances: Tensor,
    centres: Tensor,
    cells: Tensor,
    size: tuple[int, int],
    *,
    least: float,
    overlap: float,
    most: int,
) -> Tensor:
    """float [B, most, 6]: left, top, right, bottom, score, class; class -1 behind the last one. The likeliest first.

    logits: [B, A, K], distances: [B, A, 4], centres: [B, A], cells: [A, 4]; size: (H, W) of the input. A score is the
    geometric mean of the probabilities of class and centre. Boxes of a score below `least` are none; of those of a
    class that overlap by more than `overlap` the likeliest stays.
    """
    batch, count, classes = logits.shape
    scores = (logits.float().sigmoid() * centres.float().sigmoid().unsqueeze(-1)).sqrt().flatten(1)
    scores, chosen = scores.topk(min(CANDIDATES, count * classes))
    point, label = chosen // classes, chosen % classes
    places = point.unsqueeze(-1).expand(-1, -1, 4)
    box = decoded(distances.float().gather(1, places), cells[point])
    limit = box.new_tensor([size[1], size[0], size[1], size[0]])
    box = box.clamp(min=0).minimum(limit)
    kept = _suppressed(box, scores, label, least, overlap)
    scores = scores.masked_fill(~kept, -1)
    scores, order = scores.topk(min(most, scores.shape[1]))
    label = label.gather(1, order).masked_fill(scores < 0, -1)
    box = box.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    found = torch.cat([box, scores.clamp(min=0).unsqueeze(-1), label.unsqueeze(-1).float()], -1)
    none = found.new_tensor([0, 0, 0, 0, 0, -1]).expand(batch, most - found.shape[1], 6)
    return torch.cat([found, none], 1)


def _suppressed(box: Tensor, scores: Tensor, label: Tensor, least: float, overlap: float) -> Tensor:
    """bool [B, n], which boxes stay: all images and classes at once, as groups that do not meet."""
    full = (box[..., 2] > box[..., 0]) & (box[..., 3] > box[..., 1])
    image, place = ((scores > least) & full).nonzero(as_tuple=True)
    group = image * (int(label.max()) + 1) + label[image, place] if len(image) else image
    stays = batched_nms(box[image, place], scores[image, place], group, overlap)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[image[stays], place[stays]] = True
    return kept
