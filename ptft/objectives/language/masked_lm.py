"""Masked language modelling objective: hidden tokens from those on both sides (Devlin et al. 2018).

Axes: B batch, T tokens, n masked tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Backbone, Batch, Objective, Spec, Step, TokenBackbone
from ptft.errors import ConfigError
from ptft.objectives.language.lm_head import by_row, embedding_of, language_backbone, score, scores, seen_of
from ptft.objectives.language.masking import TokenMasks

HIDDEN, RANDOM = 0.8, 0.1
"""Of the chosen tokens: how many become the mask token, and a random one; the rest stay (section 3.1)."""


class MaskedHead(nn.Module):
    """What stands between the features and the embedding that is the output's matrix."""

    def __init__(self, width: int, inner: int, vocabulary: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, inner), nn.LayerNorm(inner)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, D] -> [n, width of the embedding]."""
        out: Tensor = self.norm(F.gelu(self.dense(hidden)))
        return out


class MaskedLM(Objective):
    """The loss of the chosen tokens alone; only they are multiplied with the vocabulary.

    mask_ratio: share of the tokens that are chosen. whole_words: choose words with all their tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "mask", "index"})
    backbone: TokenBackbone

    def __init__(self, backbone: Backbone, spec: Spec, *, mask_ratio: float = 0.15, whole_words: bool = False) -> None:
        super().__init__()
        self.backbone = language_backbone(backbone, "masked_lm", causal=False)
        self.mask_id = mask_id(spec, "masked_lm")
        self.masks = TokenMasks(spec, mask_ratio, whole_words)
        embedding = embedding_of(self.backbone)
        self.head = MaskedHead(backbone.width, embedding.embedding_dim, embedding.num_embeddings)

    def forward(self, batch: Batch) -> Step:
        ids = batch["input"]
        chosen, chances = self.masks(batch)
        seen = seen_of(batch, self.backbone)
        hidden = self.backbone(self.backbone.prepare(self._corrupted(ids, chosen, chances)), seen).tokens
        places = chosen.flatten().nonzero().flatten()
        wanted = ids.flatten()[places]
        predicted = self.head(hidden.flatten(0, 1)[places])
        asked = predicted, embedding_of(self.backbone).weight, self.head.bias, wanted
        if self.training:
            total, correct = score(*asked)
            return Step(total, chosen.sum(), {"nats": total.detach(), "correct": correct})
        row = places // ids.shape[1]
        losses, right = (by_row(values, row, len(ids)) for values in scores(*asked))
        sums = {"nats": losses.detach(), "correct": right}
        each = {"total": losses, "count": chosen.sum(1), **sums}
        return Step(losses.sum(), chosen.sum(), {name: value.sum() for name, value in sums.items()}, each=each)

    def _corrupted(self, ids: Tensor, chosen: Tensor, chances: Tensor) -> Tensor:
        kind, which = chances[:2]
        hidden, random = chosen & (kind < HIDDEN), chosen & (kind >= HIDDEN) & (kind < HIDDEN + RANDOM)
        return ids.masked_fill(hidden, self.mask_id).where(~random, self.masks.random_ids(which))

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Of the chosen tokens: the perplexity, and how many are the likeliest."""
        count = sums["count"].double()
        return {"perplexity": float((sums["nats"] / count).exp()), "accuracy": float(sums["correct"] / count)}

    def advance(self, step: int, steps: int) -> None:
        self.masks.advance()


def mask_id(spec: Spec, objective: str) -> int:
    """The id that hides a token. Raises ConfigError for a tokenizer that has none."""
    token = int(spec.shape["tokenizer"]["mask"])
    if token < 0:
        raise ConfigError(f"objective={objective}: this tokenizer has no mask token; choose another dataset.tokenizer=")
    return token
