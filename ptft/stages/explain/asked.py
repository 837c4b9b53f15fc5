"""A trained model as explanations see it: one prepared input, or many variants of it, and how much a class is believed.

Axes: N variants of one input, T tokens, D width, K classes (of a number: 1); P the positions of an input: [H, W] of
pixels, [T] of ids, [F, M] of frames and bands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ptft.core import Batch, Objective
from ptft.errors import ConfigError

EPSILON = 1e-6
"""Probabilities are told from 0 and 1 by so much."""


class Question(NamedTuple):
    """What is to be explained: an input x [1, …] and what stands for nothing there, both prepared; a class; its
    positions [*P]."""

    x: Tensor
    empty: Tensor
    target: int
    positions: tuple[int, ...]


class Found(NamedTuple):
    """values: float32 [*P], the more the more it speaks for the class. gap: of what must add up, how much does not."""

    values: Tensor
    gap: float | None = None


class Asked:
    """A model in evaluation, without gradients of its own weights.

    rows: how many variants are computed at once. is_number: whether it answers with a number and no class.
    Raises ConfigError, which begins with `key`, for an objective that has no one answer for an example.
    """

    def __init__(self, objective: Objective, rows: int, key: str, is_number: bool = False) -> None:
        logits: Callable[..., Tensor] | None = getattr(objective, "logits", None)
        if logits is None or "x" not in inspect.signature(logits).parameters:
            name = type(objective).__name__.lower()
            raise ConfigError(
                f"{key}: objective={name} gives no single answer for an example; there is none to explain"
            )
        self.objective, self.logits, self.rows = objective.eval().requires_grad_(False), logits, rows
        self.backbone = objective.backbone
        self.is_number, self.sets = is_number, bool(getattr(objective, "sets", False))
        self.probabilities = getattr(objective, "probabilities", lambda logits: logits.softmax(1))
        self.cutoffs: Tensor | None = getattr(objective, "cutoffs", None) if self.sets else None

    def answered(self, logits: Tensor) -> Tensor:
        """Which classes are answered of an example, whose logits are [1, K]: bool [K], of labels any number."""
        if self.cutoffs is None:
            return torch.arange(logits.shape[1], device=logits.device).eq(logits[0].argmax())
        return torch.ge(self.probabilities(logits)[0], self.cutoffs)

    def decided(self, logits: Tensor) -> int:
        """The class that is answered (logits [1, K]); of several labels the one whose log-odds are farthest above those
        from which on it is. Where none is, the likeliest."""
        answered = self.answered(logits)
        if self.cutoffs is None or not bool(answered.any()):
            return int(logits[0].argmax())
        above = self.probabilities(logits)[0].logit(EPSILON) - self.cutoffs.logit(EPSILON)
        return int(above.masked_fill(~answered, -torch.inf).argmax())

    def score(self, x: Tensor, target: int) -> Tensor:
        """Prepared variants [N, …] -> [N]: the log-odds of a class against all others, of a label against its absence,
        which never saturate; a number as it is predicted."""
        logits = self.logits(x)
        if self.is_number or self.sets:
            return logits[:, target]
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
        return logits[:, target] - others.logsumexp(1)

    def belief(self, logits: Tensor, target: int) -> Tensor:
        """Logits [N, K] -> [N]: the probability of a class, as the objective says it; a number as it is predicted."""
        return logits[:, 0] if self.is_number else self.probabilities(logits)[:, target]

    @torch.no_grad()
    def beliefs(self, variants: Callable[[int, int], Tensor], count: int, target: int) -> Tensor:
        """The belief in each of `count` variants, float32 [count]; variants(first, end): those, prepared."""
        spans = ((first, min(first + self.rows, count)) for first in range(0, count, self.rows))
        return torch.cat([self.belief(self.logits(variants(*span)), target) for span in spans])

    @contextmanager
    def replaced(self, module: nn.Module, by: Callable[[Any], Any]) -> Iterator[None]:
        """Inside, a part of the model gives `by(what it computed)`."""
        handle = module.register_forward_hook(lambda _module, _inputs, output: by(output))
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def embedding(self, ids: Tensor) -> nn.Embedding:
        """The part of the model that looks up ids, long [N, T]: the one that is given them, and no positions."""
        found: list[nn.Embedding] = []

        def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if torch.is_tensor(inputs[0]) and torch.equal(inputs[0], ids):
                found.append(module)  # type: ignore[arg-type]

        handles = [
            part.register_forward_hook(look) for part in self.backbone.modules() if isinstance(part, nn.Embedding)
        ]
        try:
            self.logits(ids)
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            raise ConfigError(
                "stage=explain: the model looks its ids up in no nn.Embedding, so nothing can be said of them"
            )
        return found[0]


def alone(batch: Batch, row: int) -> Batch:
    """One example of a raw batch as a batch of its own, without what fills it up."""
    one = {name: value[row : row + 1] for name, value in batch.items()}
    if "mask" in one:
        one["input"] = one.pop("input")[:, one.pop("mask")[0]]
    if "length" in one:
        one["input"] = one["input"][:, : int(one["length"])]
    return one
