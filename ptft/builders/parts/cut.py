"""A run whose weights are cut over its processes (`train.parallel=fsdp`): what is cut together, and what can't be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ptft.builders.parts.spread import NORMS
from ptft.config.config import Config
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.finetune import lora
from ptft.finetune.phases import Phases
from ptft.runtime.precision import ComputeFormat, ruled
from ptft.runtime.together.alone import current


def wanted(cfg: Config) -> bool:
    """Whether the run's weights are to be cut; a dry run takes its step with all of them."""
    return bool(cfg.train.parallel == "fsdp" and not cfg.dry_run)


def home(cfg: Config, device: torch.device) -> torch.device:
    """Where the model is until it is cut: no device has to hold all of it."""
    return torch.device("cpu") if wanted(cfg) else device


def compute_format(cfg: Config, device: torch.device) -> ComputeFormat:
    """Without measuring, for nobody has all of the model on the device; a part of a weight has no other layout."""
    return ruled(cfg.precision, "contiguous", device)


def optimizer(cfg: Config) -> Mapping[str, Any]:
    """The optimizer's node. torch's fused step knows no parts of weights, but for Adam's."""
    node: dict[str, Any] = cfg.optimizer.plain()
    return {**node, "fused": False} if wanted(cfg) and node["_target_"] == "torch.optim.SGD" else node


def divide(cfg: Config, task: Objective, phases: Phases, device: torch.device) -> None:
    """Leave in each process its part of every weight, on the device. Raises ConfigError where that can't be.

    Each process computes as often as the others from then on, also for a part of a batch in which it has no examples.
    """
    cut = blocks(task)
    _check(cfg, task, cut)
    before = dict(task.named_parameters())
    current().divide(task, cut, device)
    after = dict(task.named_parameters())
    phases.follow({parameter: after[name] for name, parameter in before.items()})
    setattr(task, "whole_batch", True)  # noqa: B010 - of this one, not of its class


def blocks(task: Objective) -> list[nn.Module]:
    """The parts of `backbone.layers()` that are called as one and share no weight with others; none that is a single
    weight and its low-rank factors."""
    holders: dict[nn.Parameter, int] = {}
    for _, parameter in task.named_parameters(remove_duplicate=False):
        holders[parameter] = holders.get(parameter, 0) + 1
    found: list[nn.Module] = []
    for module in (module for layer in task.backbone.layers() for module in layer):
        called = not isinstance(module, nn.ModuleList | nn.ModuleDict) and next(module.children(), None) is not None
        nested = any(module in set(other.modules()) or other in set(module.modules()) for other in found)
        own = list(module.parameters())
        if (
            called
            and own
            and not nested
            and not lora.adapted(module)
            and all(holders[parameter] == 1 for parameter in own)
        ):
            found.append(module)
    return found


def _check(cfg: Config, task: Objective, cut: list[nn.Module]) -> None:
    again = "type train.parallel=ddp"
    if not cut:
        raise ConfigError(f"train.parallel=fsdp: model={cfg.names.model} has no blocks to be cut; {again}")
    for name, parameter in task.named_parameters():
        if parameter.ndim == 0:
            raise ConfigError(f"train.parallel=fsdp: {name} is one number, which can't be cut; {again}")
    if len({parameter.dtype for parameter in task.parameters() if parameter.requires_grad}) > 1:
        raise ConfigError(f"train.parallel=fsdp: the weights of model={cfg.names.model} are of several types; {again}")
    norms = any(isinstance(module, NORMS) for module in task.modules())
    if norms and current().count > 1 and not cfg.train.sync_batchnorm:
        raise ConfigError(
            "train.parallel=fsdp: this model has batch norms, and a process may have no examples of a batch; "
            "type train.sync_batchnorm=true or train.parallel=ddp"
        )
