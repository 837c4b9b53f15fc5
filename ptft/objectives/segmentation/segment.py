"""Segmentation objective: the class of every pixel. Axes: B batch, K classes, H, W of an input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.augment.boxes import refuse_others
from ptft.augment.masks import IGNORED, MaskViews
from ptft.core import Backbone, Batch, Columns, Objective, Spec, Step, Table
from ptft.errors import ConfigError
from ptft.metrics import segmentation as measures
from ptft.objectives.detection.pyramid import GROUPS, maps_of, pyramid, strides_for
from ptft.objectives.segmentation.pixel_head import PixelHead

FINEST = 4
"""The finest stride of images that have 16 cells a side or more at it."""


class Segment(Objective):
    """Semantic segmentation: a light head on a feature pyramid, as in Kirillov et al. 2019, "Panoptic Feature Pyramid
    Networks", section 3, and cross-entropy summed over pixels.

    Losses are counted by the pixels that are of a class, 1 for an image without any; pixels of none (255) count for
    nothing. Measured in pixels of the inputs: mean IoU, which decides `best.pt`, accuracy of pixels, both by class.

    width: of pyramid and head, a multiple of 32; depth: convolutions of the head.
    finest: stride of the finest level, a power of two; None: 4, less for small images.
    dice: weight of the dice loss (Milletari et al. 2016, "V-Net") of each image beside the cross-entropy, which heeds
        small classes as much as large ones; the mean over the classes that the image has.
    views: options of `augment.masks.MaskViews`; dataset_views: those of the dataset, of which masks follow some.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "segments"})

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        width: int = 96,
        depth: int = 2,
        finest: int | None = None,
        dice: float = 0.0,
        views: Mapping[str, Any] | None = None,
        dataset_views: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if spec.target != "masks":
            what = f"needs images with masks, and the target of the dataset is {spec.target}"
            ways = "dataset=mask_folder, or dataset.target=masks of dataset=coco and dataset=shapes"
            raise ConfigError(f"objective=segment: {what}; {ways}")
        if width < GROUPS or width % GROUPS:
            raise ConfigError(f"objective.width={width}: a multiple of {GROUPS}")
        refuse_others(dataset_views, "masks")
        self.monitor = {"metric": "val/miou", "mode": "max"}
        self.classes, self.dice = list(spec.classes), dice
        self.backbone = backbone
        maps = maps_of(backbone, spec, "segment")
        size = (int(spec.shape["size"][0]), int(spec.shape["size"][1]))
        strides = strides_for(size, finest, maps, FINEST)
        self.pyramid = pyramid(maps, strides, width)
        self.head = PixelHead(width, len(self.classes), depth)
        self.views = MaskViews(**(views or {}))

    def of_pixels(self, x: Tensor) -> Tensor:
        """Prepared images [B, C, H, W] -> logits float [B, K, H, W]."""
        logits = self.head(self.pyramid(self.backbone.maps(x))).float()
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, batch: Batch) -> Step:
        x, masks = self.backbone.inputs(batch), batch["segments"]
        if self.training:
            x, masks = self.views(x, masks)
        logits, true = self.of_pixels(x), masks.long()
        entropy = F.cross_entropy(logits, true, ignore_index=IGNORED, reduction="none").flatten(1).sum(1)
        valid = (true != IGNORED).flatten(1)
        count = valid.sum(1).clamp(min=1)
        losses = entropy + self.dice * count * self._dice_loss(logits, true) if self.dice else entropy
        predicted = logits.detach().argmax(1)
        sums = {"correct": (predicted == true).sum(), "entropy": entropy.detach().sum()}
        if self.training:
            return Step(losses.sum(), count.sum(), sums)
        known = true.flatten(1).clamp(max=len(self.classes) - 1)
        counts = measures.confusion(predicted.flatten(1), known, valid, len(self.classes))
        outputs = {"confusion": counts, "loss": losses / count}
        return Step(losses.sum(), count.sum(), {**sums, "confusion": counts.sum(0)}, outputs=outputs)

    def _dice_loss(self, logits: Tensor, true: Tensor) -> Tensor:
        """[B]: 1 - twice the overlap of probabilities and truth, by what both are; the mean over an image's classes."""
        valid = (true != IGNORED).unsqueeze(1)
        given = logits.softmax(1) * valid
        wanted = torch.zeros_like(given).scatter_(1, true.clamp(max=len(self.classes) - 1).unsqueeze(1), 1.0) * valid
        overlap, both = (given * wanted).sum((2, 3)), (given + wanted).sum((2, 3))
        there = wanted.amax((2, 3)) > 0
        dice = (1 - 2 * overlap / both.clamp(min=1)).masked_fill(~there, 0)
        mean: Tensor = dice.sum(1) / there.sum(1).clamp(min=1)
        return mean

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """`pixel_accuracy`, in evaluation `miou`; with `dice` also the cross-entropy alone."""
        alone = {"entropy_loss": float(sums["entropy"].double() / sums["count"].double())} if self.dice else {}
        if "confusion" in sums:
            return {**measures.measures(sums["confusion"]), **alone}
        return {"pixel_accuracy": float(sums["correct"].double() / sums["count"].double()), **alone}

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        return {"by_class": measures.by_class(sums["confusion"], self.classes)}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, Any]]:
        """Of each image its `mask`, uint8 [H, W], in pixels of the input, and the `scores` of the classes in it: the
        mean probability of their pixels."""
        likely, mask = self.of_pixels(self.backbone.inputs(batch)).softmax(1).max(1)
        one = F.one_hot(mask.flatten(1), len(self.classes)).to(likely.dtype)
        scores = (likely.flatten(1).unsqueeze(1) @ one).squeeze(1) / one.sum(1).clamp(min=1)
        answers = zip(mask.to(torch.uint8).cpu(), scores.tolist(), strict=True)
        return [{"mask": each, "scores": known} for each, known in answers]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """Of each image its `miou`, its `pixel_accuracy` and its `loss`; None where no pixel is of a class."""
        if not outputs:
            return {}
        found = [measures.measures(counts) for counts in outputs["confusion"].cpu()]
        columns = {name: [_known(each[name]) for each in found] for name in ("miou", "pixel_accuracy")}
        return {**columns, "loss": outputs["loss"].tolist()}


def _known(value: float) -> float | None:
    return value if value == value else None
