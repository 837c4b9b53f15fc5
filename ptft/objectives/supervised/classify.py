"""Classification objective: cross-entropy on a linear head over the pooled backbone. Axes: B batch, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.augment.mix import Mix
from ptft.augment.views import Options
from ptft.core import Backbone, Batch, Columns, Spec, Step, Table
from ptft.errors import ConfigError
from ptft.metrics.classification import Margins, macro_f1, matthews
from ptft.metrics.uncertainty.bootstrap import ratios
from ptft.objectives.supervised.pooled import LABELS, LOGITS, LinearHead, refuse_for, weights_of

UNLABELLED = {"text": "causal_lm (or masked_lm)", "image": "simclr", "audio": "simclr_audio"}
"""Modality -> the objective to propose where there are no classes."""
LIKELIEST = 5
"""So many classes a row of an evaluation names where they are too many for a column each."""
EPSILON = 1e-8


class Classify(LinearHead):
    """One class per example, of any modality; views, mixup, cutmix and tta are for images only.

    label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
    class_weights: None, "balanced" (inverse frequency, mean 1 over the training labels) or one weight per class: what
        the loss of an example that is of it counts, smoothed or not.
    focal: gamma of the focal loss (Lin et al. 2017), the higher the less what is answered well counts; 0 is the plain
        one, as evaluation has it anyway.
    mixup, cutmix: Beta parameters (Zhang et al. 2018; Yun et al. 2019); 0 switches them off.
    dropout, views, tta, calibrate: as `LinearHead` has them.
    labels: long [N] of the training split, which "balanced" is computed from.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "label"})
    capturable: ClassVar[bool] = True
    class_weights: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        dropout: float = 0.0,
        views: Options = None,
        tta: str | None = None,
        focal: float = 0.0,
        calibrate: bool = False,
        labels: Tensor | None = None,
    ) -> None:
        _check_classes(spec, num_classes)
        if spec.modality != "image":
            refuse_for(spec.modality, mixup=mixup, cutmix=cutmix)
        super().__init__(backbone, spec, dropout=dropout, views=views, tta=tta, calibrate=calibrate, sets=False)
        self.monitor = {"metric": "val/accuracy", "mode": "max"}
        self.label_smoothing, self.focal = label_smoothing, focal
        self.mix = Mix(mixup=mixup, cutmix=cutmix) if mixup or cutmix else None
        weights = _class_weights(class_weights, labels, len(self.classes))
        self.register_buffer("class_weights", weights, persistent=False)

    def linear_head(self) -> nn.Linear | None:
        return self.head if type(self) is Classify else None

    @property
    def deterministic(self) -> bool:
        random = self.dropout.p or self.mix or self.has_views
        return not (random or self.label_smoothing or self.focal or self.class_weights is not None)

    def forward(self, batch: Batch) -> Step:
        x, labels = self.backbone.inputs(batch), batch["label"]
        target = labels
        if self.training:
            x = self.views(x)
            if self.mix is not None:
                x, target = self.mix(x, labels, len(self.classes))
        logits = self.logits(x, batch.get("mask"))
        total = self.cross_entropy(logits, target)
        count = torch.full((), len(labels), device=logits.device)  # filled there: a copy of a number would wait
        outputs = {} if self.training else {LOGITS: logits.detach()}
        lists = {**outputs, LABELS: labels} if outputs and self.calibrate else {}
        each = {} if self.training else self._each(logits, labels)
        return Step(total, count, self._sums(logits.detach(), labels), lists, outputs, each)

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Summed cross-entropy of logits [B, K] with labels long [B] or shares [B, K]."""
        if not self.training:
            return F.cross_entropy(logits, target, reduction="sum")
        if self.focal:
            return self._focal(logits, target)
        if self.class_weights is not None and self.label_smoothing:
            return -(self._shares(target, logits.dtype) * logits.log_softmax(1)).sum()
        weight, smoothing = self.class_weights, self.label_smoothing
        return F.cross_entropy(logits, target, weight=weight, reduction="sum", label_smoothing=smoothing)

    def _focal(self, logits: Tensor, target: Tensor) -> Tensor:
        """As `cross_entropy`, each term times (1 - p)^gamma (Lin et al. 2017, equation 4)."""
        log_p = logits.log_softmax(1)
        shares = self._shares(target, logits.dtype)
        return -(shares * (1 - log_p.exp()).clamp(min=EPSILON).pow(self.focal) * log_p).sum()

    def _shares(self, target: Tensor, dtype: torch.dtype) -> Tensor:
        """What each class's -log p counts, [B, K]: of a label its weight, which is smoothed over all classes with it.

        torch weighs what is smoothed by the class it goes to, so that a rare one's share of every other label's loss
        may be more than all of its own.
        """
        labels = target if target.ndim == 2 else F.one_hot(target, len(self.classes))
        weighed = labels.to(dtype) if self.class_weights is None else labels * self.class_weights.to(dtype)
        smoothed = weighed.sum(1, keepdim=True) / len(self.classes)
        return (1 - self.label_smoothing) * weighed + self.label_smoothing * smoothed

    def _sums(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Correct answers; in evaluation also the confusion matrix [K, K] (true, predicted) and top-5 hits."""
        predicted = logits.argmax(1)
        sums = {"correct": (predicted == labels).sum()}
        if not self.training:
            num_classes = len(self.classes)
            pairs = labels * num_classes + predicted
            sums["confusion"] = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
            if num_classes > 10:
                sums["top5"] = (logits.topk(5).indices == labels.unsqueeze(1)).any(1).sum()
        return sums

    def _each(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Of each example what `weighed` and `stated` need, [B] each."""
        given, predicted = self.probabilities(logits), logits.argmax(1)
        each = {
            "total": F.cross_entropy(logits, labels, reduction="none"),
            "count": torch.ones_like(labels),
            "correct": predicted == labels,
            "label": labels,
            "predicted": predicted,
            "sure": given.amax(1),
            "brier": given.square().sum(1) + 1 - 2 * given.gather(1, labels.unsqueeze(1)).squeeze(1),
            "nll": F.cross_entropy(self.calibrated(logits), labels, reduction="none"),
        }
        if len(self.classes) > 10:
            each["top5"] = (logits.topk(5).indices == labels.unsqueeze(1)).any(1)
        return each

    def weighed(self, found: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
        """The metrics where example n counts as often as `weight` (float64 [R, N]) says, [R] each; see `bootstrap`."""
        of = {"loss": "total", "accuracy": "correct", "top5": "top5"}
        shares = ratios(found, weight, {name: (part, "count") for name, part in of.items() if part in found})
        margins = Margins.of_pairs(found["label"], found["predicted"], weight, len(self.classes))
        return {**shares, "macro_f1": margins.macro_f1(), "mcc": margins.matthews()}

    def stated(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How likely each answer was said to be, and whether it is right: float and bool [N]."""
        return found["sure"], found["correct"] > 0

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """accuracy; in evaluation macro_f1 (classes without an example left out) and mcc; top5 above ten classes."""
        count = sums["count"].double()
        scores = {"accuracy": float(sums["correct"] / count)}
        if "top5" in sums:
            scores["top5"] = float(sums["top5"] / count)
        if "confusion" in sums:
            scores["macro_f1"], scores["mcc"] = macro_f1(sums["confusion"]), matthews(sums["confusion"])
        return {**scores, **self.calibration_of(sums)}

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        return {"confusion": Table(self.classes, self.classes, sums["confusion"].tolist())}

    def predict(self, batch: Batch, *, top: int | None = None, **options: Any) -> list[dict[str, str | float]]:
        """`class`, the name of the likeliest, and its `probability`; `class_2`, `probability_2` and so on, as many as
        `top`; and up to 100 classes `p_NAME`, the probability of each. Raises ConfigError for more than there are.
        """
        if top is not None and top > len(self.classes):
            raise ConfigError(f"predict.top={top}: the checkpoint has {len(self.classes)} classes")
        logits = self.logits(self.backbone.inputs(batch), batch.get("mask"))
        given = self.probabilities(logits)
        columns = self._likeliest(logits, given, top or 1, "class") | self.each(given)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """`true`, `predicted`, its `probability`, `loss` (the cross-entropy), and `p_NAME` as `predict` has them; above
        100 classes the five likeliest instead."""
        if not outputs:
            return {}
        logits, labels = outputs[LOGITS], batch["label"]
        given = self.probabilities(logits)
        each = self.each(given)
        return {
            "true": [self.classes[label] for label in labels.tolist()],
            **self._likeliest(logits, given, 1 if each else LIKELIEST, "predicted"),
            "loss": F.cross_entropy(logits, labels, reduction="none").tolist(),
            **each,
        }

    def _likeliest(self, logits: Tensor, given: Tensor, top: int, name: str) -> Columns:
        """The names (under `name`) of the likeliest classes of logits [B, K], and their probabilities of those `given`
        [B, K]; all but the first are numbered."""
        ranked = logits.argmax(1, keepdim=True) if top == 1 else logits.topk(top).indices
        columns: Columns = {}
        pairs = zip(ranked.T.tolist(), given.gather(1, ranked).T.tolist(), strict=True)
        for rank, (labels, probabilities) in enumerate(pairs, 1):
            ending = "" if rank == 1 else f"_{rank}"
            columns[f"{name}{ending}"] = [self.classes[label] for label in labels]
            columns[f"probability{ending}"] = probabilities
        return columns


def _check_classes(spec: Spec, num_classes: int | None) -> None:
    """Raises ConfigError where examples have no class of their own, or other ones than are asked for."""
    count = len(spec.classes)
    if spec.target == "number":
        raise ConfigError("objective=classify: dataset.target=number leaves no classes; choose objective=regress")
    if spec.target == "boxes":
        raise ConfigError("objective=classify: the dataset has boxes and no class an image; choose objective=detect")
    if spec.target == "masks":
        raise ConfigError("objective=classify: the dataset has masks and no class an image; choose objective=segment")
    if spec.target == "labels":
        raise ConfigError(
            "objective=classify: an example may have several labels here, or none; choose objective=multilabel"
        )
    if count < 2:
        alone = "" if count else f"; objective={UNLABELLED[spec.modality]} learns without any"
        raise ConfigError(f"objective=classify: the dataset has {count} classes; at least 2 are needed{alone}")
    if num_classes not in (None, count):
        raise ConfigError(f"objective.num_classes={num_classes}: the dataset has {count} classes")


def _class_weights(typed: str | Sequence[float] | None, labels: Tensor | None, num_classes: int) -> Tensor | None:
    if typed is None:
        return None
    if typed == "balanced":
        if labels is None:
            return torch.ones(num_classes)
        counts = torch.bincount(labels.cpu(), minlength=num_classes).clamp(min=1).float()
        return len(labels) / (num_classes * counts)
    return weights_of("class_weights", typed, num_classes, "class")
