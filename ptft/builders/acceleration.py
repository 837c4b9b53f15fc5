"""Choices that change how fast a step is or what memory it takes, and not what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.runtime.device import tf32
from ptft.train.activation_checkpointing import checkpoint_activations
from ptft.train.cuda_graph import StepGraph
from ptft.train.loop import gradients
from ptft.train.state import Training


def graph(t: Training, batch_size: int, name: str) -> StepGraph:
    """What records a step of `t` as a CUDA graph. Raises ConfigError where that can't be; name: the objective's."""
    if not t.objective.capturable:
        raise ConfigError(f"train.cuda_graph=true: a step of objective={name} can't be recorded; set it to false")
    if t.device.type != "cuda":
        raise ConfigError(f"train.cuda_graph=true: needs device=cuda, not {t.device.type}; set it to false")
    return StepGraph(partial(gradients, t), t.optimizer, t.parameters, batch_size, t.device)


def decisions(task: Objective, train: Mapping[str, Any], device: torch.device, precision: str) -> list[str]:
    """Apply the keys of `train` that change how fast and how large a step is but not what it learns; what to say."""
    notes = []
    if tf32(train["tf32"], device) and precision == "fp32":
        notes.append("fp32 multiplies in TF32; train.tf32=false keeps all its digits, at a fraction of the speed")
    if train["cuda_graph"] and device.type == "cuda":
        notes.append("steps are recorded and replayed as a CUDA graph")
    if train["checkpoint_activations"]:
        count = checkpoint_activations(task.backbone)
        none = "train.checkpoint_activations: this model has no blocks to compute again"
        notes.append(f"the activations of {count} blocks are computed again for their gradients" if count else none)
    return notes
