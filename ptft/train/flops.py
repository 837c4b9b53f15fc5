"""Floating point operations of a training step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ptft.core import Examples, Objective


def flops_per_example(objective: Objective, examples: Examples, device: torch.device) -> int:
    """Floating point operations of a training step per example: three times those of the forward pass.

    The backward pass counts twice the forward one (Kaplan et al. 2020, section 2.1). Of examples of uneven length it is
    one in the middle; what an evaluation computes besides, the features of a bank say, is not counted.
    """
    chosen = 0 if examples.lengths is None else int(examples.lengths.argsort()[len(examples) // 2])
    example = {name: value.to(device) for name, value in examples.take(torch.tensor([chosen])).items()}
    objective.eval()
    counted, unmeasured = _Flops(), getattr(objective, "unmeasured", nullcontext)
    with unmeasured(), counted, torch.no_grad():
        objective(example)
    objective.train()
    return 3 * counted.total


class _Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Two operations for each product that matrix products, convolutions and attention sum up; the rest is little.

    torch's own counter imports its compiler, a second at the end of every run, and leaves a CPU's attention out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and to say that it should not be imports the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            self.total += 2 * out.numel() * args[-1].shape[-2]
        elif name == "convolution":
            self.total += 2 * out.numel() * args[1][0].numel()
        elif name.startswith("_scaled_dot_product"):
            query, key = args[:2]
            self.total += 4 * query.numel() * key.shape[-2]
        return out
