"""Replaced token detection objective: which tokens a small generator put there (Clark et al. 2020, "ELECTRA").

Axes: B batch, T tokens, n masked tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Backbone, Batch, Objective, Spec, Step, TokenBackbone
from ptft.errors import ConfigError
from ptft.models.layers.attention import AttentionMask, bias_free_block
from ptft.models.layers.rotary import Rotary
from ptft.objectives.language.lm_head import by_row, embedding_of, language_backbone, score, scores
from ptft.objectives.language.masked_lm import MaskedHead, mask_id
from ptft.objectives.language.masking import TokenMasks


class Generator(nn.Module):
    """A narrow transformer over the discriminator's own embedding (section 3.2, weight sharing)."""

    def __init__(self, embedding: nn.Embedding, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(embedding.embedding_dim, width)
        self.rotary = Rotary(width // heads)
        self.blocks = nn.ModuleList(bias_free_block(width, heads, 4.0, "gelu", 0.0, 0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = MaskedHead(width, embedding.embedding_dim, embedding.num_embeddings)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [B, T, D] -> features [B, T, width]."""
        rotation = self.rotary(torch.arange(embedded.shape[1], device=embedded.device))
        x, attention_mask = self.narrow(embedded), AttentionMask.of_text(mask, causal=False, cached=False)
        for block in self.blocks:
            x = block(x, attention_mask, rotation)
        out: Tensor = self.norm(x)
        return out


class ReplacedToken(Objective):
    """The generator's masked language modelling, and `weight` times the backbone's loss of telling its tokens apart.

    mask_ratio: share of the tokens that are hidden from the generator. generator: its width as a share of the
    backbone's (section 3.2: a quarter to a half); depth: its blocks.
    The generator's loss is divided by the expected number of masked tokens, so that both are sums over the real tokens
    and cutting a batch into parts changes nothing.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "mask", "index"})
    backbone: TokenBackbone

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        mask_ratio: float = 0.15,
        generator: float = 0.25,
        depth: int = 2,
        weight: float = 50.0,
    ) -> None:
        super().__init__()
        self.backbone = language_backbone(backbone, "replaced_token", causal=False)
        if not isinstance(backbone, TokenBackbone):
            raise ConfigError(f"objective=replaced_token: {type(backbone).__name__} gives out no embedded tokens")
        if spec.shape.get("separate"):
            raise ConfigError("objective=replaced_token: its generator reads whole rows; dataset.separate=false")
        self.mask_id, self.mask_ratio, self.weight = mask_id(spec, "replaced_token"), mask_ratio, weight
        self.masks = TokenMasks(spec, mask_ratio)
        width = max(16, 16 * round(backbone.width * generator / 16))
        self.generator = Generator(
            embedding_of(self.backbone), width, depth, heads=max(1, width // 64) if width % 64 == 0 else 1
        )
        self.head = nn.Sequential(nn.Linear(backbone.width, backbone.width), nn.GELU(), nn.Linear(backbone.width, 1))

    def forward(self, batch: Batch) -> Step:
        ids, real = batch["input"], batch["mask"]
        chosen, chances = self.masks(batch)
        places = chosen.flatten().nonzero().flatten()
        hidden = self._generated(ids.masked_fill(chosen, self.mask_id), real)[places]
        table, wanted = embedding_of(self.backbone).weight, ids.flatten()[places]
        corrupted = ids.flatten().index_copy(0, places, self._drawn(hidden, chances[0].flatten()[places]))
        logits = self.head(self.backbone(corrupted.view_as(ids), real).tokens).squeeze(-1).float()
        replaced = corrupted.view_as(ids) != ids
        each = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="none") * real
        found = self._counts(chosen, each, (logits > 0) & real, replaced)
        sums = {name: value.sum() for name, value in found.items()}
        asked = hidden, table, self.generator.head.bias, wanted
        if self.training:
            total, correct = score(*asked)
            loss = total / self.mask_ratio + self.weight * each.sum()
            return Step(loss, real.sum(), {"generator": total.detach(), "generator_correct": correct, **sums})
        row = places // ids.shape[1]
        generated, right = (by_row(values, row, len(ids)) for values in scores(*asked))
        found = {"generator": generated.detach(), "generator_correct": right, **found}
        losses = generated / self.mask_ratio + self.weight * found["discriminator"]
        sums = {name: value.sum() for name, value in found.items()}
        return Step(losses.sum(), real.sum(), sums, each={"total": losses, "count": real.sum(1), **found})

    def _generated(self, hidden_ids: Tensor, real: Tensor) -> Tensor:
        """The generator's features before the vocabulary, [B T, width of the embedding]."""
        embedded = self.backbone.embed(hidden_ids)
        features = self.generator(embedded, real)
        out: Tensor = self.generator.head(features.flatten(0, 1))
        return out

    @torch.no_grad()
    def _drawn(self, hidden: Tensor, chance: Tensor) -> Tensor:
        """Tokens from the generator's distribution, long [n], as numbers in 0..1 [n] choose."""
        logits = F.linear(hidden, embedding_of(self.backbone).weight, self.generator.head.bias).float()
        upto = logits.softmax(-1).cumsum(-1)
        place = torch.searchsorted(upto, chance.float().unsqueeze(1) * upto[:, -1:], right=True)
        return place.squeeze(1).clamp(max=upto.shape[1] - 1)

    @staticmethod
    def _counts(chosen: Tensor, each: Tensor, said: Tensor, replaced: Tensor) -> dict[str, Tensor]:
        """Of each text, [B]: tokens that were hidden, the discriminator's loss, and how many tokens were replaced, were
        said to be, and both."""
        return {
            "masked": chosen.sum(1),
            "discriminator": each.detach().sum(1),
            "replaced": replaced.sum(1),
            "said": said.sum(1),
            "found": (said & replaced).sum(1),
        }

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The losses of both, the generator's accuracy, and precision and recall of the tokens told as replaced."""
        masked, hits = sums["masked"].double().clamp(min=1), sums["found"].double()
        return {
            "generator_loss": float(sums["generator"] / masked),
            "generator_accuracy": float(sums["generator_correct"] / masked),
            "discriminator_loss": float(sums["discriminator"] / sums["count"]),
            "precision": float(hits / sums["said"].clamp(min=1)),
            "recall": float(hits / sums["replaced"].clamp(min=1)),
        }

    def advance(self, step: int, steps: int) -> None:
        self.masks.advance()
