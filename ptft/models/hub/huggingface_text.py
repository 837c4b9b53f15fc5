"""Inputs of text models of transformers. Axes: B batch, T tokens, D width."""

from __future__ import annotations

import inspect
import json
import tempfile
from typing import Any

import torch
from torch import Tensor, nn

from ptft.core import Batch, Features, Spec
from ptft.data.text.packed.template import of_settings
from ptft.data.tokenizer import Tokenizer
from ptft.errors import CheckpointError, ConfigError, DataError

BY_MASK = "positions_by_mask"
"""What a stored configuration says of a model whose real tokens are those of the mask; those of ptft before 0.2 do not,
and their models go on as they were."""

SENTENCES = ("1_Pooling/config.json", "modules.json", "sentence_bert_config.json")
"""What lies beside a model that sentence-transformers trained, and says how its tokens become one vector, what that
goes through, and how many tokens it read at the most."""
POOLING = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls", "lasttoken": "last"}
"""Its words, and those of `model.pooling`."""


class Texts(nn.Module):
    """Ids as they are; the second text of a pair begins after the first separator, which token types follow.

    by_mask: whether the mask, and not a model's own id of padding, says what is real: the tokenizer may have a token
        there, which then learned nothing, and moved the positions of models of RoBERTa's kind behind it.
    Raises ConfigError where a model has too few ids or places for the Spec.
    """

    def __init__(self, net: Any, config: Any, spec: Spec, name: str, by_mask: bool) -> None:
        super().__init__()
        tokenizer = spec.shape["tokenizer"]
        _check(net, config, name, int(tokenizer["size"]), int(spec.shape["length"]))
        self.separator = int(tokenizer["sep"])
        takes = inspect.signature(net.forward).parameters
        self.has_types = "token_type_ids" in takes and getattr(config, "type_vocab_size", 0) > 1
        table = _positions(net) if by_mask and "position_ids" in takes else None
        self.padding = None if table is None else table.padding_idx
        embedding = net.get_input_embeddings()
        if by_mask and getattr(embedding, "padding_idx", None) is not None:
            embedding.padding_idx = int(tokenizer["pad"]) if int(tokenizer["pad"]) >= 0 else None

    def inputs(self, batch: Batch) -> Tensor:
        """Ids long [B, T]."""
        return batch["input"]

    def forward(self, net: nn.Module, x: Tensor, mask: Tensor | None) -> Features:
        """Ids long [B, T] and their mask bool [B, T] -> Features [B, T, D]."""
        more = {"token_type_ids": second(x, self.separator)} if self.has_types else {}
        attention = None if mask is None else mask.long()
        if self.padding is not None:
            real = torch.ones_like(x) if attention is None else attention
            more["position_ids"] = real.cumsum(1) * real + self.padding
        return Features(net(input_ids=x, attention_mask=attention, **more).last_hidden_state, mask)


def second(ids: Tensor, separator: int) -> Tensor:
    """Long [B, T]: 0 up to the first separator, which is of the first text, and 1 after it."""
    ends = (ids == separator).long()
    return ((ends.cumsum(1) - ends) > 0).long()


def sentences_of(pooling: Any, modules: Any, reading: Any) -> dict[str, Any]:
    """What a Spec says of public weights that embed sentences: `pooling`, as `model.pooling` has it, `beyond`, the
    modules behind it, and `most`, tokens of a text; nothing of others.

    pooling: with a flag for each way, or their names; modules: in order, each with its type; reading: with
    `max_seq_length`. All of `SENTENCES`.
    """
    named = pooling.get("pooling_mode")
    flags = [key.removeprefix("pooling_mode_") for key, value in pooling.items() if value is True]
    modes = [key for key in (named if isinstance(named, list) else [named] if named else flags) if key in POOLING]
    found: dict[str, Any] = {"pooling": POOLING[modes[0]]} if len(modes) == 1 else {}
    kinds = [str(each.get("type")).rpartition(".")[2] for each in modules]
    behind = kinds[kinds.index("Pooling") + 1 :] if "Pooling" in kinds else []
    most = reading.get("max_seq_length")
    return found | ({"beyond": behind} if behind else {}) | ({"most": most} if isinstance(most, int) else {})


def longest(net: nn.Module, config: Any) -> int | None:
    """The most tokens of an example; None where a model has no table of positions.

    In models of RoBERTa's kind the table has a place for padding, and positions count from behind it.
    """
    if (table := _positions(net)) is not None:
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    places = getattr(config, "max_position_embeddings", None)
    return places if isinstance(places, int) and places > 0 else None


def _positions(net: nn.Module) -> nn.Embedding | None:
    """A model's table of positions."""
    tables = (module for name, module in net.named_modules() if name.endswith("position_embeddings"))
    return next((table for table in tables if isinstance(table, nn.Embedding)), None)


def as_stored(config: Any, by_mask: bool) -> str:
    """A configuration as checkpoints keep it, as JSON."""
    return json.dumps({**config.to_dict(), **({BY_MASK: True} if by_mask else {})}, default=str)


def embedding_of(net: Any, width: int, causal: bool) -> nn.Embedding:
    """The embedding of ids, whose matrix is the output's too.

    Raises ConfigError for a causal model whose output is made of its features in another way.
    """
    if causal and (reason := _unlike(net, width)):
        raise ConfigError(f"model.name: this {net.config.model_type} writes by a head of its own ({reason})")
    embedding: nn.Embedding = net.get_input_embeddings()
    return embedding


def _unlike(net: Any, width: int) -> str | None:
    """Why logits are not the features times the embedding alone; None where they are, as in GPT-2 and small Llamas."""
    config = net.config
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling")
    if not getattr(config, "tie_word_embeddings", False):
        return "tie_word_embeddings=false"
    if net.get_input_embeddings().embedding_dim != width:
        return "its embedding has another width"
    return next((name for name in scaled if getattr(config, name, None) not in (None, 1, 1.0)), None)


def tokenizer_of(package: Any, name: str) -> tuple[Tokenizer, dict[str, Any]]:
    """The model's own, as ptft keeps one, and what a Spec says beside it: the ids that it puts around a text, and its
    template of conversations, if it has one."""
    tokenizer = package.AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    template = of_settings(tokenizer.chat_template, {**tokenizer.special_tokens_map})
    more = {"around": _around(tokenizer), **({} if template is None else {"template": template})}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        try:
            return Tokenizer.load(folder), more
        except DataError as error:  # which names a folder that is gone
            raise CheckpointError(
                f"ckpt=huggingface:{name}: its tokenizer can't be used ({error.__cause__})"
            ) from error


def _around(tokenizer: Any) -> list[int]:
    """The id before a text and the one after it, -1 where there is none."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    begin = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    before, after = whole[:begin], whole[begin + len(plain) :]
    return [*(before[-1:] or [-1]), *(after[:1] or [-1])]


def _check(net: nn.Module, config: Any, name: str, size: int, length: int) -> None:
    if config.vocab_size < size:
        raise ConfigError(
            f"model.name={name}: has {config.vocab_size} ids, the tokenizer {size}; dataset.tokenizer=null"
        )
    most = longest(net, config)
    if most is not None and length > most:
        raise ConfigError(f"dataset.length={length}: {name} takes {most} tokens at most")
