"""Language modelling heads: the backbone that they need, and cross-entropy over a vocabulary.

Axes: B batch, T tokens, n some tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Batch, TokenBackbone
from ptft.errors import ConfigError

AT_ONCE = 2**24
"""Logits that are held at a time where no gradient is wanted."""


def language_backbone(backbone: Backbone, objective: str, *, causal: bool) -> TokenBackbone:
    """The same backbone. Raises ConfigError where it reads no text, or attends in the other direction."""
    name, found = type(backbone).__name__, cast(TokenBackbone, backbone)
    reads = getattr(backbone, "token_embedding", None)  # also public models, whose tokens can't be left out
    if reads is None or reads() is None:
        raise ConfigError(f"objective={objective}: needs a model of text, such as {_example(causal)}; {name} is none")
    if found.causal != causal:
        wanted = "sees only what stands before" if causal else "sees both sides"
        raise ConfigError(
            f"objective={objective}: needs a model that {wanted}, such as {_example(causal)}; this {name} has "
            f"model.causal={str(found.causal).lower()}"
        )
    return found


def seen_of(batch: Batch, backbone: TokenBackbone) -> Tensor:
    """What stands for the mask: which document a token is of, long [B, T], where several share a row, else the mask.

    Raises ConfigError for a model that would mix them.
    """
    if "document" not in batch:
        return batch["mask"]
    if not getattr(backbone, "separates", False):
        raise ConfigError(
            f"dataset.separate=true: {type(backbone).__name__} lets texts that share a row see each other; "
            "model=gpt_tiny or bert_tiny, or dataset.separate=false"
        )
    return batch["document"]


def _example(causal: bool) -> str:
    return "model=gpt_tiny" if causal else "model=bert_tiny"


def embedding_of(backbone: TokenBackbone) -> nn.Embedding:
    """The embedding of a language backbone's vocabulary; its matrix [V, D] is the output's too."""
    embedding = backbone.token_embedding()
    assert embedding is not None  # `language_backbone` refuses others
    return embedding


def score(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss in nats of targets (long [n], left out where negative), and how many are the likeliest; scalars.

    Cross-entropy under the logits `hidden` [n, D] @ `weight` [V, D].T + `bias` [V]. Without gradients they are made a
    part at a time, as all of them can be large.
    """
    if not torch.is_grad_enabled():
        losses, right = scores(hidden, weight, bias, targets)
        return losses.sum(), right.sum()
    logits = F.linear(hidden, weight, bias)
    total = F.cross_entropy(logits.float(), targets, reduction="sum")
    return total, (logits.detach().argmax(-1) == targets).sum()


def scores(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """As `score`, of each target: losses float32 [n], 0 where it is left out, and whether it is the likeliest, bool."""
    losses, right = [hidden.new_zeros(0, dtype=torch.float32)], [targets.new_zeros(0, dtype=torch.bool)]
    size = max(1, AT_ONCE // len(weight))
    for part, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
        logits = F.linear(part, weight, bias)
        losses.append(F.cross_entropy(logits.float(), wanted, reduction="none"))
        right.append(logits.argmax(-1) == wanted)
    return torch.cat(losses), torch.cat(right)


def by_row(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Values [n] of tokens that are in the rows (long [n]) of a batch -> their sums, [rows]."""
    values = values if values.is_floating_point() else values.long()
    return values.new_zeros(rows).index_add_(0, row, values)
