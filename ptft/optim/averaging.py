"""The mean of the weights of a run's last evaluations, tried as its result at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError


class Average:
    """The mean of the weights at the last `points` evaluations (Izmailov et al. 2018, "Averaging Weights Leads to Wider
    Optima"; of checkpoints: Vaswani et al. 2017, section 6.1).

    A running mean on the module's device, so it takes the memory of the weights once whatever `points` is. Which
    evaluations are the last ones follows from the budget; where that is raised on a resume the mean starts anew. The
    statistics of batch norms are averaged like the weights, not computed again: that would draw random views.
    """

    def __init__(self, module: nn.Module, points: int) -> None:
        self.points = points
        self.count = 0
        self.step = 0
        self.weights = {name: tensor.clone() for name, tensor in floats(module).items()}

    def see(self, module: nn.Module, step: int, total: int, every: int) -> None:
        """Take in an evaluated step of `total`, evaluated at multiples of `every` and at the end; each step once."""
        if step == self.step:
            return
        left = 0 if step >= total else math.ceil(total / every) - step // every
        self.count = self.count + 1 if left < self.points else 0
        self.step = step
        if self.count:
            own, new = list(self.weights.values()), list(floats(module).values())
            torch._foreach_lerp_(own, new, 1 / self.count)

    def swapped(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside, the module holds the mean; after it exactly what it held before."""
        return holding(module, self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Plain data for exact continuation; the tensors are the means themselves, not copies."""
        return {"count": self.count, "step": self.step, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` of a mean over the same module gave."""
        for name, mean in self.weights.items():
            mean.copy_(state["weights"][name])
        self.count, self.step = state["count"], state["step"]


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
