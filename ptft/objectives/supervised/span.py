"""Extractive question answering objective: where in a text the answer starts and ends. Axes: B windows, T tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Columns, Objective, Spec, Step
from ptft.errors import ConfigError

NOWHERE = 0
"""The token, [CLS], that stands for an answer that is not in the window."""


class Span(Objective):
    """Cross-entropy of the first and of the last token of the answer (Devlin et al. 2018, sections 4.2 and 4.3).

    max_answer: tokens that an answer has at most.
    threshold: by how much the score of no answer must exceed that of the best one, where a dataset has questions
        without an answer. Unused elsewhere.
    dropout: before the head.
    """

    def __init__(
        self, backbone: Backbone, spec: Spec, *, max_answer: int = 30, threshold: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if spec.target != "span":
            raise ConfigError(f"objective=span: needs a dataset of questions, this one has a {spec.target}")
        if max_answer < 1:
            raise ConfigError(f"objective.max_answer={max_answer}: must be at least 1")
        self.monitor = {"metric": "val/f1", "mode": "max"}
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, 2)
        self.dropout = nn.Dropout(dropout)
        self.max_answer, self.threshold = max_answer, threshold

    def logits(self, batch: Batch) -> Tensor:
        """Raw batch -> float32 [B, T, 2], of start and end; where no answer can be -inf, [CLS] excepted."""
        features = self.backbone(self.backbone.inputs(batch), batch.get("mask"))
        allowed = batch["context"].clone()
        allowed[:, NOWHERE] = True
        logits = self.head(self.dropout(features.tokens)).float()
        return logits.masked_fill(~allowed.unsqueeze(-1), -torch.inf)  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Step:
        logits, span = self.logits(batch), batch["span"]
        total = F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), span.flatten(), reduction="sum") / 2
        right = (logits.detach().argmax(1) == span).all(1)
        count = torch.full((), len(span), device=logits.device)
        guess = logits.detach()
        sums = {"exact": right.sum()}
        if self.training:
            return Step(total, count, sums)
        lists = {"index": batch["index"], **self._best(guess)}
        losses = F.cross_entropy(logits, span, reduction="none").sum(1) / 2
        each = {"total": losses, "count": torch.ones_like(losses), "exact": right}
        return Step(total, count, sums, lists, {**lists, "logits": guess}, each)

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """accuracy of windows whose both ends are right; the examples add exact_match and f1 of the questions."""
        return {"accuracy": float(sums["exact"].double() / sums["count"].double())}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """Of each window `start` and `end` (inclusive), `score`, and the `margin` of no answer."""
        best = self._best(self.logits(batch))
        return [dict(zip(best, row, strict=True)) for row in zip(*(v.tolist() for v in best.values()), strict=True)]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """Of each window what `predict` says, and its `loss`; the examples make rows of questions of it."""
        losses = F.cross_entropy(outputs["logits"], batch["span"], reduction="none").sum(1) / 2
        columns = {name: outputs[name].tolist() for name in ("start", "end", "score", "margin")}
        return {**columns, "loss": losses.tolist()}

    def _best(self, logits: Tensor) -> dict[str, Tensor]:
        """The best span of at most `max_answer` tokens outside [CLS]: `start`, `end`, long [B], and `score`, float [B].

        `margin`, float [B]: the score of no answer less the threshold.
        """
        none = logits[:, NOWHERE].sum(-1)
        starts, ends = logits[:, 1:, 0], logits[:, 1:, 1]
        longest = min(self.max_answer, starts.shape[1])
        scores = [
            F.pad(starts[:, : starts.shape[1] - d] + ends[:, d:], (0, d), value=-torch.inf) for d in range(longest)
        ]
        best, where = torch.stack(scores, 1).flatten(1).max(1)
        start = where % starts.shape[1] + 1
        end = start + where // starts.shape[1]
        return {"start": start, "end": end, "score": best, "margin": none - self.threshold}
