"""Parameter groups of an optimizer, their learning rates, and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptft.core import Objective
from ptft.runtime.together.alone import current, own


def parameter_groups(
    objective: Objective,
    scales: Mapping[nn.Parameter, tuple[float, ...]],
    *,
    lr: float,
    weight_decay: float,
    anchored: bool = False,
) -> list[dict[str, Any]]:
    """The parameters that learn, each in exactly one group of equal rates and decay, in the order of the modules.

    A group holds `params`, their `names`, `weight_decay`, `base_lr` (= `lr` as given), `lr_scales` (the factor in each
    phase, 0 where it is frozen), `lr_scale` (the present one) and the rate that follows, `lr`. So the groups are the
    same in every phase. Parameters of at most one axis (biases, norms) and those the backbone names in
    `no_weight_decay` do not decay; with `anchored` nothing of the backbone does, for it is drawn to where it started.
    scales: of every parameter that learns at some time, the factor of its rate in each phase, 0 where it is frozen.
    """
    fixed = _without_decay(objective, anchored)
    groups: dict[tuple[tuple[float, ...], float], dict[str, Any]] = {}
    for name, parameter in objective.named_parameters():
        if parameter not in scales:
            continue
        factors, decay = scales[parameter], 0.0 if parameter in fixed else weight_decay
        rates = {"lr": lr * factors[0], "base_lr": lr, "lr_scale": factors[0], "lr_scales": list(factors)}
        group = groups.setdefault((factors, decay), {"params": [], "names": [], **rates, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _without_decay(objective: Objective, anchored: bool) -> set[nn.Parameter]:
    named = objective.backbone.no_weight_decay
    listed = {parameter for name, parameter in objective.backbone.named_parameters() if anchored or name in named}
    return listed | {parameter for parameter in objective.parameters() if parameter.ndim <= 1}


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's rate to its base rate, times its layer's scale, times the schedule's factor.

    A rate that lives in a tensor (a captured step reads it there) is filled in place, without waiting for the device.
    """
    for group in optimizer.param_groups:
        rate = group["base_lr"] * group["lr_scale"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def highest_lr(optimizer: Optimizer) -> float:
    """The rate of what learns at the whole of it: heads, not the layers or towers whose rate is a part."""
    return float(max(optimizer.param_groups, key=lambda group: group["lr_scale"])["lr"])


@torch.no_grad()
def clip_and_scale(parameters: Iterable[Tensor], count: Tensor, clip: float | None) -> Tensor:
    """Turns summed gradients into those of the mean over `count`, clipped to the global norm `clip`, in place.

    count is a scalar on the gradients' device. Returns the norm of the mean's gradient before clipping, a scalar there
    too: nothing here waits for the device. A norm that is not finite is returned as it is. A count of 0 (nothing to
    learn from) leaves gradients of 0. The clipping is that of Pascanu et al. 2013, algorithm 1.
    """
    gradients = own(parameter.grad for parameter in parameters if parameter.grad is not None)
    scale = count.masked_fill(count == 0, 1).float().reciprocal()
    norm = current().norm(gradients) * scale
    if clip is not None:
        scale = scale * (clip / (norm + 1e-6)).clamp(max=1)
    torch._foreach_mul_(gradients, scale)
    return norm
