"""Restoring: a trained objective again, from what its checkpoint says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ptft.builders import components, networks
from ptft.builders.sizes import limit
from ptft.checkpoint.load import Checkpoint, held_by, open_checkpoint
from ptft.checkpoint.transfer import load_backbone, load_pretrained
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.config.resolve import Job
from ptft.core import Backbone, Batch, Examples, Objective, Spec
from ptft.data import readers
from ptft.errors import CheckpointError, ConfigError
from ptft.runtime.precision import ComputeFormat, ruled

DESCRIBED = frozenset({"language"})
"""What an objective, and no dataset, says of examples in the shape of a Spec (`Objective.describe`)."""
TEACHER = "objective.teacher"
"""The key that names another model to learn from."""


def restored(
    cfg: Config, checkpoint: Checkpoint, read: Spec | None = None, reference: Examples | None = None
) -> Objective:
    """The checkpoint's objective with every tensor of it, for examples as they are `read` (None: as in its training).

    cfg: its own model and objective, with what was typed for them. reference: training examples that only measure,
        where an objective uses no labels.
    Raises ConfigError for a file that holds no task, CheckpointError where its tensors don't fit.
    """
    return _loaded(untrained(cfg, checkpoint, read, reference), checkpoint)


def untrained(
    cfg: Config, checkpoint: Checkpoint, read: Spec | None = None, reference: Examples | None = None
) -> Objective:
    """As `restored`, with random weights in the place of the checkpoint's."""
    if not checkpoint.has_task:
        raise ConfigError(f"ckpt={checkpoint.path}: holds a backbone and no task; finetune it first")
    assert checkpoint.spec
    check_spec(checkpoint)
    spec = checkpoint.spec
    if read is not None:
        told = {key: value for key, value in spec.shape.items() if key in DESCRIBED}
        spec = replace(spec, shape={**read.shape, **told}, **_normalised(cfg, read))
    with limit(checkpoint), nullcontext() if cfg.trusted else held_by(checkpoint.path):
        return components.objective(cfg.model, cfg.objective, spec, None, cfg.trusted, reference)


def _normalised(cfg: Config, read: Spec) -> dict[str, Any]:
    """Mean and std where they were typed; they are the checkpoint's else."""
    typed = {"mean": read.mean, "std": read.std}
    return {key: values for key, values in typed.items() if cfg.dataset.get(key) is not None}


def check_spec(checkpoint: Checkpoint | None) -> None:
    """Raises CheckpointError where a checkpoint's Spec does not say what its modality needs."""
    if checkpoint and checkpoint.spec:
        with held_by(checkpoint.path):
            readers.of(checkpoint.spec).describe(checkpoint.spec)


def rebuilt(path: str, key: str, trusted: tuple[str, ...] = ()) -> tuple[Objective, Spec]:
    """The objective of the checkpoint at `path`, which the key names, made without any dataset; and its Spec.

    What its configuration names must be ptft's or `trusted`, whatever it trusted itself.
    """
    return _rebuilt(path, key, trusted)[:2]


def classifier(path: str, trusted: tuple[str, ...] = ()) -> tuple[Objective, Spec, str | None]:
    """The objective of what `objective.teacher` names, its Spec, and the digest of its file."""
    return _rebuilt(path, TEACHER, trusted)


def _rebuilt(path: str, key: str, trusted: tuple[str, ...]) -> tuple[Objective, Spec, str | None]:
    checkpoint = open_checkpoint(path, key)
    if not checkpoint.has_task:
        raise CheckpointError(f"{key}={path}: {checkpoint.path} holds weights and no task of ptft; finetune them first")
    assert checkpoint.spec
    assert checkpoint.config
    model, task = checkpoint.config["model"], checkpoint.config["objective"]
    with limit(checkpoint), nullcontext() if trusted else held_by(checkpoint.path):
        built = components.objective(model, task, checkpoint.spec, None, trusted)
    return _loaded(built, checkpoint), checkpoint.spec, checkpoint.sha256


def teacher(
    path: str, model: str | None, size: int | None, trusted: tuple[str, ...] = ()
) -> tuple[Backbone, Spec, str | None]:
    """The backbone of what `objective.teacher` names, a Spec of what it expects, and the digest of its file.

    model: of plain weights, whose network they are: timm:NAME or torchvision:NAME. size: the side of the images that it
        is built for, where they are not of its own size. Raises ConfigError and CheckpointError, naming the keys.
    """
    checkpoint = open_checkpoint(path, TEACHER)
    node, spec = _network(checkpoint, path, model, trusted)
    if spec is not None and spec.modality != "image":
        raise ConfigError(f"{TEACHER}={path}: reads {spec.modality}, not images")
    if spec is None or not (size or spec.shape.get("size")):
        raise ConfigError(f"{TEACHER}={path}: does not say how large its images are; type {TEACHER}_size=…")
    if size:
        spec = replace(spec, shape={**spec.shape, "size": [size, size]})
    return _backbone(node, spec, checkpoint, trusted), spec, checkpoint.sha256


