"""Detection objective: FCOS on a pyramid of the backbone's maps. Axes: B batch, A points, K classes, M boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from ptft.augment.boxes import BoxViews, refuse_others
from ptft.core import Backbone, Batch, Columns, Objective, Spec, Step
from ptft.errors import ConfigError
from ptft.objectives.detection.points import Points, assigned, points
from ptft.objectives.detection.pyramid import GROUPS, maps_of, pyramid, strides_for
from ptft.objectives.detection.suppression import CODER, decoded, detections

MOST = 100
"""Boxes of an image, as COCO counts them."""
SURE = 0.3
"""From this score on a box is told where nobody says another one."""


class Heads(NamedTuple):
    """What is said of every point: class logits [B, A, K], distances [B, A, 4] in strides, centre logits [B, A]."""

    logits: Tensor
    distances: Tensor
    centres: Tensor
    where: Points


class Detect(Objective):
    """A one-stage detector without anchors: FCOS (Tian et al. 2020), with torchvision's heads and losses.

    Focal loss of the class of every point (Lin et al. 2017), and where there is a box the generalized overlap loss
    (Rezatofighi et al. 2019) and cross-entropy of how near its middle the point is. Losses are summed, and counted by
    the points that have a box, 1 for an image without any.

    width: of pyramid and heads, a multiple of 32; depth: convolutions of each head.
    finest: stride of the finest level, a power of two; None: 8, less for small images.
    least: score of a box from which it counts when measured; overlap: of two of a class beyond which one goes.
    views: options of `augment.boxes.BoxViews`; dataset_views: those of the dataset, of which boxes follow some.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "box"})

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        width: int = 96,
        depth: int = 2,
        finest: int | None = None,
        least: float = 0.05,
        overlap: float = 0.6,
        views: Mapping[str, Any] | None = None,
        dataset_views: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if spec.target != "boxes":
            what = f"needs images with boxes, and the target of the dataset is {spec.target}"
            raise ConfigError(
                f"objective=detect: {what}; dataset=coco and dataset=shapes have some (dataset.target=boxes)"
            )
        if width < GROUPS or width % GROUPS:
            raise ConfigError(f"objective.width={width}: a multiple of {GROUPS}")
        refuse_others(dataset_views)
        self.monitor = {"metric": "val/AP", "mode": "max"}
        self.classes = list(spec.classes)
        self.size = (int(spec.shape["size"][0]), int(spec.shape["size"][1]))
        self.backbone = backbone
        maps = maps_of(backbone, spec)
        self.strides = strides_for(self.size, finest, maps)
        self.pyramid = pyramid(maps, self.strides, width)
        self.classification = FCOSClassificationHead(width, 1, len(self.classes), depth)
        self.regression = FCOSRegressionHead(width, 1, depth)
        self.views = BoxViews(**(views or {}))
        self.least, self.overlap = least, overlap

    def heads(self, x: Tensor) -> Heads:
        """Prepared images [B, C, H, W] -> what is said of every point."""
        levels: list[Tensor] = self.pyramid(self.backbone.maps(x))
        logits = self.classification(levels)
        distances, centres = self.regression(levels)
        return Heads(logits.float(), distances.float(), centres.float().squeeze(-1), points(levels, self.strides))

    def forward(self, batch: Batch) -> Step:
        x, box, label = self.backbone.inputs(batch), batch["box"], batch["box_label"]
        if self.training:
            x, box, label = self.views(x, box, label)
        heads = self.heads(x)
        losses, positives = self._losses(heads, box, label)
        count = positives.clamp(min=1)
        sums = {name: value.detach().sum() for name, value in losses.items()}
        total = torch.stack(list(losses.values())).sum(0)
        if self.training:
            return Step(total.sum(), count.sum(), sums)
        found = self.found(heads)
        lists = {"index": batch["index"], "detections": found}
        each = {"total": total, "count": count, **losses}
        return Step(total.sum(), count.sum(), sums, lists, {"detections": found, "loss": total / count}, each)

    def _losses(self, heads: Heads, box: Tensor, label: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Summed for each image, float [B] by name, and how many of its points have a box, long [B].

        Everything is computed at every point, so that no shape depends on the boxes.
        """
        target, classes = assigned(heads.where, box, label)
        positive = classes >= 0
        wanted = torch.zeros_like(heads.logits)
        wanted.scatter_(2, classes.clamp(min=0).unsqueeze(-1), positive.unsqueeze(-1).to(wanted.dtype))
        focal = sigmoid_focal_loss(heads.logits, wanted).sum((1, 2))
        cells = heads.where.cells
        giou = generalized_box_iou_loss(decoded(heads.distances, cells), target)
        near = F.binary_cross_entropy_with_logits(heads.centres, _centredness(target, cells), reduction="none")
        return {
            "class_loss": focal,
            "box_loss": giou.masked_fill(~positive, 0).sum(1),
            "centre_loss": near.masked_fill(~positive, 0).sum(1),
        }, positive.sum(1)

    def found(self, heads: Heads) -> Tensor:
        """float [B, 100, 6], as `suppression.detections`, in pixels of the input."""
        return detections(*heads[:3], heads.where.cells, self.size, least=self.least, overlap=self.overlap, most=MOST)

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The three losses; the examples add AP and its like."""
        count = sums["count"].double()
        return {name: float(sums[name].double() / count) for name in ("class_loss", "box_loss", "centre_loss")}

    def predict(self, batch: Batch, *, score: float | None = None, **options: Any) -> list[dict[str, Any]]:
        """`boxes` of each image, [left, top, right, bottom, score, class's number] in pixels of the input.

        The likeliest first; score: from which on they are told, None: 0.3.
        """
        found = self.found(self.heads(self.backbone.inputs(batch)))
        sure = (found[..., 5] >= 0) & (found[..., 4] >= (SURE if score is None else score))
        return [{"boxes": boxes[kept].tolist()} for boxes, kept in zip(found.cpu(), sure.cpu(), strict=True)]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """Of each image how many boxes of each class are `true` and `predicted` (from 0.3 on), and its `loss`."""
        if not outputs:
            return {}
        found = outputs["detections"]
        sure = found[..., 5].masked_fill(found[..., 4] < SURE, -1)
        return {
            "true": [self._counted(row) for row in batch["box_label"].tolist()],
            "predicted": [self._counted(row) for row in sure.tolist()],
            "loss": outputs["loss"].tolist(),
        }

    def _counted(self, labels: list[float]) -> str:
        """ "RBC 12, WBC 1" """
        counts = Counter(int(label) for label in labels if label >= 0)
        return ", ".join(f"{self.classes[label]} {count}" for label, count in sorted(counts.items()))


def _centredness(target: Tensor, cells: Tensor) -> Tensor:
    """How near the middle of its box each point is, [B, A], from 0 at its edge to 1; boxes [B, A, 4], cells [A, 4]."""
    left, top, right, bottom = CODER.encode(cells.expand_as(target), target).unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).clamp(min=0).sqrt()
