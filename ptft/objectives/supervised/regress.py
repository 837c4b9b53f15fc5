"""Regression objective: one number per example, from a linear head on pooled features. Axes: B batch, N examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Columns, Examples, Objective, Spec, Step
from ptft.errors import ConfigError
from ptft.metrics.correlation import pearson, spearman, weighed_pearson, weighed_spearman
from ptft.metrics.uncertainty.bootstrap import ratios

LEAST = 1e-8
"""The smallest standard deviation that targets are divided by."""
COARSE = 0.01
"""Of their standard deviation, from where on steps between targets are told."""


class Regress(Objective):
    """Squared error on targets that are standardised with the mean and deviation of the training split.

    dropout: before the head.
    labels: float [N] of the training split, which mean and deviation are taken from; they are part of the weights.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "label"})
    capturable: ClassVar[bool] = True
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, backbone: Backbone, spec: Spec, *, dropout: float = 0.0, labels: Tensor | None = None) -> None:
        super().__init__()
        if spec.target != "number":
            has = "several labels" if spec.target == "labels" else f"a {spec.target}"
            raise ConfigError(
                f"objective=regress: needs a number per example, the dataset has {has}; dataset.target=number"
            )
        self.monitor = {"metric": "val/pearson", "mode": "max"}
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, 1)
        self.dropout = nn.Dropout(dropout)
        values = torch.zeros(1) if labels is None else labels.double()
        std = values.std(unbiased=False).clamp(min=LEAST) if labels is not None else torch.ones(())
        self.register_buffer("target_mean", values.mean().float())
        self.register_buffer("target_std", std.float())

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """Targets that leave nothing to learn, or that float32, which they are read into, is too coarse for."""
        values = splits["train"].labels
        if values is None or not len(values):
            return []
        least, most = float(values.min()), float(values.max())
        if least == most:
            return [f"every training example has the same number, {most:g}: there is nothing to learn"]
        largest, spread = max(abs(least), abs(most)), float(values.double().std(unbiased=False))
        step = 2.0 ** (math.frexp(largest)[1] - 24)  # of float32 there
        if step <= COARSE * spread:
            return []
        return [
            f"numbers of up to {largest:.3g} are read in steps of {step:g}, and the training examples' spread by "
            f"{spread:.3g}, so they are rounded much; take what all have in common off them in the files"
        ]

    def standardised(self, batch: Batch) -> Tensor:
        """Raw batch -> float32 [B], in deviations from the mean."""
        return self.logits(self.backbone.inputs(batch), batch.get("mask")).squeeze(1)

    def logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Prepared input, and a mask bool [B, T] of its real tokens where they differ in length -> float32 [B, 1]."""
        return self.head(self.dropout(self.backbone.pool(self.backbone(x, mask)))).float()  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Step:
        target, predicted = batch["label"].float(), self.standardised(batch)
        error = predicted - (target - self.target_mean) / self.target_std
        count = torch.full((), len(target), device=error.device)
        sums = {"squared": (error.detach() * self.target_std).square().sum()}
        lists = {} if self.training else {"value": predicted.detach(), "target": target}
        if not lists:
            return Step(error.square().sum(), count, sums)
        each = {"total": error.square(), "count": torch.ones_like(error)}
        each["squared"] = each["total"] * self.target_std.square()
        each["answered"] = self._in_own_unit(predicted.detach())  # which is the same in other runs
        return Step(error.square().sum(), count, sums, lists, {**lists, "error": error}, each)

    def weighed(self, found: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
        """The metrics where example n counts as often as `weight` (float64 [R, N]) says, [R] each; see `bootstrap`."""
        means = ratios(found, weight, {"loss": ("total", "count"), "rmse": ("squared", "count")})
        pair = found["answered"], found["target"]
        return {
            "loss": means["loss"],
            "rmse": means["rmse"].sqrt(),
            "pearson": weighed_pearson(*pair, weight),
            "spearman": weighed_spearman(*pair, weight),
        }

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """rmse in the target's own unit; in evaluation pearson and spearman (ties get average ranks)."""
        scores = {"rmse": float((sums["squared"].double() / sums["count"].double()).sqrt())}
        if "value" in sums:
            scores["pearson"] = pearson(sums["value"], sums["target"])
            scores["spearman"] = spearman(sums["value"], sums["target"])
        return scores

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """`value`, in the target's own unit."""
        return [{"value": value} for value in self._in_own_unit(self.standardised(batch)).tolist()]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """`true` and `predicted` in the target's own unit; `loss`, the squared error in deviations."""
        columns = {
            "true": outputs["target"],
            "predicted": self._in_own_unit(outputs["value"]),
            "loss": outputs["error"].square(),
        }
        return {name: values.tolist() for name, values in columns.items()}

    def _in_own_unit(self, values: Tensor) -> Tensor:
        return values * self.target_std + self.target_mean
