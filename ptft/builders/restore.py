"""A trained objective again, from what its checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig

from ptft.builders.components import objective
from ptft.checkpoint.load import Origin, load
from ptft.checkpoint.transfer import take_over
from ptft.core import Examples, Objective, Spec
from ptft.errors import CheckpointError
from ptft.runtime.precision import ComputeFormat, ruled


def restored(
    origin: Origin,
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    spec: Spec,
    trusted: tuple[str, ...] = (),
    reference: Examples | None = None,
) -> Objective:
    """The checkpoint's objective with every tensor of it. Raises CheckpointError where its tensors don't fit."""
    built = objective(model, task, spec, None, trusted, reference)
    take_over(built, origin.weights, whole=True, why="", origin=origin.path)
    return built


def rebuilt(path: str, key: str, trusted: tuple[str, ...] = ()) -> tuple[Objective, Spec]:
    """The objective of the checkpoint at `path`, which the key names, made without any dataset; and its Spec.

    What its configuration names must be ptft's or `trusted`, whatever it trusted itself.
    """
    found = load(path, key)
    config, spec = found.config or {}, found.spec
    if spec is None or not {"model", "objective"} <= config.keys():
        raise CheckpointError(f"{key}={path}: {found.path} holds weights and no task of ptft; finetune them first")
    return restored(found, config["model"], config["objective"], spec, trusted), spec


def trained_in(cfg: DictConfig, origin: Origin, device: torch.device) -> ComputeFormat:
    """As the checkpoint was trained, where nothing is typed and the device can: that was measured, or meant."""
    stored = origin.config or {}
    precision, layout = cfg.precision, cfg.train.layout
    if precision == "auto" and (stored.get("precision") != "fp16" or device.type != "cpu"):
        precision = stored.get("precision", "auto")
    if layout == "auto":
        layout = stored.get("train", {}).get("layout", "auto")
    return ruled(precision, layout, device)
