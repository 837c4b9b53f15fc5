"""Token classification objective: a class for every word, from a linear head over the token that begins it.

Axes: B batch, T tokens, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Columns, Objective, Spec, Step, Table
from ptft.data.text.examples import NO_LABEL
from ptft.errors import ConfigError
from ptft.metrics.chunk_tags import IOB, from_iob
from ptft.metrics.entities import precision_recall_f1, sentence_counts, tags_of


class Tag(Objective):
    """Cross-entropy at the first token of every word (Devlin et al. 2018, section 5.3), summed over words.

    dropout: before the head.
    """

    def __init__(self, backbone: Backbone, spec: Spec, *, dropout: float = 0.0) -> None:
        super().__init__()
        if spec.target != "tags":
            raise ConfigError(f"objective=tag: needs a tag per word, the dataset has a {spec.target}")
        self.classes, self.tags = list(spec.classes), tags_of(spec.classes, untyped="scheme" in spec.shape)
        self.scheme = str(spec.shape.get("scheme", IOB))
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, len(self.classes))
        self.dropout = nn.Dropout(dropout)
        self.monitor = {"metric": "val/accuracy" if self.tags is None else "val/f1", "mode": "max"}

    def logits(self, batch: Batch) -> Tensor:
        """Raw batch -> float32 [B, T, K]."""
        features = self.backbone(self.backbone.inputs(batch), batch.get("mask"))
        return self.head(self.dropout(features.tokens)).float()  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Step:
        logits, labels = self.logits(batch), batch["label"]
        total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
        words = labels != NO_LABEL
        predicted = logits.detach().argmax(-1)
        sums = {"correct": ((predicted == labels) & words).sum()}
        if self.training:
            return Step(total, words.sum(), sums)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=NO_LABEL, reduction="none").sum(1)
        each = {"total": losses, "count": words.sum(1), "correct": ((predicted == labels) & words).sum(1)}
        if self.tags is not None:
            sentence = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)[words]
            each["chunks"] = sentence_counts(labels[words], predicted[words], sentence, len(labels), self.tags)
            sums["chunks"] = each["chunks"].sum(0)
        return Step(total, words.sum(), sums, outputs={"logits": logits.detach(), "predicted": predicted}, each=each)

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """accuracy of words; in evaluation precision, recall and f1 of whole entities, over all types together."""
        scores = {"accuracy": float(sums["correct"].double() / sums["count"].double())}
        if "chunks" in sums:
            scores |= precision_recall_f1(sums["chunks"].sum(0))
        return scores

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        """Of every type how many entities there are, were predicted, and agree."""
        if self.tags is None:
            return {}
        names = [name or "no type" for name in self.tags.names]
        return {"entities": Table(names, ["true", "predicted", "agree"], sums["chunks"].tolist())}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """`tags`, the names of the words' tags with spaces between; `words` of the batch says where words begin."""
        rows = zip(self.logits(batch).argmax(-1).tolist(), batch["words"].tolist(), strict=True)
        return [
            {"tags": " ".join(self.classes[tag] for tag, word in zip(tags, words, strict=True) if word >= 0)}
            for tags, words in rows
        ]

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """`true` and `predicted`, the tags of the words with spaces between; how many are `wrong`; `loss`, their mean
        cross-entropy. None for the loss where there is no word."""
        labels, predicted = batch["label"], outputs["predicted"]
        words = labels != NO_LABEL
        losses = F.cross_entropy(outputs["logits"].transpose(1, 2), labels, ignore_index=NO_LABEL, reduction="none")
        pairs = zip(losses.sum(1).tolist(), words.sum(1).tolist(), strict=True)
        return {
            "true": self._joined(labels, words),
            "predicted": self._joined(predicted, words),
            "wrong": ((predicted != labels) & words).sum(1).tolist(),
            "loss": [loss / count if count else None for loss, count in pairs],
        }

    def _joined(self, tags: Tensor, words: Tensor) -> list[str]:
        """Names of tags (long [B, T], where bool [B, T] says that a word begins), as they are written in the data."""
        named = (
            [self.classes[tag] for tag, word in zip(*row, strict=True) if word]
            for row in zip(tags.tolist(), words.tolist(), strict=True)
        )
        return [" ".join(from_iob(row, self.scheme)) for row in named]
