"""What a trained objective asks of its backbone, in the kinds of head that transformers has.

Axes: B batch, T tokens, D width, K classes, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Batch, Objective
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.lm_head import embedding_of
from ptft.objectives.language.masked_lm import MaskedLM
from ptft.objectives.supervised.pooled import LinearHead
from ptft.objectives.supervised.regress import Regress
from ptft.objectives.supervised.tag import Tag

EXACT = 1e-5
"""What logits may differ by, as a part of the largest where that is above 1."""


@dataclass(frozen=True)
class Task:
    """A head, and how it is reached.

    kind: "pooled" (a linear head over what the backbone pools), "tokens" (over every token), "masked", "causal", or
        "features" (none: the backbone alone). weight, bias: [K, D] and [K] of a linear head.
    labels: the names of its classes; a number has none. problem: as a configuration of transformers says it.
    """

    kind: str
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    labels: tuple[str, ...] = ()
    problem: str | None = None


def of(objective: Objective) -> Task | None:
    """The task of a trained objective; None for one whose head transformers does not have.

    One that learned without labels is there for its backbone, whatever it put on it.
    """
    if isinstance(objective, LinearHead):
        head, labels = objective.head, tuple(objective.classes)
        heat = objective.calibration
        scale = 1 if heat is None else 1 / heat  # so that its probabilities are calibrated, too
        problem = "multi_label_classification" if objective.sets else "single_label_classification"
        return Task("pooled", head.weight.detach() * scale, _bias(head) * scale, labels, problem)
    if isinstance(objective, Regress):  # in the target's own unit
        std, mean, head = objective.target_std, objective.target_mean, objective.head
        return Task("pooled", head.weight.detach() * std, _bias(head) * std + mean, (), "regression")
    if isinstance(objective, Tag):
        return Task("tokens", objective.head.weight.detach(), _bias(objective.head), tuple(objective.classes))
    if isinstance(objective, MaskedLM):
        return Task("masked")
    if isinstance(objective, CausalLM):
        return Task("causal")
    return Task("features") if type(objective).predict is Objective.predict else None


def _bias(head: nn.Linear) -> Tensor:
    assert head.bias is not None
    return head.bias.detach()


def answered(objective: Objective, task: Task, batch: Batch) -> Tensor:
    """What ptft makes of a raw batch: logits [B, K], [B, T, K] or [B, T, V], or features [B, T, D]."""
    backbone: Any = objective.backbone
    features = backbone(backbone.inputs(batch), batch.get("mask"))
    if task.kind == "pooled":
        return F.linear(backbone.pool(features), task.weight, task.bias)
    if task.kind == "tokens":
        return F.linear(features.tokens, task.weight, task.bias)
    if task.kind == "masked":
        assert isinstance(objective, MaskedLM)
        return F.linear(objective.head(features.tokens), embedding_of(backbone).weight, objective.head.bias)
    if task.kind == "causal":
        return F.linear(features.tokens, embedding_of(backbone).weight)
    tokens: Tensor = features.tokens
    return tokens
