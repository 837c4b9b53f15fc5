"""ptft's own transformers of texts in the words of transformers: ESM for those that read, GPT-NeoX, StableLM or GPT-2
for those that write. All of them norm before each branch, as ptft's do; what these have more is zero or the identity.

Axes: D width, V vocabulary, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ptft.core import Objective
from ptft.export.huggingface.expressed import SMALL, Expressed, Inexpressible, linear, without_bias
from ptft.export.huggingface.task import Task
from ptft.models.text.transformer import Transformer
from ptft.objectives.language.masked_lm import MaskedLM

Named = Iterator[tuple[str, Tensor]]


def express(backbone: Transformer, objective: Objective, task: Task) -> Expressed:
    """Raises Inexpressible for positions, activations or heads that none of these models has."""
    return _writer(backbone, task) if backbone.causal else _reader(backbone, objective, task)


def _shape(backbone: Transformer) -> dict[str, int]:
    block: Any = backbone.blocks[0]
    return {
        "vocab_size": backbone.vocabulary,
        "hidden_size": backbone.width,
        "num_hidden_layers": len(backbone.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.mlp.project.in_features,
    }


def _gated(backbone: Transformer) -> bool:
    block: Any = backbone.blocks[0]
    return bool(block.mlp.gated)


def _zero(values: Tensor) -> Tensor:
    """The bias of a matrix [out, in] that has none."""
    return values.new_zeros(len(values))


def _reader(backbone: Transformer, objective: Objective, task: Task) -> Expressed:
    if _gated(backbone):
        raise Inexpressible(
            "no model of transformers that reads both sides has model.activation=swiglu and these norms"
        )
    if task.kind == "pooled" and backbone.pooling != "cls":
        raise Inexpressible(
            f"no head of transformers takes what model.pool={backbone.pooling} makes of a model that reads both sides; "
            "model.pool=cls has one"
        )
    rotary = backbone.rotary is not None
    options = {
        **_shape(backbone),
        "position_embedding_type": "rotary" if rotary else "absolute",
        "emb_layer_norm_before": False,
        "token_dropout": False,
        "layer_norm_eps": backbone.norm.eps,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "tie_word_embeddings": True,
    }
    heads = {
        "pooled": "EsmForSequenceClassification",
        "tokens": "EsmForTokenClassification",
        "masked": "EsmForMaskedLM",
        "features": "EsmModel",
    }
    prefix = "" if task.kind == "features" else "esm."

    def weights(pad: int) -> Named:
        for name, value in _esm(backbone, pad):
            yield prefix + name, value
        yield from _esm_head(objective, task)

    places = None if rotary else backbone.length
    return Expressed("EsmConfig", options, heads[task.kind], weights, positions=places, counts_from_pad=not rotary)


def _esm(backbone: Transformer, pad: int) -> Named:
    yield "embeddings.word_embeddings.weight", backbone.embedding.weight
    if backbone.positions is not None:  # which ESM counts from behind the id of its padding
        table = backbone.positions.new_zeros(pad + 1 + len(backbone.positions), backbone.width)
        table[pad + 1 :] = backbone.positions.detach()
        yield "embeddings.position_embeddings.weight", table
    for number, block in enumerate(backbone.blocks):
        part: Any = block
        at = f"encoder.layer.{number}"
        for name, matrix in zip(("query", "key", "value"), part.attention.qkv.weight.chunk(3), strict=True):
            yield from without_bias(f"{at}.attention.self.{name}", matrix)
        yield from without_bias(f"{at}.attention.output.dense", part.attention.project.weight)
        yield from linear(f"{at}.attention.LayerNorm", part.norm1)
        yield from linear(f"{at}.LayerNorm", part.norm2)
        yield from without_bias(f"{at}.intermediate.dense", part.mlp.expand.weight)
        yield from without_bias(f"{at}.output.dense", part.mlp.project.weight)
    yield from linear("encoder.emb_layer_norm_after", backbone.norm)


def _esm_head(objective: Objective, task: Task) -> Named:
    if task.kind == "masked":
        assert isinstance(objective, MaskedLM)
        yield from linear("lm_head.dense", objective.head.dense)
        yield from linear("lm_head.layer_norm", objective.head.norm)
        yield "lm_head.bias", objective.head.bias
    elif task.kind == "tokens":
        yield from (("classifier.weight", task.weight), ("classifier.bias", task.bias))
    elif task.kind == "pooled":  # a tanh stands between, which does nothing to what is small
        width = task.weight.shape[1]
        yield from without_bias("classifier.dense", torch.eye(width) * SMALL)
        yield from (("classifier.out_proj.weight", task.weight / SMALL), ("classifier.out_proj.bias", task.bias))


def _writer(backbone: Transformer, task: Task) -> Expressed:
    if task.kind == "pooled" and backbone.pooling != "last":
        raise Inexpressible(
            f"heads of transformers take the last token of a model that writes, not model.pool={backbone.pooling}"
        )
    if backbone.rotary is None:
        if _gated(backbone):
            raise Inexpressible("no model of transformers has model.activation=swiglu with model.positions=learned")
        return _gpt2(backbone, task)
    return _stablelm(backbone, task) if _gated(backbone) else _neox(backbone, task)


def _causal_head(kind: str, family: str) -> str:
    heads = {"pooled": "ForSequenceClassification", "tokens": "ForTokenClassification", "causal": "ForCausalLM"}
    names = {**heads, "features": "Model"}
    name = "LMHeadModel" if family == "GPT2" and kind == "causal" else names[kind]
    return f"{family}{name}"


def _tail(task: Task, norm: str, backbone: Transformer, output: str, labelled: str) -> Named:
    """The last norm and the head. A head of one vector a text has no bias there: the norm's own takes it over."""
    bias = backbone.norm.bias
    if task.kind == "pooled":
        shift = torch.linalg.pinv(task.weight.double()) @ task.bias.double()
        bias = (bias.double() + shift).float()
        yield "score.weight", task.weight
    elif task.kind == "tokens":
        yield from ((f"{labelled}.weight", task.weight), (f"{labelled}.bias", task.bias))
    elif task.kind == "causal":
        yield output, backbone.embedding.weight
    yield from ((f"{norm}.weight", backbone.norm.weight), (f"{norm}.bias", bias))


