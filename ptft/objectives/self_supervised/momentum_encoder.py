"""A momentum teacher: a copy of the learning modules that follows them slowly and gets no gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ptft.runtime.together.alone import own


class Teacher(nn.ModuleDict):
    """Copies of `students`, by their names. A child of the objective, so they are saved, averaged and moved with it.

    In training mode BatchNorm normalises with the batch and keeps running statistics of what the teacher sees, as the
    student's does; only parameters follow (Grill et al. 2020, section 3.1; Caron et al. 2021, section 3.1).

    momentum: how much of itself a copy keeps at the first step; rises to 1 at the last.
    """

    def __init__(self, students: Mapping[str, nn.Module], momentum: float) -> None:
        super().__init__({name: copy.deepcopy(student) for name, student in students.items()})
        self.momentum = momentum
        self.requires_grad_(False)

    @torch.no_grad()
    def begin(self, students: Mapping[str, nn.Module]) -> None:
        """Become equal to the students, for example after weights of a checkpoint were put into them."""
        for name, student in students.items():
            self[name].load_state_dict(student.state_dict())

    @torch.no_grad()
    def follow(self, students: Mapping[str, nn.Module], step: int, steps: int) -> None:
        """Move after optimizer step `step` of `steps`: parameter = m * parameter + (1 - m) * the student's."""
        mine, theirs = list[Tensor](), list[Tensor]()
        for name, student in students.items():
            mine += self[name].parameters()
            theirs += student.parameters()
        torch._foreach_lerp_(own(mine), own(theirs), 1 - cosine_momentum(self.momentum, step, steps))


def cosine_momentum(base: float, step: int, steps: int) -> float:
    """From `base` at step 0 to 1 at `steps`: 1 - (1 - base) * (cos(pi * step / steps) + 1) / 2 (Grill et al. 2020)."""
    return 1 - (1 - base) * (math.cos(math.pi * min(step / max(steps, 1), 1)) + 1) / 2
