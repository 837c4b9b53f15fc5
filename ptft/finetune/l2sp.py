"""L2-SP: a penalty on the distance to the pretrained weights, in the place of weight decay."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ptft.runtime.together.alone import current, own


class L2SP:
    """The penalty on the distance to the weights that a finetune started from (Li et al. 2018, equation 2).

    The penalty strength / 2 * |w - w0|^2 on the backbone belongs to the mean loss, so its gradient joins the others
    before they are clipped. In the paper's words strength is alpha; beta is the weight decay of what is new.
    """

    def __init__(self, parameters: Mapping[str, Tensor], strength: float) -> None:
        self.parameters, self.strength = dict(parameters), strength
        self.start = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def add_gradient(self, count: Tensor) -> None:
        """Adds the penalty's gradient to those that are there, which are summed over `count`."""
        learning = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        if not learning:
            return
        away = torch._foreach_sub(own(self.parameters[n] for n in learning), own(self.start[n] for n in learning))
        torch._foreach_mul_(away, self.strength * count)
        gradients = (gradient for n in learning if (gradient := self.parameters[n].grad) is not None)
        torch._foreach_add_(own(gradients), away)

    def state_dict(self) -> dict[str, Tensor]:
        """The weights at the start, for a continuation that doesn't need the file they came from."""
        return dict(self.start)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        assert state.keys() == self.start.keys(), "the start belongs to another module"
        for name, value in state.items():
            self.start[name].copy_(current().part(value, self.start[name]))
