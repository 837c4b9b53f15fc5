"""What the loop does to weights besides the optimizer's step: groups, freezing, clipping, rates, averages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ptft.core import Backbone, Objective
from ptft.errors import ConfigError


def parameter_groups(
    objective: Objective, *, lr: float, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """The trainable parameters, each in exactly one group of equal rate and decay, in the order of the modules.

    A group holds `params`, their `names`, `weight_decay`, `base_lr` (= `lr` as given), `lr_scale` and the rate that
    follows, `lr`. Parameters of at most one axis (biases, norms) and those the backbone names in `no_weight_decay` do
    not decay. With `layer_decay` d, layer i of the backbone's L (from 0) has the scale d ** (L - i), everything
    outside the backbone 1 (Clark et al. 2020, appendix B; Bao et al. 2021, appendix). The backbone's own `lr_scales`
    count as well.

    Raises ConfigError naming `finetune.layer_decay` unless it lies above 0 and at most at 1.
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ConfigError(f"finetune.layer_decay={layer_decay} must be above 0 and at most 1")
    scales = {} if layer_decay is None else _layer_scales(objective.backbone, layer_decay)
    fixed, own = _without_decay(objective), objective.backbone.lr_scales
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in objective.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = scales.get(parameter, 1.0) * own.get(name.removeprefix("backbone."), 1.0)
        decay = 0.0 if parameter in fixed else weight_decay
        rates = {"lr": lr * scale, "base_lr": lr, "lr_scale": scale, "weight_decay": decay}
        group = groups.setdefault((scale, decay), {"params": [], "names": [], **rates})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _layer_scales(backbone: Backbone, layer_decay: float) -> dict[nn.Parameter, float]:
    layers = backbone.layers()
    scales = dict.fromkeys(backbone.parameters(), layer_decay ** len(layers))
    for index, layer in enumerate(layers):
        for module in layer:
            scales.update(dict.fromkeys(module.parameters(), layer_decay ** (len(layers) - index)))
    return scales


def _without_decay(objective: Objective) -> set[nn.Parameter]:
    named = objective.backbone.no_weight_decay
    listed = {parameter for name, parameter in objective.backbone.named_parameters() if name in named}
    return listed | {parameter for parameter in objective.parameters() if parameter.ndim <= 1}


def freeze(objective: Objective, train: str) -> None:
    """Freezes what `finetune.train` leaves out: no gradients, and evaluation mode through `objective.frozen`.

    train: "all" freezes nothing, "head" the whole backbone, "last:N" all but the last N layers of the backbone. What
    is in no layer goes with the first one.

    Raises ConfigError naming `finetune.train` and the choices.
    """
    backbone = objective.backbone
    layers = backbone.layers()
    assert layers, "a backbone has at least one layer"
    count = _layers_to_train(train, len(layers))
    if count == len(layers):
        objective.frozen = []
        return
    learning = {part for layer in layers[len(layers) - count :] for module in layer for part in module.modules()}
    # eval() reaches all that a module holds, so only modules that hold nothing of the learning layers may be listed.
    objective.frozen = [module for module in backbone.modules() if learning.isdisjoint(module.modules())]
    trainable = {parameter for module in learning for parameter in module.parameters(recurse=False)}
    for parameter in backbone.parameters():
        if parameter not in trainable:
            parameter.requires_grad_(False)


def _layers_to_train(train: str, layers: int) -> int:
    match = re.fullmatch(r"last:(\d+)", str(train))
    if match and 1 <= int(match[1]) <= layers:
        return int(match[1])
    choices = {"all": layers, "head": 0}
    if train not in choices:
        span = f"this backbone has {layers} layers; choose all, head, or last:1 to last:{layers}"
        raise ConfigError(f"finetune.train={train} is not possible: {span}")
    return choices[train]


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
