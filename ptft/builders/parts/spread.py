"""A run spread over processes: the same steps, of which each process computes its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ptft.core import Objective
from ptft.runtime.together.alone import current
from ptft.train.state import Training

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def decisions(task: Objective, train: Mapping[str, Any], device: torch.device) -> list[str]:
    """Let batch norms take the statistics of whole batches where that was typed; what to say of a run of several."""
    if train["processes"] == 1:
        return []
    notes = [f"each of {train['processes']} processes computes its part of every batch; {_draws(task, train)}"]
    norms = sum(isinstance(module, NORMS) for module in task.modules())
    if norms and train["sync_batchnorm"]:
        _synchronise(task, device)
    elif norms:
        notes.append(
            f"its {norms} batch norms normalise each process's part by itself, and the first one's statistics are "
            "saved; train.sync_batchnorm=true takes those of whole batches, as one process does"
        )
    return notes


def _draws(task: Objective, train: Mapping[str, Any]) -> str:
    """What is the same as in one process of the random numbers, and what is not."""
    dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in task.modules())
    if train["accumulate"] > 1:
        return "each draws its own random numbers, as train.accumulate cuts the parts"
    if dropout:
        return "random views are those of one process, dropout is each one's own"
    return "random views are those of one process"


def _synchronise(task: Objective, device: torch.device) -> None:
    if current().count > 1:
        from ptft.distributed.batch_norm import synchronise

        synchronise(task, device)


def join(t: Training) -> None:
    """The training begins with the others, from the weights of the first process."""
    t.group.begin(t.objective, t.parameters, overlap=t.accumulate == 1)
    if t.scaler and t.group.count > 1:
        t.scaler.scale(torch.zeros((), device=t.device))  # where a process's first batch has no examples
