"""What the loop does to weights besides the optimizer's step: groups, clipping, rates, averages, an anchor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.phases import Phases


def parameter_groups(
    objective: Objective, *, lr: float, weight_decay: float, phases: Phases | None = None, anchored: bool = False
) -> list[dict[str, Any]]:
    """The parameters that learn, each in exactly one group of equal rates and decay, in the order of the modules.

    A group holds `params`, their `names`, `weight_decay`, `base_lr` (= `lr` as given), `lr_scales` (the factor in each
    phase, 0 where the group rests), `lr_scale` (the present one) and the rate that follows, `lr`. So the groups are the
    same in every phase. Parameters of at most one axis (biases, norms) and those the backbone names in
    `no_weight_decay` do not decay; with `anchored` nothing of the backbone does, for it is drawn to where it started.
    phases: None is one phase in which all that may learn does.
    """
    phases = phases or Phases(objective)
    fixed = _without_decay(objective, anchored)
    groups: dict[tuple[tuple[float, ...], float], dict[str, Any]] = {}
    for name, parameter in objective.named_parameters():
        if parameter not in phases.scales:
            continue
        scales, decay = phases.scales[parameter], 0.0 if parameter in fixed else weight_decay
        rates = {"lr": lr * scales[0], "base_lr": lr, "lr_scale": scales[0], "lr_scales": list(scales)}
        group = groups.setdefault((scales, decay), {"params": [], "names": [], **rates, "weight_decay": decay})
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


@torch.no_grad()
def clip_and_scale(parameters: Iterable[Tensor], count: Tensor, clip: float | None) -> Tensor:
    """Turns summed gradients into those of the mean over `count`, clipped to the global norm `clip`, in place.

    count is a scalar on the gradients' device. Returns the norm of the mean's gradient before clipping, a scalar there
    too: nothing here waits for the device. A norm that is not finite is returned as it is. A count of 0 (nothing to
    learn from) leaves gradients of 0. The clipping is that of Pascanu et al. 2013, algorithm 1.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    scale = count.masked_fill(count == 0, 1).float().reciprocal()
    norm = torch.nn.utils.get_total_norm(gradients) * scale
    if clip is not None:
        scale = scale * (clip / (norm + 1e-6)).clamp(max=1)
    torch._foreach_mul_(gradients, scale)
    return norm


class Anchor:
    """The weights a finetune started from, and the pull back to them: L2-SP (Li et al. 2018, equation 2).

    The penalty strength / 2 * |w - w0|^2 on the backbone belongs to the mean loss, so its gradient joins the others
    before they are clipped. In the paper's words strength is alpha; beta is the weight decay of what is new.
    """

    def __init__(self, parameters: Mapping[str, Tensor], strength: float) -> None:
        self.parameters, self.strength = dict(parameters), strength
        self.start = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def pull(self, count: Tensor) -> None:
        """Adds the penalty's gradient to those that are there, which are summed over `count`."""
        pulled = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        if not pulled:
            return
        away = torch._foreach_sub([self.parameters[n] for n in pulled], [self.start[n] for n in pulled])
        torch._foreach_mul_(away, self.strength * count)
        gradients = [gradient for n in pulled if (gradient := self.parameters[n].grad) is not None]
        torch._foreach_add_(gradients, away)

    def state_dict(self) -> dict[str, Tensor]:
        """The weights at the start, for a continuation that doesn't need the file they came from."""
        return dict(self.start)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        assert state.keys() == self.start.keys(), "the start belongs to another module"
        for name, value in state.items():
            self.start[name].copy_(value)


class Ema:
    """A moving average of a module's weights (Polyak & Juditsky 1992), its float buffers (BatchNorm) included.

    After n updates the next one keeps min(decay, (1 + n) / (10 + n)) of the average, so that the random start is soon
    forgotten. Integer buffers are not averaged; the module's own stay in place.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"train.ema={decay} must be at least 0 and below 1")
        self.decay = decay
        self.updates = 0
        self.weights = {name: tensor.clone() for name, tensor in floats(module).items()}

    def update(self, module: nn.Module) -> None:
        """Moves the average towards the module's present weights."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.weights.values()), list(floats(module).values()), 1 - keep)
        self.updates += 1

    def swapped(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside, the module holds the averages; after it, also after an exception, exactly what it held before."""
        return holding(module, self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Plain data for exact continuation; the tensors are the averages themselves, not copies."""
        return {"updates": self.updates, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` of an average over the same module gave."""
        weights = state["weights"]
        assert weights.keys() == self.weights.keys(), "the averages belong to another module"
        for name, average in self.weights.items():
            average.copy_(weights[name])
        self.updates = state["updates"]


@contextmanager
def holding(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the module's `floats` have the values of `weights`, of the same names; after it what they had before."""
    live = list(floats(module).values())
    kept = [tensor.clone() for tensor in live]
    torch._foreach_copy_(live, list(weights.values()))
    try:
        yield
    finally:
        torch._foreach_copy_(live, kept)


def floats(module: nn.Module) -> dict[str, Tensor]:
    """The floating tensors of the state dict, detached but sharing memory with the module."""
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