def spec_alone(cfg: Config, checkpoint: Checkpoint) -> Spec:
    """What the backbone of weights that hold no task reads. Raises ConfigError where nobody knows that."""
    spec = checkpoint.spec or components.published(cfg.model, checkpoint.weights, checkpoint.path, cfg.trusted)
    if spec is None:
        raise ConfigError(
            f"ckpt={checkpoint.path}: holds no task, and model={cfg.names.model} does not say what its examples look "
            "like; finetune it first"
        )
    alone: Callable[[Spec], Spec] | None = getattr(readers.of(spec), "alone", None)
    return spec if alone is None else alone(spec)


def backbone_alone(cfg: Config, checkpoint: Checkpoint) -> tuple[Backbone, Spec]:
    """The backbone of weights that hold no task, and what it reads. Raises CheckpointError where they don't fit."""
    spec = spec_alone(cfg, checkpoint)
    return _backbone(cfg.model, spec, checkpoint, cfg.trusted), spec


def _backbone(model: Mapping[str, Any], spec: Spec, checkpoint: Checkpoint, trusted: tuple[str, ...]) -> Backbone:
    with limit(checkpoint), nullcontext() if trusted else held_by(checkpoint.path):
        built = networks.backbone(model, spec, trusted)
    load_backbone(built, checkpoint.weights, source=checkpoint.path, spec=checkpoint.spec)
    return built


def _network(
    checkpoint: Checkpoint, path: str, model: str | None, trusted: tuple[str, ...]
) -> tuple[Mapping[str, Any], Spec | None]:
    """The node of the model that a checkpoint's weights are of, and what it expects of examples."""
    if checkpoint.config is not None:
        if model is not None:
            raise ConfigError(f"{TEACHER}_model={model}: {TEACHER}={path} says which model it is of; set it to null")
        return renamed(checkpoint.config)["model"], checkpoint.spec
    kind, _, name = str(model).partition(":")
    if kind not in ("timm", "torchvision") or not name:
        raise ConfigError(
            f"{TEACHER}_model={'null' if model is None else model}: plain weights ({TEACHER}={path}) don't say which "
            "model they are of; type timm:NAME or torchvision:NAME"
        )
    module = import_module(f"ptft.models.hub.{kind}")
    node = {"_target_": f"{module.__name__}.{module.BACKBONE}", **module.public_options(name)}
    return node, components.published(node, checkpoint.weights, checkpoint.path, trusted)


def _loaded(built: Objective, checkpoint: Checkpoint) -> Objective:
    load_pretrained(built, checkpoint.weights, head=True, why="", source=checkpoint.path, spec=checkpoint.spec)
    return built


def trained_in(cfg: Config, checkpoint: Checkpoint, device: torch.device) -> ComputeFormat:
    """As the checkpoint was trained, where nothing is typed and the device can: that was measured, or meant.

    Weights without a task, which were trained elsewhere, give the same features on every machine: in float32.
    """
    stored = checkpoint.config or {}
    precision, layout = cfg.precision, cfg.train.layout
    if precision == "auto" and not cfg.objective:
        precision = "fp32"
    if precision == "auto" and (stored.get("precision") != "fp16" or device.type != "cpu"):
        precision = stored.get("precision", "auto")
    if layout == "auto":
        layout = stored.get("train", {}).get("layout", "auto")
    return ruled(precision, layout, device)


def trained_with(job: Job) -> Mapping[str, Any]:
    """The batches that the checkpoint was trained with, under what is typed of `train`."""
    stored = (job.checkpoint.config or {}).get("train", {}) if job.checkpoint else {}
    trained = {key: stored[key] for key in ("batch_size", "tokens", "accumulate") if key in stored}
    typed = {key.removeprefix("train."): value for key, value in job.overrides.typed.items()}
    return {**job.config.train.plain(), **trained, **{key: typed[key] for key in trained if key in typed}}


def encoder(job: Job, read: Spec, device: torch.device) -> Callable[[Batch], Tensor]:
    """What the backbone of the job's checkpoint makes of raw batches of examples as they are `read`: float32 [B, D] on
    the CPU. It needs weights and no task. Raises CheckpointError where they don't fit."""
    checkpoint = job.checkpoint
    assert checkpoint
    check_spec(checkpoint)
    spec = read if checkpoint.spec is None else replace(checkpoint.spec, shape=read.shape)
    backbone = _backbone(job.config.model, spec, checkpoint, job.config.trusted)
    backbone.to(device).eval()

    @torch.inference_mode()
    def encode(batch: Batch) -> Tensor:
        there = {name: value.to(device) for name, value in batch.items()}
        return backbone.pool(backbone(backbone.inputs(there), there.get("mask"))).float().cpu()

    return encode
