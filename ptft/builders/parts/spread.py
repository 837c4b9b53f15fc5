"""A run spread over processes: the same steps, of which each process computes its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ptft.augment.own import OwnViews
from ptft.core import Objective
from ptft.errors import counted
from ptft.runtime.together.alone import current
from ptft.train.state import Training

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def decisions(task: Objective, train: Mapping[str, Any], device: torch.device) -> list[str]:
    """Let batch norms take the statistics of whole batches where that was typed; what to say of a run of several."""
    idle = ["train.save=parts is without effect, as train.parallel=ddp: each process has all there is"]
    whole = idle if train["save"] == "parts" and train["parallel"] != "fsdp" else []
    if train["processes"] == 1:
        return whole
    notes = [*whole, *filter(None, [_draws(task, train)])]
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
    """What is drawn otherwise than in one process: ptft's own views are not."""
    own = "dropout" if any("Drop" in type(each).__name__ and _rate(each) for each in task.modules()) else ""
    if train["accumulate"] > 1:
        own = "what is drawn at random"
    elif any(getattr(each, "draws_alone", False) for each in task.modules()):
        alone = "views of your own" if any(isinstance(each, OwnViews) for each in task.modules()) else ""
        alone = alone or "random mixtures"
        own = f"{own} and {alone}" if own else alone
    return f"{own}: each process draws its own, so the numbers are others than in one process" if own else ""


def _rate(module: nn.Module) -> float:
    return float(getattr(module, "p", getattr(module, "rate", 0)) or 0)


def _synchronise(task: Objective, device: torch.device) -> None:
    if current().count > 1:
        from ptft.distributed.batch_norm import synchronise

        synchronise(task, device)


def changed(before: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    """What to say of a run that goes on with other parts of a batch, or by other processes, than it was saved by."""
    return "; ".join(filter(None, [_other_parts(before, train), _other_processes(before, train)]))


def _other_parts(before: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    was, now = before.get("accumulate", 1), train["accumulate"]
    if was == now:
        return ""
    return (
        f"it was saved with train.accumulate={was} and goes on with {now}: the batches are the same, but their sums "
        "are rounded otherwise, and random views and dropout are drawn for other parts"
    )


def _other_processes(before: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    was, now = before.get("processes", 1), train["processes"]
    ways = before.get("parallel", "ddp"), train["parallel"]
    if was == now and ways[0] != ways[1]:
        return f"it was saved by {ways[0]} and goes on by {ways[1]}: the same steps, whose sums are rounded otherwise"
    if was == now:
        return ""
    return (
        f"it was saved by {counted(was, 'processes')} and goes on with {now}: the batches are the same, but their sums "
        "are rounded otherwise, and dropout draws other numbers"
    )


def join(t: Training) -> None:
    """The training begins with the others, from the weights of the first process."""
    t.group.begin(t.objective, t.parameters, overlap=t.accumulate == 1)
    if t.scaler and t.group.count > 1:
        t.scaler.scale(torch.zeros((), device=t.device))  # where a process's first batch has no examples
