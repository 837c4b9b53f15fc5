"""The module that a program is made of: what a trained objective answers to a raw batch, as one tensor.

Axes: B batch, T tokens, K classes, V vocabulary, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.builders.predictor import RawModule
from ptft.core import Objective
from ptft.export.huggingface import task as tasks
from ptft.export.huggingface.task import Task
from ptft.objectives.supervised.ctc import CTC
from ptft.objectives.supervised.pooled import LinearHead

NAMES = {"tokens": "probabilities", "causal": "logits", "masked": "logits"}
"""Kind of task -> what comes out."""


class Answering(nn.Module):
    """As `RawModule`; out: probabilities [B, T, K] of every token's classes, logits [B, T, V], or a number [B]."""

    def __init__(self, objective: Objective, task: Task) -> None:
        super().__init__()
        self.objective, self.task = objective, task
        self.register_buffer("weight", task.weight)
        self.register_buffer("bias", task.bias)

    def forward(self, input: Tensor, mask: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        more = {"mask": mask, "length": length}
        batch = {"input": input, **{name: value for name, value in more.items() if value is not None}}
        out = tasks.answered(self.objective, self.task, batch).float()
        if self.task.kind == "tokens":
            return out.softmax(-1)
        return out.squeeze(1) if self.task.kind == "pooled" else out


class Hearing(nn.Module):
    """As `RawModule`; out: probabilities [B, T, V + 1] of the symbols of every frame, the blank last; frames behind a
    recording are blank."""

    def __init__(self, objective: CTC) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, input: Tensor, mask: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        batch = {"input": input} if length is None else {"input": input, "length": length}
        scores, frames = self.objective.log_probabilities(batch)
        real = torch.arange(scores.shape[1], device=scores.device) < frames.unsqueeze(1)
        blank = torch.arange(scores.shape[2], device=scores.device) == self.objective.blank
        return scores.exp().where(real.unsqueeze(2), blank.float())


def of(objective: Objective) -> tuple[nn.Module, str]:
    """The module, and the name of what comes out of it.

    Probabilities where there are classes, values of a regression, logits of a language model; of everything else, whose
    answers are no tensor, the features.
    """
    if isinstance(objective, LinearHead):
        return RawModule(objective), "probabilities"
    if isinstance(objective, CTC):
        return Hearing(objective), "probabilities"
    task = tasks.of(objective)
    if task is None or task.kind == "features" or (task.kind == "pooled" and task.problem != "regression"):
        return RawModule(objective), "features"
    with torch.no_grad():
        return Answering(objective, task), NAMES.get(task.kind, "values")
