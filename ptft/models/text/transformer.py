"""Transformers of token ids: bidirectional ones that read (BERT) and causal ones that write (GPT).

Pre-norm blocks (Xiong et al. 2020) with rotary positions, GELU or SwiGLU, and no biases in the matrices.

Axes: B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec, TokenBackbone
from ptft.errors import ConfigError
from ptft.models.layers.attention import AttentionMask, KVCache, bias_free_block
from ptft.models.layers.drop_path import drop_path_rates
from ptft.models.layers.rotary import Rotary


class Transformer(TokenBackbone):
    """A stack of blocks over embedded ids; sized from a Spec of text.

    causal: whether a token sees only itself and those before it.
    width, depth, heads, mlp_ratio, activation ("gelu" or "swiglu"): its size.
    positions: "rotary" (Su et al. 2021), which have no limit, or "learned", for `dataset.length` tokens.
    dropout: of embeddings and branches. drop_path: of the last block, growing linearly from 0 at the first.
    pool: "mean" over real tokens, "cls" (the first token) or "last" (the last real one); None is the mean, for causal
        models the last.
    embeddings: what a run has filled the embedding from (`builders/parts/embeddings.py`); no checkpoint keeps it.
    embedding: the matrix [V, D] of the ids, which heads over the vocabulary share (Press & Wolf 2017).

    Padding stands after the real tokens, so a causal model needs no mask to leave it out. Raises ConfigError where the
    Spec is not of text or an option can't work.
    """

    no_weight_decay: ClassVar[frozenset[str]] = frozenset({"embedding.weight", "positions"})
    separates: bool = True
    size: dict[str, float | str]
    """The options that say how large it is and how it computes, by which it is built again."""

    def __init__(
        self,
        spec: Spec,
        causal: bool = False,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        activation: str = "gelu",
        positions: str = "rotary",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        pool: str | None = None,
        embeddings: str | None = None,
    ) -> None:
        super().__init__()
        _check(spec, width, depth, heads, activation, positions, pool)
        self.width, self.causal = width, causal
        self.settled = {} if embeddings is None else {"embeddings": None}
        self.size = {"width": width, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio}
        self.size |= {"activation": activation, "positions": positions}
        self.pooling = pool or ("last" if causal else "mean")
        self.vocabulary, self.length = int(spec.shape["tokenizer"]["size"]), int(spec.shape["length"])
        self.embedding = nn.Embedding(self.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(self.length, width)) if positions == "learned" else None
        self.rotary = Rotary(width // heads) if positions == "rotary" else None
        self.dropout = nn.Dropout(dropout)
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(
            bias_free_block(width, heads, mlp_ratio, activation, dropout, rate) for rate in rates
        )
        self.norm = nn.LayerNorm(width)
        self._initialise()

    def _initialise(self) -> None:
        """Small normal weights, smaller still where branches join the residual stream (Radford et al. 2019, 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                joins = name.endswith("project.weight")
                nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5 if joins else 0.02)

    def prepare(self, raw: Tensor) -> Tensor:
        """Ids long [B, T], as they are."""
        return raw

    def embed(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Ids long [B, T] -> [B, T, D]; places: long [T] or [B, T], the position of each (None: 0, 1, …)."""
        tokens: Tensor = self.embedding(x)
        if self.positions is not None:
            if x.shape[1] > len(self.positions):
                raise ConfigError(f"{x.shape[1]} tokens: model.positions=learned has {len(self.positions)}")
            tokens = tokens + (self.positions[: x.shape[1]] if places is None else self.positions[places])
        return tokens

    def encode(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        places: Tensor | None = None,
        caches: list[KVCache] | None = None,
    ) -> Features:
        """Embedded tokens [B, T, D] -> Features [B, T, D]; mask: bool [B, T], True = real, or long, their documents.

        caches: of an earlier part of the same texts, one a block; `mask` is then of all tokens so far.
        """
        if places is None:
            places = torch.arange(tokens.shape[1], device=tokens.device)
        rotation = None if self.rotary is None else self.rotary(places)
        if mask is not None and mask.dtype != torch.bool:
            attention_mask, mask = AttentionMask.of_documents(mask, self.causal), mask > 0
        else:
            attention_mask = AttentionMask.of_text(mask, self.causal, caches is not None and len(caches[0]) > 0)
        x = self.dropout(tokens)
        for number, block in enumerate(self.blocks):
            x = block(x, attention_mask, rotation, caches[number] if caches else None)
        return Features(self.norm(x), mask)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Ids long [B, T] and their mask, or the documents that they are of (long [B, T]) -> Features."""
        places = places_in(mask) if mask is not None and mask.dtype != torch.bool else None
        return self.encode(self.embed(x, places), mask, places)

    def token_embedding(self) -> nn.Embedding:
        return self.embedding

    def decoder(self) -> IncrementalDecoder:
        """Reads texts once and then token by token, with a cache of keys and values."""
        return IncrementalDecoder(self)

    def pool(self, features: Features) -> Tensor:
        """[B, D]: the mean over real tokens, the first token, or the last real one."""
        tokens, mask = features
        if self.pooling == "mean":
            return super().pool(features)
        if self.pooling == "cls":
            return tokens[:, 0]
        return tokens[:, -1] if mask is None else last_real(tokens, mask)

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Learned `positions` of longer texts are cut."""
        old = weights.get("positions")
        if self.positions is None or old is None or len(old) <= len(self.positions):
            return weights, []
        return {**weights, "positions": old[: len(self.positions)]}, ["positions"]

    def layers(self) -> list[list[nn.Module]]:
        blocks: list[list[nn.Module]] = [[block] for block in self.blocks]
        blocks[-1].append(self.norm)
        return [[self.embedding], *blocks]


class IncrementalDecoder:
    """Incremental decoding: a transformer reads texts once, then token by token, with a cache of keys and values.

    Texts of different lengths stand at the left with padding behind them. What follows stands behind the padding, at
    the position that follows its own text's last token.
    """

    def __init__(self, model: Transformer) -> None:
        self.model = model

    def prefill(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The texts from their beginning, long [B, T] -> features of their last real tokens, [B, D]."""
        self.lengths, self.mask = mask.sum(1), mask
        self.caches = [KVCache() for _ in self.model.blocks]
        return last_real(self.model.encode(self.model.embed(ids), mask, caches=self.caches).tokens, mask)

    def step(self, ids: Tensor) -> Tensor:
        """One more token of each, long [B] -> its features, [B, D]."""
        places = self.lengths.unsqueeze(1)
        self.lengths, self.mask = self.lengths + 1, F.pad(self.mask, (0, 1), value=True)
        tokens = self.model.embed(ids.unsqueeze(1), places)
        return self.model.encode(tokens, self.mask, places, self.caches).tokens[:, -1]


def places_in(document: Tensor) -> Tensor:
    """The place of each token in its document, from 0: long [B, T] -> long [B, T]."""
    places = torch.arange(document.shape[1], device=document.device).expand_as(document)
    begins = F.pad(document[:, 1:] != document[:, :-1], (1, 0), value=True)
    return places - places.where(begins, torch.zeros_like(places)).cummax(1).values


def last_real(tokens: Tensor, mask: Tensor) -> Tensor:
    """[B, T, D] and bool [B, T] -> the last real token of each row, [B, D]."""
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), (mask.sum(1) - 1).clamp(min=0)]


def _check(spec: Spec, width: int, depth: int, heads: int, activation: str, positions: str, pool: str | None) -> None:
    if spec.modality != "text":
        raise ConfigError(f"model=Transformer reads text, the dataset yields {spec.modality}: choose another model=")
    if min(width, depth, heads) < 1 or width % heads or width // heads % 2:
        raise ConfigError(
            f"model.width={width}, model.depth={depth}, model.heads={heads}: above 0, and width must be an even "
            "number times heads"
        )
    choices = {
        "activation": (activation, ("gelu", "swiglu")),
        "positions": (positions, ("rotary", "learned")),
        "pool": (pool, (None, "mean", "cls", "last")),
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            names = ", ".join("null" if name is None else name for name in allowed)
            raise ConfigError(f"model.{key}={value}: one of {names}")
