"""Any number of labels per example: a binary decision for each, on the pooled backbone. Axes: B batch, K labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.augment.views import Options
from ptft.core import Backbone, Batch, Columns, Examples, Spec, Step, Table
from ptft.data.label_sets.cells import shown
from ptft.data.label_sets.vectors import counts, one_hot
from ptft.errors import ConfigError, are, shortened
from ptft.metrics import multilabel as measures
from ptft.metrics.uncertainty.bootstrap import ratios
from ptft.objectives.supervised.pooled import LABELS, LOGITS, LinearHead, weights_of

EPSILON = 1e-8
BY_LABEL = ["support", "ap", "precision", "recall", "f1", "threshold"]


class Multilabel(LinearHead):
    """Binary cross-entropy of every label, summed over labels and examples, of any modality; tta is for images only.

    What follows weighs the loss of training; an evaluation has the plain one.
    positive_weights: what the loss of a label that is there is multiplied by: None, "balanced" (by how many examples
        of the training split lack the label, for each that has it) or a number per label.
    focal: gamma of the focal loss (Lin et al. 2017): a term counts (1 - p)^gamma, p being the probability of what is
        true; 0 is the plain one. focal_negative: that of labels that are not there; None is `focal`.
    margin: what is taken off the probability of labels that are not there, so that easy ones count nothing; with
        `focal_negative` the asymmetric loss (Ridnik et al. 2021, equations 4 to 6).
    threshold: the probability from which on a label is answered, the same for all; None chooses one for each, whose F1
        on the validation split is highest. They are part of the weights.
    dropout, views, tta, calibrate: as `LinearHead` has them.
    labels: uint8 [N, K] (or long [N], of one class each) of the training split, which "balanced" is computed from.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "label"})
    capturable: ClassVar[bool] = True
    positive_weights: Tensor | None
    thresholds: Tensor

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        positive_weights: str | Sequence[float] | None = None,
        focal: float = 0.0,
        focal_negative: float | None = None,
        margin: float = 0.0,
        threshold: float | None = None,
        dropout: float = 0.0,
        views: Options = None,
        tta: str | None = None,
        calibrate: bool = False,
        labels: Tensor | None = None,
    ) -> None:
        if spec.target not in ("class", "labels") or not spec.classes:
            has = f"a {spec.target} each" if spec.target != "none" else "no labels"
            raise ConfigError(f"objective=multilabel: needs names of labels for each example, the dataset has {has}")
        super().__init__(backbone, spec, dropout=dropout, views=views, tta=tta, calibrate=calibrate, sets=True)
        self.monitor = {"metric": "val/map", "mode": "max"}
        self.focal, self.margin, self.threshold = focal, margin, threshold
        self.focal_negative = focal if focal_negative is None else focal_negative
        weights = _positive_weights(positive_weights, labels, len(self.classes))
        self.register_buffer("positive_weights", weights, persistent=False)
        self.register_buffer("thresholds", torch.full((len(self.classes),), measures.UNDECIDED))
        self.fitted |= {"thresholds"}

    def forward(self, batch: Batch) -> Step:
        x, labels = self.backbone.inputs(batch), one_hot(batch["label"], len(self.classes))
        logits = self.logits(self.views(x) if self.training else x, batch.get("mask"))
        total = self.weighted_loss(logits, labels) if self.training else self.losses(logits, labels).sum()
        count = torch.full((), len(labels), device=logits.device)  # filled there: a copy of a number would wait
        found = {LOGITS: logits.detach(), LABELS: labels}
        if self.training:
            answers = measures.counted(self.probabilities(logits.detach()) >= self.cutoffs, labels)
            return Step(total, count, answers._asdict())
        losses, given = self.losses(logits, labels), self.probabilities(logits)
        each = {
            "total": losses,
            "count": torch.ones_like(losses),
            "brier": (given - labels).square().mean(1),
            "nll": self.losses(self.calibrated(logits), labels),
            "answered": given >= self.cutoffs,  # by the thresholds of this run: others may be measured with it
        }
        return Step(total, count, {}, found, found, each)

    def weighed(self, found: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
        """The metrics where example n counts as often as `weight` (float64 [R, N]) says, [R] each; see `bootstrap`."""
        labels = found[LABELS]
        answers = measures.weighed_counts(found["answered"], labels, weight)
        return {
            **ratios(found, weight, {"loss": ("total", "count")}),
            "map": measures.weighed_precisions(found[LOGITS], labels, weight).nanmean(1),
            "micro_f1": measures.Counts(*(values.sum(1) for values in answers)).f1,
            "macro_f1": answers.f1.nanmean(1),
        }

    def stated(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How likely each label was said to be, and whether it is there: float and bool [N, K]."""
        return self.probabilities(found[LOGITS]), found[LABELS] > 0

    @property
    def cutoffs(self) -> Tensor:
        """The probability from which on each label is answered, [K]."""
        return self.thresholds if self.threshold is None else torch.full_like(self.thresholds, self.threshold)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The plain cross-entropy of logits [B, K] with labels 0 or 1, summed over labels: [B]."""
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").sum(1)

    def weighted_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum as it is trained, of logits [B, K] and labels 0 or 1."""
        true = labels.to(logits.dtype)
        there, absent = -F.logsigmoid(logits), -F.logsigmoid(-logits)
        if self.margin:
            lowered = (logits.sigmoid() - self.margin).clamp(min=0)
            absent = -torch.log1p(-lowered.clamp(max=1 - EPSILON))
        else:
            lowered = logits.sigmoid()
        if self.focal:
            there = there * (-logits).sigmoid().clamp(min=EPSILON).pow(self.focal)
        if self.focal_negative:
            absent = absent * lowered.clamp(min=EPSILON).pow(self.focal_negative)
        if self.positive_weights is not None:
            there = there * self.positive_weights
        return (true * there + (1 - true) * absent).sum()

    def settle(self, sums: dict[str, Tensor]) -> None:
        super().settle(sums)
        self.thresholds.copy_(measures.best_thresholds(self.probabilities(sums[LOGITS]), sums[LABELS]))

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """micro_f1 and macro_f1 by the thresholds; in evaluation map, the mean over labels of the average precision."""
        if LOGITS not in sums:
            answers = measures.Counts(*(sums[name] for name in measures.Counts._fields))
            return {"micro_f1": measures.micro_f1(answers), "macro_f1": measures.macro_f1(answers)}
        given = self.probabilities(sums[LOGITS])
        answers = measures.counted(given >= self.cutoffs, sums[LABELS])
        precisions = measures.average_precisions(sums[LOGITS], sums[LABELS])
        scores = {"map": float(precisions.nanmean()), "micro_f1": measures.micro_f1(answers)}
        return {**scores, "macro_f1": measures.macro_f1(answers), **self.calibration_of(sums)}

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        """`labels`: of each one how many examples have it, how well it is found, and from which probability on."""
        given, labels = self.probabilities(sums[LOGITS]), sums[LABELS]
        answers = measures.counted(given >= self.cutoffs, labels)
        precisions = measures.average_precisions(sums[LOGITS], labels)
        support = labels.sum(0, dtype=torch.float64)
        columns = [support, precisions, answers.precision, answers.recall, answers.f1, self.cutoffs.double()]
        return {"labels": Table(self.classes, BY_LABEL, torch.stack(columns, 1).tolist())}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """`labels`, the names of those above their thresholds, their `probabilities`; and of up to 100 labels `p_NAME`,
        the probability of each."""
        given = self.probabilities(self.logits(self.backbone.inputs(batch), batch.get("mask")))
        columns = {**self._answered(given, "labels", "probabilities"), **self.each(given)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """`true` and `predicted`, names of labels; their `probabilities`; `loss`, the cross-entropy summed over labels;
        and `p_NAME` as `predict` has them."""
        if not outputs:
            return {}
        given = self.probabilities(outputs[LOGITS])
        return {
            "true": [self._named(row) for row in (outputs[LABELS] > 0).tolist()],
            **self._answered(given, "predicted", "probabilities"),
            "loss": self.losses(outputs[LOGITS], outputs[LABELS]).tolist(),
            **self.each(given),
        }

    def _answered(self, given: Tensor, names: str, numbers: str) -> Columns:
        """Of probabilities [B, K] the names of those above their thresholds, and these, joined as the names are."""
        chosen = (given >= self.cutoffs).tolist()
        pairs = zip(given.tolist(), chosen, strict=True)
        several = [[f"{p:.4f}" for p, is_chosen in zip(*pair, strict=True) if is_chosen] for pair in pairs]
        return {names: [self._named(row) for row in chosen], numbers: [shown(row, self.classes) for row in several]}

    def _named(self, chosen: Sequence[bool]) -> str:
        return shown([name for name, is_one in zip(self.classes, chosen, strict=True) if is_one], self.classes)

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """Labels that every training example has, and thresholds that nothing chooses."""
        sentences, train = [], splits["train"]
        if train.labels is not None:
            found = counts(train.labels.cpu(), len(self.classes)).tolist()
            every = [name for name, count in zip(self.classes, found, strict=True) if count == len(train)]
            if every:
                sentences.append(f"every training example has {shortened(every, 8)}: nothing shows what lacks it")
        if "val" not in splits and self.threshold is None:
            sentences.append("without a val split every label is answered from a probability of 0.5 on")
        elif self.threshold is None and (labels := splits["val"].labels) is not None:
            missing = counts(labels.cpu(), len(self.classes)) == 0
            names = [name for name, is_missing in zip(self.classes, missing.tolist(), strict=True) if is_missing]
            if names:
                sentences.append(f"the threshold of {shortened(names, 8)} stays 0.5: none {are(1)} in val")
        return sentences


def _positive_weights(typed: str | Sequence[float] | None, labels: Tensor | None, count: int) -> Tensor | None:
    if typed is None:
        return None
    if typed == "balanced":
        if labels is None:
            return torch.ones(count)
        have = counts(labels.cpu(), count).double()
        return ((len(labels) - have) / have.clamp(min=1)).float()
    return weights_of("positive_weights", typed, count, "label")
