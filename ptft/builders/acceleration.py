"""Choices that change how fast a step is or what memory it takes, and not what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ptft.builders import components
from ptft.builders.parts import cut
from ptft.builders.parts.own_views import capturable
from ptft.config.config import Config
from ptft.core import Examples, Objective
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.runtime.autotune import fastest
from ptft.runtime.device import tf32
from ptft.runtime.precision import ComputeFormat, choices
from ptft.train.activation_checkpointing import checkpoint_activations
from ptft.train.cuda_graph import StepGraph
from ptft.train.gradient_cache import InHalves
from ptft.train.loop import gradients
from ptft.train.state import Training
from ptft.validators import is_plan

WORTH_MEASURING = 100
"""Optimizer steps from which on a few more to find the fastest precision and layout pay."""

CAPTURABLE = ("ptft.models.image.", "ptft.models.text.", "ptft.models.hub.torchvision")
"""Modules of models whose training step is known to do nothing but work on the device."""


def compute_format(cfg: Config, built: Objective, train: Loader) -> tuple[ComputeFormat, dict[ComputeFormat, float]]:
    """Precision and layout: measured where they are `auto`, the run is long enough to earn it back and a choice that is
    another one next time does no harm."""
    if cfg.train.parallel == "fsdp":
        return cut.compute_format(cfg, train.device), {}
    device, candidates = train.device, choices(cfg.precision, cfg.train.layout, train.device, built)
    chosen = candidates[0]
    timings: dict[ComputeFormat, float] = {}
    total = components.budget(cfg.train, len(train)).total(len(train))
    long = total is None or total >= WORTH_MEASURING
    if len(candidates) > 1 and long and not cfg.train.deterministic:
        model = cfg.merged({"model": dict(built.backbone.settled)}).model
        setup = {"model": model.plain(), "objective": cfg.objective.plain(), "finetune": cfg.finetune.plain()}
        chosen, timings = fastest(built, train.first(cfg.train.accumulate), candidates, device, setup)
    return chosen, timings


def graph(t: Training, cfg: Config, train: Examples) -> StepGraph | None:
    """What records a step of `t` as a CUDA graph, where `train.cuda_graph` asks for it. Raises ConfigError where it
    is true and that can't be. train: the training split.
    """
    typed, name = cfg.train.cuda_graph, cfg.names.objective
    if typed == "auto" and not _records(t, cfg, train):
        return None
    if typed is True and not capturable(t.objective):
        raise ConfigError(f"train.cuda_graph=true: a step of objective={name} can't be recorded; set it to false")
    if typed is True and t.device.type != "cuda":
        raise ConfigError(f"train.cuda_graph=true: needs device=cuda, not {t.device.type}; set it to false")
    if typed is False or t.group.count > 1 or t.group.cut:
        return None
    options = (t.optimizer, t.parameters, cfg.train.batch_size, t.device)
    return StepGraph(partial(gradients, t), *options, where_faster=typed == "auto")


def _records(t: Training, cfg: Config, train: Examples) -> bool:
    """Whether a step may be recorded without being asked, which measures it: on CUDA, for batches of one shape.

    What a step does outside of the device is done once, while it is recorded. So nobody else's code is: a model of the
    user's own may count its steps.
    """
    objective, backbone = type(t.objective).__module__, type(t.objective.backbone).__module__
    built_in = objective.startswith("ptft.") and backbone.startswith(CAPTURABLE)
    compared = t.accumulate > 1 and isinstance(t.objective, InHalves)
    asked = cfg.train.deterministic or cfg.train.compile or cfg.train.checkpoint_activations
    excluded = asked or is_plan(cfg.finetune.train) or t.scaler
    mixed = cfg.train.tokens or cfg.train.replay
    uneven = mixed or (train.lengths is not None and bool((train.lengths != train.lengths[0]).any()))
    return t.device.type == "cuda" and built_in and capturable(t.objective) and not (excluded or uneven or compared)


def decisions(task: Objective, train: Mapping[str, Any], device: torch.device, precision: str) -> list[str]:
    """Apply the keys of `train` that change how fast and how large a step is but not what it learns; what to say."""
    notes = []
    if tf32(train["tf32"], device) and precision == "fp32":
        notes.append("fp32 multiplies in TF32; train.tf32=false keeps all its digits, at a fraction of the speed")
    if train["checkpoint_activations"]:
        count = checkpoint_activations(task.backbone)
        none = "train.checkpoint_activations: this model has no blocks to compute again"
        notes.append(f"the activations of {count} blocks are computed again for their gradients" if count else none)
    return notes


def recording(graph: StepGraph | None) -> list[str]:
    """What is to be said of it."""
    if graph is None:
        return []
    where = ", where launching them would take longer; train.cuda_graph=false leaves that" if graph.where_faster else ""
    return [f"steps are recorded once and replayed as a CUDA graph{where}"]
