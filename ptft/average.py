"""The mean of the weights of a run's last evaluations, tried as its result at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ptft.optim import floats, holding


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
