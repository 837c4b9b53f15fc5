"""Causal language modelling objective: the next token from those before it (Radford et al. 2018).

Axes: B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.core import Backbone, Batch, Objective, Spec, Step, TokenBackbone
from ptft.data.text.reader import tokenizer_of
from ptft.objectives.language.generation import SamplingParameters, generate
from ptft.objectives.language.lm_head import embedding_of, language_backbone, score, scores, seen_of


class CausalLM(Objective):
    """The loss of every real token but the first, with the embedding as the output's matrix (Press & Wolf 2017).

    Of texts that share a row (`document`) the first of each counts no more than that of a row; where a batch says what
    of it is an `answer` (bool [B, T]), only its tokens count.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "mask"})
    capturable: ClassVar[bool] = True
    backbone: TokenBackbone
    byte_lengths: Tensor

    def __init__(self, backbone: Backbone, spec: Spec) -> None:
        super().__init__()
        self.monitor = {"metric": "val/bits_per_byte", "mode": "min"}
        self.backbone, self.spec = language_backbone(backbone, "causal_lm", causal=True), spec
        self.register_buffer("byte_lengths", tokenizer_of(spec).byte_lengths, persistent=False)

    def forward(self, batch: Batch) -> Step:
        ids, seen = self.backbone.prepare(batch["input"]), seen_of(batch, self.backbone)
        hidden, real = self.backbone(ids[:, :-1], seen[:, :-1]).tokens, batch["mask"][:, 1:]
        if seen.dtype != torch.bool:
            real = real & (seen[:, 1:] == seen[:, :-1])
        if "answer" in batch:
            real = real & batch["answer"][:, 1:]
        targets = ids[:, 1:].masked_fill(~real, -100)
        asked = hidden.flatten(0, 1), embedding_of(self.backbone).weight, None, targets.flatten()
        size = (self.byte_lengths[ids[:, 1:]] * real).sum(1)
        if self.training:
            total, correct = score(*asked)
            return Step(total, real.sum(), {"nats": total.detach(), "correct": correct, "bytes": size.sum()})
        losses, right = (values.view_as(real).sum(1) for values in scores(*asked))
        sums = {"nats": losses.detach(), "correct": right, "bytes": size}
        each = {"total": losses, "count": real.sum(1), **sums}
        return Step(losses.sum(), real.sum(), {name: value.sum() for name, value in sums.items()}, each=each)

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """perplexity per token, bits_per_byte of text (which compares tokenizers too), accuracy of the next token."""
        count, nats = sums["count"].double(), sums["nats"].double()
        return {
            "perplexity": float((nats / count).exp()),
            "bits_per_byte": float(nats / math.log(2) / sums["bytes"].clamp(min=1)),
            "accuracy": float(sums["correct"] / count),
        }

    def next_logits(self, hidden: Tensor) -> Tensor:
        """Features of tokens [B, D] -> float32 [B, V] of what follows them."""
        return F.linear(hidden, embedding_of(self.backbone).weight).float()

    def predict(self, batch: Batch, *, length: int = 200, **options: Any) -> list[dict[str, str | float]]:
        """`prompt` and the `continuation` that is drawn as `length` and the other `SamplingParameters` say."""
        tokenizer = tokenizer_of(self.spec)
        window, end = int(self.spec.shape["length"]), int(self.spec.shape.get("end", tokenizer.sep))
        continuations = generate(self, batch, SamplingParameters(length, **options), window, end)
        prompts = [ids[mask].tolist() for ids, mask in zip(batch["input"], batch["mask"], strict=True)]
        pairs = zip(prompts, continuations, strict=True)
        return [{"prompt": tokenizer.decode(a), "continuation": tokenizer.decode(b)} for a, b in pairs]
