"""ptft's own vision transformers in the words of transformers: ViT with a class token, I-JEPA's without one.

Axes: C channels, D width, T patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ptft.data.image.reader import GREY
from ptft.export.huggingface.expressed import Expressed, Inexpressible, linear
from ptft.export.huggingface.task import Task
from ptft.models.image.vision_transformer import VisionTransformer


def express(backbone: VisionTransformer, task: Task) -> Expressed:
    """Grey models see colour images, as pipelines hand them on, of which the first convolution makes grey ones.

    Raises Inexpressible for a head that these models do not have.
    """
    if task.kind not in ("pooled", "features") or task.problem == "regression":
        raise Inexpressible("vision transformers of transformers have a head for classes alone")
    block: Any = backbone.blocks[0]
    has_class = backbone.class_token is not None
    family, prefix = ("ViT", "vit.") if has_class else ("IJepa", "ijepa.")
    options = {
        "hidden_size": backbone.width,
        "num_hidden_layers": len(backbone.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.mlp[0].out_features,
        "hidden_act": "gelu",
        "layer_norm_eps": backbone.norm.eps,
        "image_size": list(backbone.size),
        "patch_size": backbone.patch,
        "num_channels": 3,
        "qkv_bias": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    name = f"{family}ForImageClassification" if task.kind == "pooled" else f"{family}Model"
    prefix = prefix if task.kind == "pooled" else ""

    def weights(pad: int) -> Iterator[tuple[str, Tensor]]:
        for inner, value in _backbone(backbone):
            yield prefix + inner, value
        if task.kind == "pooled":
            yield from (("classifier.weight", task.weight), ("classifier.bias", task.bias))

    grey = ("it was trained on grey images; colour ones become grey in it",) if backbone.channels == 1 else ()
    return Expressed(f"{family}Config", options, name, weights, remarks=grey)


def _backbone(backbone: VisionTransformer) -> Iterator[tuple[str, Tensor]]:
    positions = backbone.positions.flatten(0, 1).unsqueeze(0)
    if backbone.class_token is not None:  # which has no position here
        yield "embeddings.cls_token", backbone.class_token.view(1, 1, -1)
        positions = torch.cat([torch.zeros_like(positions[:, :1]), positions], 1)
    yield "embeddings.position_embeddings", positions
    patches = backbone.patches.weight
    if backbone.channels == 1:
        patches = patches * torch.tensor(GREY).view(1, 3, 1, 1)
    yield "embeddings.patch_embeddings.projection.weight", patches
    assert backbone.patches.bias is not None
    yield "embeddings.patch_embeddings.projection.bias", backbone.patches.bias
    for number, block in enumerate(backbone.blocks):
        part: Any = block
        at = f"layers.{number}"
        pairs = zip(part.attention.qkv.weight.chunk(3), part.attention.qkv.bias.chunk(3), strict=True)
        for name, (weight, bias) in zip(("q_proj", "k_proj", "v_proj"), pairs, strict=True):
            yield from ((f"{at}.attention.{name}.weight", weight), (f"{at}.attention.{name}.bias", bias))
        yield from linear(f"{at}.attention.o_proj", part.attention.project)
        yield from linear(f"{at}.layernorm_before", part.norm1)
        yield from linear(f"{at}.layernorm_after", part.norm2)
        yield from linear(f"{at}.mlp.fc1", part.mlp[0])
        yield from linear(f"{at}.mlp.fc2", part.mlp[3])
    yield from linear("layernorm", backbone.norm)
