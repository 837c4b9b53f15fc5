"""Models that came from transformers, with what was learned of them, and with the head of theirs that a task fits.

Axes: D width, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ptft.core import Spec
from ptft.export.huggingface.expressed import SMALL, Inexpressible
from ptft.export.huggingface.task import Task
from ptft.models.hub.huggingface import HuggingFace, library
from ptft.models.hub.huggingface_text import BY_MASK

HEADS = {
    ("text", "pooled"): "AutoModelForSequenceClassification",
    ("text", "tokens"): "AutoModelForTokenClassification",
    ("image", "pooled"): "AutoModelForImageClassification",
    ("audio", "pooled"): "AutoModelForAudioClassification",
}


def automatic(modality: str, kind: str) -> str:
    """The class of transformers that finds an architecture with such a head by itself."""
    if kind in ("masked", "causal"):
        return "AutoModelForMaskedLM" if kind == "masked" else "AutoModelForCausalLM"
    return HEADS.get((modality, kind), "AutoModel")


@torch.no_grad()
def built(backbone: HuggingFace, spec: Spec, task: Task, labels: dict[str, Any]) -> Any:
    """The model of transformers. labels: what its configuration says of them. Raises Inexpressible."""
    options = {**json.loads(backbone.settled["config"]), **labels}
    options.pop(BY_MASK, None)
    kind = HEADS.get((spec.modality, task.kind), "AutoModel" if task.kind == "features" else "")
    if not kind:
        raise Inexpressible(f"models of transformers that take {spec.modality} have no head for it")
    if spec.modality == "text" and options.get("pad_token_id") is None:
        options["pad_token_id"] = spec.shape["tokenizer"]["pad"]
    moved = _moved(backbone, spec)
    if moved:
        options["pad_token_id"] += moved
        options["max_position_embeddings"] += max(0, moved)
    if task.kind == "pooled":
        options["classifier_proj_size"] = backbone.width
    package = library()
    try:
        model = getattr(package, kind).from_config(package.AutoConfig.for_model(**options))
    except ValueError as error:
        raise Inexpressible(
            f"transformers has no {kind.removeprefix('AutoModelFor')} of {options['model_type']}"
        ) from error
    net = backbone.net.state_dict()
    base = model if task.kind == "features" else getattr(model, model.base_model_prefix, model)
    inner = base.state_dict()
    if unknown := sorted(net.keys() - inner.keys()):
        raise Inexpressible(f"transformers has no place for {unknown[0]} there")
    for name, value in net.items():
        places = name.endswith("position_embeddings.weight")
        inner[name].copy_(_shifted(value, moved, inner[name]) if places and moved else value)
    clear_others(base, net.keys())
    if task.kind != "features":
        _set_head(model, base, backbone, task)
    return model


def _moved(backbone: HuggingFace, spec: Spec) -> int:
    """How far padding moves: a model that counts positions from its id of padding has here the tokenizer's."""
    padding = getattr(backbone.reader, "padding", None)
    pad = -1 if padding is None else int(spec.shape["tokenizer"]["pad"])
    return pad - padding if padding is not None and pad >= 0 else 0


def _shifted(table: Tensor, moved: int, like: Tensor) -> Tensor:
    """A table of positions [P, D] whose rows begin `moved` places later, as long as another; 0 where it has none."""
    rows = torch.zeros_like(like)
    begin, end = max(0, moved), min(len(rows), len(table) + moved)
    rows[begin:end] = table[begin - moved : end - moved]
    return rows


def clear_others(model: Any, given: Collection[str]) -> None:
    """Zeros in the place of random numbers: parameters that are not among the names, nor share memory with them."""
    own = model.state_dict()
    places = {own[name].data_ptr() for name in given}
    for name, parameter in model.named_parameters():
        if name not in given and parameter.data_ptr() not in places:
            parameter.zero_()


def _set_head(model: Any, base: Any, backbone: HuggingFace, task: Task) -> None:
    """The trained head in the place of the model's own. Raises Inexpressible where that is another kind of head."""
    parts = (getattr(model, name, None) for name in ("classifier", "score"))
    head: Any = next((part for part in parts if part is not None), None)
    pooled = backbone.pooling
    if isinstance(getattr(model, "projector", None), nn.Linear):  # of speech: a matrix before the mean
        _identity(model.projector, 1.0)
    elif task.kind == "pooled" and (dense := _dense(getattr(base, "pooler", None))) is not None:
        _needs(pooled, "cls")
        _identity(dense, SMALL)  # a tanh stands behind it, which does nothing to what is small
        task = _scaled(task)
    elif task.kind == "pooled" and (dense := _dense(head)) is not None:
        _needs(pooled, "cls")
        _identity(dense, SMALL)
        task, head = _scaled(task), getattr(head, "out_proj", None)
    elif task.kind == "pooled" and head is not None and getattr(head, "bias", None) is None:
        _needs(pooled, "last")
    if not isinstance(head, nn.Linear):
        raise Inexpressible(f"the head of {type(model).__name__} is not a linear one")
    _set(head, task, pooled, base)


def _set(head: nn.Linear, task: Task, pooled: str, base: Any) -> None:
    weight, width = task.weight, task.weight.shape[1]
    if head.in_features == 2 * width:  # the class token, and the mean over patches, of DINOv2
        nothing = torch.zeros_like(weight)
        weight = torch.cat([weight, nothing] if pooled == "cls" else [nothing, weight], 1)
    if head.weight.shape != weight.shape:
        raise Inexpressible(f"its head takes {head.in_features} numbers, and the backbone gives {width}")
    head.weight.copy_(weight)
    bias: Tensor | None = head.bias
    if bias is not None:
        bias.copy_(task.bias)
    elif float(task.bias.abs().max()) > 0:
        norm = _last_norm(base)
        if norm is None or getattr(norm, "bias", None) is None:
            raise Inexpressible("its head has no bias, and neither has the norm before it")
        norm.bias.add_((torch.linalg.pinv(weight.double()) @ task.bias.double()).float())


def _last_norm(base: Any) -> Any:
    """The norm after the blocks of a model that writes."""
    names = ("ln_f", "final_layer_norm", "norm", "final_layernorm")
    return next((norm for name in names if (norm := getattr(base, name, None)) is not None), None)


def _dense(module: Any) -> Any:
    """The matrix [D, D] of a pooler or a head that has one before its tanh; None of another."""
    return getattr(module, "dense", None)


def _identity(matrix: nn.Linear, scale: float) -> None:
    matrix.weight.copy_(torch.eye(*matrix.weight.shape) * scale)
    if matrix.bias is not None:
        matrix.bias.zero_()


def _scaled(task: Task) -> Task:
    weight: Tensor = task.weight / SMALL
    return Task(task.kind, weight, task.bias, task.labels, task.problem)


def _needs(pooled: str, wanted: str) -> None:
    if pooled != wanted:
        raise Inexpressible(f"its head in transformers takes model.pooling={wanted}, and it was trained with {pooled}")
