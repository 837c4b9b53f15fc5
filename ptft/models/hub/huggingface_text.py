"""Inputs of text models of transformers. Axes: B batch, T tokens, D width."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from ptft.core import Batch, Features, Spec
from ptft.errors import ConfigError


class Texts(nn.Module):
    """Ids as they are; the second text of a pair begins after the first separator, which token types follow.

    Raises ConfigError where a model has too few ids or places for the Spec.
    """

    def __init__(self, net: nn.Module, config: Any, spec: Spec, name: str) -> None:
        super().__init__()
        _check(net, config, name, int(spec.shape["tokenizer"]["size"]), int(spec.shape["length"]))
        self.separator = int(spec.shape["tokenizer"]["sep"])
        takes = inspect.signature(net.forward).parameters
        self.has_types = "token_type_ids" in takes and getattr(config, "type_vocab_size", 0) > 1

    def inputs(self, batch: Batch) -> Tensor:
        """Ids long [B, T]."""
        return batch["input"]

    def forward(self, net: nn.Module, x: Tensor, mask: Tensor | None) -> Features:
        """Ids long [B, T] and their mask bool [B, T] -> Features [B, T, D]."""
        types = {"token_type_ids": second(x, self.separator)} if self.has_types else {}
        attention = None if mask is None else mask.long()
        return Features(net(input_ids=x, attention_mask=attention, **types).last_hidden_state, mask)


def second(ids: Tensor, separator: int) -> Tensor:
    """Long [B, T]: 0 up to the first separator, which is of the first text, and 1 after it."""
    ends = (ids == separator).long()
    return ((ends.cumsum(1) - ends) > 0).long()


def longest(net: nn.Module, config: Any) -> int | None:
    """The most tokens of an example; None where a model has no table of positions.

    In models of RoBERTa's kind the table has a place for padding, and positions count from behind it.
    """
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    places = getattr(config, "max_position_embeddings", None)
    return places if isinstance(places, int) and places > 0 else None


def _check(net: nn.Module, config: Any, name: str, size: int, length: int) -> None:
    if config.vocab_size < size:
        raise ConfigError(
            f"model.name={name}: has {config.vocab_size} ids, the tokenizer {size}; dataset.tokenizer=null"
        )
    most = longest(net, config)
    if most is not None and length > most:
        raise ConfigError(f"dataset.length={length}: {name} takes {most} tokens at most")
