"""Muon for hidden matrices (and filters), AdamW or SGD for everything else, behind one optimizer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ptft.optim.eager import without_dynamo

_OUTER = re.compile(r"(^|[._])(heads?|classifier|embed|embeddings?|pos|positions?|wte|wpe)([._]|$)")
"""Names of matrices that are no hidden ones: what reads the input or writes the answer."""


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) where it is made for, AdamW (Loshchilov & Hutter 2019) or SGD for the rest.

    Muon takes the weights of two axes, except heads and embeddings, which are told by their names; every other
    parameter (biases, norms, convolutions, positions) is of the rest. Muon's updates are scaled to the root mean square
    of AdamW's (Liu et al. 2025, section 2.2), so that one rate and one decay serve both.

    params: groups as `parameter_groups` makes them, with a `names` entry; a group may hold both kinds and
        is then split in two. `lr` and `weight_decay` count for groups that have none of their own.
    momentum, nesterov, ns_steps: Muon's. adjust_lr_fn: how its updates are scaled, as torch.optim.Muon has it.
    filters: Muon takes the weights of two-dimensional convolutions as well, as matrices [out, in * height * width].
    normalize: before its step each of Muon's weights gets the norm of a matrix of rows of norm 1.
    rest: "adamw" with betas and eps, or "sgd" with rest_momentum and nesterov; both fused. rest_lr: their rate where it
        is not `lr`. Without a momentum nesterov counts for neither.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        filters: bool = False,
        normalize: bool = False,
        rest: str = "adamw",
        rest_lr: float | None = None,
        rest_momentum: float = 0.9,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-8,
        fused: bool = True,
    ) -> None:
        parameters = list(params)
        hidden, others = _part(parameters, filters, hidden=True), _part(parameters, filters, hidden=False)
        others = [_at_rate(group, 1.0 if rest_lr is None else rest_lr / lr) for group in others]
        self.normalize = normalize
        self._muon: Optimizer | None = None
        self._rest: Optimizer | None = None
        if hidden:
            flat = [{**group, "params": [_matrix(p) for p in group["params"]]} for group in hidden]
            self._muon = without_dynamo(torch.optim.Muon)(
                flat, lr, weight_decay, momentum, nesterov, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn
            )
            for group, real in zip(self._muon.param_groups, hidden, strict=True):
                group["params"] = real["params"]
        if others and rest == "sgd":
            ahead = nesterov and rest_momentum > 0  # which torch does not take without a momentum
            self._rest = without_dynamo(torch.optim.SGD)(
                others, lr, rest_momentum, weight_decay=weight_decay, nesterov=ahead, fused=fused
            )
        elif others:
            self._rest = without_dynamo(torch.optim.AdamW)(
                others, lr, (betas[0], betas[1]), eps, weight_decay, fused=fused
            )
        parts = [part for part in (self._muon, self._rest) if part is not None]
        defaults = {"lr": lr, "weight_decay": weight_decay}
        super().__init__([group for part in parts for group in part.param_groups], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both optimizers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Groups and state are handed over anew each time: load_state_dict puts new objects in the place of both.
        groups = list(self.param_groups)
        if self._muon is not None:
            count = len(self._muon.param_groups)
            self._step_hidden(self._muon, groups[:count])
            groups = groups[count:]
        if self._rest is not None:
            self._rest.param_groups, self._rest.state = groups, self.state
            self._rest.step()
        return loss

    def _step_hidden(self, muon: Optimizer, groups: list[dict[str, Any]]) -> None:
        """Muon's step on the weights as matrices, whose state is kept under the weights themselves."""
        pairs: list[tuple[Tensor, Tensor]] = []
        muon.param_groups, muon.state = [], defaultdict(dict)
        for group in groups:
            weights = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [_matrix(weight) for weight in weights]
            muon.param_groups.append({**group, "params": matrices})
            muon.state.update({matrix: self.state[weight] for weight, matrix in zip(weights, matrices, strict=True)})
            pairs += zip(weights, matrices, strict=True)
        if self.normalize and pairs:
            _normalize([matrix for _, matrix in pairs])
        muon.step()
        for weight, matrix in pairs:
            if matrix.data_ptr() != weight.data_ptr():  # channels-last weights are no matrix without a copy
                weight.copy_(matrix.view(weight.shape))
        muon.param_groups, muon.state = groups, defaultdict(dict)  # or the gradients would live on in the matrices


def _matrix(weight: Tensor) -> Tensor:
    """[out, ...] as [out, n] with its gradient: the same memory where the layout allows it. The order of columns is
    that of the axes whatever the layout, so that a saved momentum fits any."""
    matrix = weight.detach().flatten(1)
    if weight.grad is not None:
        matrix.grad = weight.grad.flatten(1)
    return matrix


def _normalize(matrices: list[Tensor]) -> None:
    """Each [m, n] to a Frobenius norm of the root of m, in place."""
    norms = torch._foreach_norm(matrices)
    torch._foreach_clamp_min_(norms, 1e-12)
    torch._foreach_div_(matrices, norms)
    torch._foreach_mul_(matrices, [len(matrix) ** 0.5 for matrix in matrices])


def _at_rate(group: dict[str, Any], factor: float) -> dict[str, Any]:
    """The group with all of its rates multiplied."""
    rates: dict[str, Any] = {key: group[key] * factor for key in ("lr", "lr_scale") if key in group}
    if "lr_scales" in group:
        rates["lr_scales"] = [scale * factor for scale in group["lr_scales"]]
    return {**group, **rates}


def _is_hidden(name: str, parameter: Tensor, filters: bool) -> bool:
    return (parameter.ndim == 2 or (filters and parameter.ndim == 4)) and _OUTER.search(name) is None


def _part(groups: Iterable[dict[str, Any]], filters: bool, *, hidden: bool) -> list[dict[str, Any]]:
    """The groups with only what Muon takes left in them, or only the rest; empty ones are dropped."""
    parts = []
    for group in groups:
        pairs = zip(group["names"], group["params"], strict=True)
        chosen = [(name, parameter) for name, parameter in pairs if _is_hidden(name, parameter, filters) == hidden]
        if chosen:
            names, parameters = zip(*chosen, strict=True)
            parts.append({**group, "params": list(parameters), "names": list(names)})
    return parts
