"""Choices that change how fast a step is or what memory it takes, and not what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.graph import StepGraph
from ptft.loop import gradients
from ptft.recompute import recompute_blocks
from ptft.training import Training


def graph(t: Training, batch_size: int, name: str) -> StepGraph:
    """What records a step of `t` as a CUDA graph. Raises ConfigError where that can't be; name: the objective's."""
    if not t.objective.capturable:
        raise ConfigError(f"train.cuda_graph=true: a step of objective={name} can't be recorded; set it to false")
    if t.device.type != "cuda":
        raise ConfigError(f"train.cuda_graph=true: needs device=cuda, not {t.device.type}; set it to false")
    return StepGraph(partial(gradients, t), t.optimizer, t.parameters, batch_size, t.device)


def decisions(task: Objective, train: Mapping[str, Any], on: torch.device, precision: str) -> list[str]:
    """Apply the keys of `train` that change how fast and how large a step is but not what it learns; what to say."""
    said = []
    if tf32(train["tf32"], on) and precision == "fp32":
        said.append("fp32 multiplies in TF32; train.tf32=false keeps all its digits, at a fraction of the speed")
    if train["cuda_graph"] and on.type == "cuda":
        said.append("steps are recorded and replayed as a CUDA graph")
    if train["checkpoint_activations"]:
        count = recompute_blocks(task.backbone)
        none = "train.checkpoint_activations: this model has no blocks to compute again"
        said.append(f"the activations of {count} blocks are computed again for their gradients" if count else none)
    return said


def tf32(wanted: bool, on: torch.device) -> bool:
    """Whether float32 is multiplied in TF32 from now on: on CUDA where it is wanted (GPUs before Ampere ignore it).

    The matrices' setting goes through the function that keeps torch's older and newer flags in agreement.
    """
    if on.type == "cuda":
        torch.set_float32_matmul_precision("high" if wanted else "highest")
        torch.backends.cudnn.conv.fp32_precision = "tf32" if wanted else "ieee"  # type: ignore[attr-defined]
    return wanted and on.type == "cuda"
