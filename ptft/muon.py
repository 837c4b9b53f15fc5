"""Muon for the hidden matrices and AdamW for everything else, behind one optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptft.eager import eager

_OUTER = re.compile(r"(^|[._])(heads?|classifier|embed|embeddings?|pos|positions?|wte|wpe)([._]|$)")
"""Names of matrices that are no hidden ones: what reads the input or writes the answer."""


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) where it is made for, AdamW (Loshchilov & Hutter 2019) for the rest.

    Muon takes the weights of two axes, except heads and embeddings, which are told by their names; every other
    parameter (biases, norms, convolutions, positions) goes to a fused AdamW. Muon's updates are scaled to the root
    mean square of AdamW's (Liu et al. 2025, section 2.2), so that one rate and one decay serve both.

    params: groups as `ptft.optim.parameter_groups` makes them, with a `names` entry; a group may hold both kinds and
        is then split in two. `lr` and `weight_decay` count for groups that have none of their own.
    momentum, nesterov, ns_steps: Muon's. betas, eps, fused: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        fused: bool = True,
    ) -> None:
        given = list(params)
        matrices, others = _part(given, matrices=True), _part(given, matrices=False)
        self._parts: list[Optimizer] = []
        if matrices:
            muon = eager(torch.optim.Muon)(
                matrices, lr, weight_decay, momentum, nesterov, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
            )
            self._parts.append(muon)
        if others:
            adamw = eager(torch.optim.AdamW)(others, lr, (betas[0], betas[1]), eps, weight_decay, fused=fused)
            self._parts.append(adamw)
        self._sizes = [len(part.param_groups) for part in self._parts]
        defaults = {"lr": lr, "weight_decay": weight_decay}
        super().__init__([group for part in self._parts for group in part.param_groups], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both optimizers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = iter(self.param_groups)
        for part, size in zip(self._parts, self._sizes, strict=True):
            # Handed over anew each time: load_state_dict puts new objects in the place of both.
            part.param_groups = [next(groups) for _ in range(size)]
            part.state = self.state
            part.step()
        return loss


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and _OUTER.search(name) is None


def _part(groups: Iterable[dict[str, Any]], *, matrices: bool) -> list[dict[str, Any]]:
    """The groups with only the hidden matrices left in them, or only the rest; empty ones are dropped."""
    parts = []
    for group in groups:
        pairs = zip(group["names"], group["params"], strict=True)
        chosen = [(name, parameter) for name, parameter in pairs if _is_hidden_matrix(name, parameter) == matrices]
        if chosen:
            names, parameters = zip(*chosen, strict=True)
            parts.append({**group, "params": list(parameters), "names": list(names)})
    return parts
