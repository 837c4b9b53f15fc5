"""The tower of captions that begins with weights of its own: `objective.text_ckpt`, or that of the checkpoint which a
run starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ptft.checkpoint.load import Checkpoint, open_checkpoint
from ptft.checkpoint.transfer import PREFIX, Transfer, load_backbone
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.core import Backbone, Objective, Spec
from ptft.data.image.captions.examples import spec_of_captions
from ptft.data.text.reader import alone
from ptft.errors import CheckpointError, ConfigError

KEY, MODEL, POOLED = "objective.text_ckpt", "objective.text_model", "objective.text_pooling"
TEXT = "text."
"""What begins the names of a tower's tensors in an objective of pairs."""
POOLING = ("pooling", "pool")
"""What models of texts call how a text becomes one vector."""


@dataclass(frozen=True)
class Tower:
    """path: what it came from; node: of its network; spec: of the texts that it reads; weights: named `backbone.…`."""

    path: str
    node: dict[str, Any]
    spec: Spec
    weights: dict[str, Tensor]


def opened(cfg: Config, start: Checkpoint | None) -> Tower | None:
    """What the captions of a new run are read by at its start; None where that is new, or a run goes on.

    start: whose weights the run starts from. Its tower is taken where it learned by the same objective, unless another
    is typed. Raises ConfigError naming the key for what reads no texts, CheckpointError for what can't be read.
    """
    if cfg.resume or "text_ckpt" not in cfg.objective:
        return None
    path, kept, pooling = cfg.objective["text_ckpt"], _kept(cfg, start), cfg.objective["text_pooling"]
    if kept is not None and path in (None, kept["text_ckpt"]):
        assert start
        tower = _of_pairs(start, start.path, pooling) if kept["text_model"] else None
    elif path is not None:
        tower = _named(open_checkpoint(path, KEY), path, pooling)
    else:
        tower = None
        _check_new(cfg)
    if tower is None and pooling is not None:
        raise ConfigError(f"{POOLED}={pooling}: is for a tower that begins as a text model; type {KEY}=…, or null")
    return tower


def _check_new(cfg: Config) -> None:
    """Raises ConfigError for what can't be asked of a tower that begins with nothing."""
    if cfg.objective["text_model"] is not None:
        raise ConfigError(f"{MODEL}: says which network the tower is, and nobody its weights; type {KEY}=…")
    if cfg.objective["text_train"] == "none":
        raise ConfigError(f"objective.text_train=none: locks a tower that has learned nothing; type {KEY}=…, or all")


def _kept(cfg: Config, start: Checkpoint | None) -> Mapping[str, Any] | None:
    """The objective of the checkpoint, where what stands around its backbone is kept."""
    stored = renamed(start.config).get("objective") if start and start.config else None
    if stored is None or cfg.finetune.head == "new" or stored.get("_target_") != cfg.objective["_target_"]:
        return None
    return {"text_ckpt": None, "text_model": None, **stored}


def _named(checkpoint: Checkpoint, path: str, pooling: str | None) -> Tower:
    """A text model, or the tower of a checkpoint of pairs. pooling: in the place of its own; of public ones mean."""
    spec = checkpoint.spec
    if checkpoint.config is None or spec is None:
        raise ConfigError(
            f"{KEY}={path}: plain weights say neither which network they are of nor what their tokens are; "
            "huggingface:FOLDER or a checkpoint of ptft does"
        )
    if spec_of_captions(spec) is not None:
        return _of_pairs(checkpoint, path, pooling)
    if "tokenizer" not in spec.shape:
        raise ConfigError(f"{KEY}={path}: reads {spec.modality}, not texts")
    usual = spec.shape.get("pooling") or (None if checkpoint.has_task else "mean")
    node = _pooled(renamed(checkpoint.config)["model"], pooling, usual, path)
    tokenizer = spec.shape["tokenizer"]
    around = spec.shape.get("around") or [tokenizer["cls"], tokenizer["sep"]]
    shape = {"tokenizer": tokenizer, "length": spec.shape["length"], "around": list(around)}
    return Tower(path, node, Spec("text", shape, "none"), checkpoint.weights)


def _pooled(model: Mapping[str, Any], typed: str | None, usual: str | None, path: str) -> dict[str, Any]:
    """The node of a model of texts with what makes one vector of a text: as typed, as it has it, or the usual.

    Raises ConfigError where it has no choice.
    """
    node, key = dict(model), next((key for key in POOLING if key in model), None)
    if key is not None:
        node[key] = typed or node[key] or usual
    elif typed is not None:
        raise ConfigError(f"{POOLED}={typed}: {KEY}={path} has no choice of it; leave it at null")
    return node


def _of_pairs(checkpoint: Checkpoint, path: str, pooling: str | None) -> Tower:
    """The tower of a checkpoint that learned from pictures with captions."""
    assert checkpoint.config
    assert checkpoint.spec
    spec, model = spec_of_captions(checkpoint.spec), checkpoint.config.get("objective", {}).get("text_model")
    if spec is None or model is None:
        raise ConfigError(
            f"{KEY}={path}: its captions are read by a small transformer that began with no weights; "
            "ckpt= goes on with both of its towers"
        )
    weights = {f"{PREFIX}{name[len(TEXT) :]}": v for name, v in checkpoint.weights.items() if name.startswith(TEXT)}
    if not weights:
        raise CheckpointError(f"{KEY}={path}: holds no tower of captions")
    return Tower(path, _pooled(json.loads(model), pooling, None, path), spec, weights)


def settled(tower: Tower | None) -> dict[str, Any]:
    """What the configuration says of it, by which the objective makes its network, now and from a checkpoint."""
    return {} if tower is None else {"objective": {"text_model": json.dumps(tower.node)}}


def started(built: Objective, spec: Spec, tower: Tower | None, transfer: Transfer | None) -> None:
    """Fill the tower's weights in, and say so in the report of what was loaded.

    Raises ConfigError where the captions are read with other tokens than the tower's, CheckpointError for weights that
    don't fit.
    """
    if tower is None:
        return
    captions = spec_of_captions(spec)
    if captions is None or captions.shape["tokenizer"] != tower.spec.shape["tokenizer"]:
        raise ConfigError(f"{KEY}={tower.path}: the dataset's captions are not in its tokens; use dataset=captions")
    text: Backbone = built.text  # type: ignore[assignment]
    load_backbone(text, tower.weights, source=tower.path, spec=tower.spec)
    if transfer:
        names = [name for name in transfer.reinitialised if name.startswith(TEXT)]
        transfer.loaded |= {name: transfer.reinitialised.pop(name) for name in names}


def spec_of_texts(spec: Spec) -> Spec | None:
    """As `spec_of_captions`, for texts that stand in files of their own."""
    captions = spec_of_captions(spec)
    if captions is None or not captions.shape.get("around"):
        return captions
    return alone(captions)