def _rotary(backbone: Transformer) -> dict[str, Any]:
    """Options of a model that writes with rotary positions (Su et al. 2021), whatever its activation."""
    return {
        **_shape(backbone),
        "layer_norm_eps": backbone.norm.eps,
        "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        "max_position_embeddings": backbone.length,
        "tie_word_embeddings": True,
    }


def _neox(backbone: Transformer, task: Task) -> Expressed:
    block: Any = backbone.blocks[0]
    options = {
        **_rotary(backbone),
        "hidden_act": "gelu",
        "attention_bias": False,
    }
    prefix = "" if task.kind == "features" else "gpt_neox."
    heads = block.attention.heads

    def weights(pad: int) -> Named:
        yield f"{prefix}embed_in.weight", backbone.embedding.weight
        for number, each in enumerate(backbone.blocks):
            part: Any = each
            at = f"{prefix}layers.{number}"
            fused = part.attention.qkv.weight.view(3, heads, -1, backbone.width)  # a head's three stand together there
            yield f"{at}.attention.query_key_value.weight", fused.transpose(0, 1).reshape(-1, backbone.width)
            yield f"{at}.attention.dense.weight", part.attention.project.weight
            yield from linear(f"{at}.input_layernorm", part.norm1)
            yield from linear(f"{at}.post_attention_layernorm", part.norm2)
            yield from without_bias(f"{at}.mlp.dense_h_to_4h", part.mlp.expand.weight)
            yield from without_bias(f"{at}.mlp.dense_4h_to_h", part.mlp.project.weight)
        yield from _tail(task, f"{prefix}final_layer_norm", backbone, "lm_head.weight", "classifier")

    return Expressed("GPTNeoXConfig", options, _causal_head(task.kind, "GPTNeoX"), weights)


def _stablelm(backbone: Transformer, task: Task) -> Expressed:
    options = _rotary(backbone)
    options |= {
        "num_key_value_heads": options["num_attention_heads"],
        "hidden_act": "silu",
        "use_qkv_bias": False,
    }
    prefix = "" if task.kind == "features" else "model."

    def weights(pad: int) -> Named:
        yield f"{prefix}embed_tokens.weight", backbone.embedding.weight
        for number, each in enumerate(backbone.blocks):
            part: Any = each
            at = f"{prefix}layers.{number}"
            for name, matrix in zip(("q_proj", "k_proj", "v_proj"), part.attention.qkv.weight.chunk(3), strict=True):
                yield f"{at}.self_attn.{name}.weight", matrix
            yield f"{at}.self_attn.o_proj.weight", part.attention.project.weight
            yield from linear(f"{at}.input_layernorm", part.norm1)
            yield from linear(f"{at}.post_attention_layernorm", part.norm2)
            for name, matrix in zip(("gate_proj", "up_proj"), part.mlp.expand.weight.chunk(2), strict=True):
                yield f"{at}.mlp.{name}.weight", matrix
            yield f"{at}.mlp.down_proj.weight", part.mlp.project.weight
        yield from _tail(task, f"{prefix}norm", backbone, "lm_head.weight", "score")

    return Expressed("StableLmConfig", options, _causal_head(task.kind, "StableLm"), weights)


def _gpt2(backbone: Transformer, task: Task) -> Expressed:
    shape = _shape(backbone)
    options = {
        "vocab_size": shape["vocab_size"],
        "n_positions": backbone.length,
        "n_embd": shape["hidden_size"],
        "n_layer": shape["num_hidden_layers"],
        "n_head": shape["num_attention_heads"],
        "n_inner": shape["intermediate_size"],
        "activation_function": "gelu",
        "layer_norm_epsilon": backbone.norm.eps,
        **{f"{part}_pdrop": 0.0 for part in ("resid", "embd", "attn")},
        "tie_word_embeddings": True,
    }
    prefix = "" if task.kind == "features" else "transformer."

    def weights(pad: int) -> Named:
        assert backbone.positions is not None
        yield f"{prefix}wte.weight", backbone.embedding.weight
        yield f"{prefix}wpe.weight", backbone.positions
        for number, each in enumerate(backbone.blocks):
            part: Any = each
            at = f"{prefix}h.{number}"
            matrices = {
                "attn.c_attn": part.attention.qkv,
                "attn.c_proj": part.attention.project,
                "mlp.c_fc": part.mlp.expand,
                "mlp.c_proj": part.mlp.project,
            }
            for name, module in matrices.items():  # which are the other way round there
                yield f"{at}.{name}.weight", module.weight.T
                yield f"{at}.{name}.bias", _zero(module.weight)
            yield from linear(f"{at}.ln_1", part.norm1)
            yield from linear(f"{at}.ln_2", part.norm2)
        yield from _tail(task, f"{prefix}ln_f", backbone, "lm_head.weight", "classifier")

    return Expressed("GPT2Config", options, _causal_head(task.kind, "GPT2"), weights, positions=backbone.length)
