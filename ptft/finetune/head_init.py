"""A new head before the first step: as it was made, at zero, or fitted to the features of the backbone as it is.

Axes: N examples, D width, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Batch, Objective
from ptft.errors import ConfigError
from ptft.optim.eager import without_dynamo

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Penalties tried, the strongest first: each fit starts from the one before."""
ON_CPU = 2**25
"""Multiplications in a product of features and weights up to which the CPU is quicker than launching it on a GPU."""
HELD_OUT = 5
"""Every so manyth example is left out of the fits that choose among them."""

Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


def fit_head(
    objective: Objective, train: Iterable[Batch], val: Iterable[Batch] | None, autocast: Autocast
) -> tuple[str, int]:
    """Fit the head to convergence, in place: the linear probe, on features that are computed once.

    The penalty is the one with the least loss on `val`, without it on every fifth training example. What to say of it,
    and of how many examples features were computed.
    """
    head = objective.linear_head()
    assert head is not None
    features, labels = features_of(objective, head, train, autocast)
    held_out = features_of(objective, head, val, autocast) if val is not None else None
    weight, bias, strength = fit(features, labels, head.out_features, held_out)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    chosen = f"{len(held_out[1]):,} of val" if held_out else f"every {HELD_OUT}th of them"
    note = (
        f"the head is fitted to convergence, to the features of {len(labels):,} training examples as the backbone has "
        f"them, with an L2 penalty of {strength:g}, chosen on {chosen}; finetune.probe=steps trains it in steps instead"
    )
    return note, len(labels)


def start_head(how: str, objective: Objective, batches: Iterable[Batch] | None, autocast: Autocast) -> list[str]:
    """Give the new head its start, in place; what to say of it.

    how: "random" leaves it as it is, "zero" makes every answer equal, "probe" fits it to `batches`, the training part
        in its order: the linear probe before the finetune of LP-FT (Kumar et al. 2022, section 3.4); without batches
        (a dry run) it stays as it is.
    Raises ConfigError naming `finetune.head_init` for an objective that has no `head: nn.Linear` (probe: over one
    vector and one class an example) with a bias.
    """
    if how == "random":
        return []
    head = getattr(objective, "head", None)
    labelled = how == "zero" or "label" in objective.needs
    if not isinstance(head, nn.Linear) or head.bias is None or not labelled:
        name = type(objective).__name__.lower()
        raise ConfigError(f"finetune.head_init={how}: objective={name} has no linear head for it; choose random")
    if how == "zero":
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return ["the new head starts at zero"]
    if batches is None:
        return ["the new head will be fitted to the features of the training examples"]
    features, labels = features_of(objective, head, batches, autocast)
    weight, bias, strength = fit(features, labels, head.out_features)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    accuracy = float((F.linear(features, head.weight, head.bias).argmax(1) == labels).float().mean())
    fitted = f"the new head is fitted to the features of {len(labels):,} training examples"
    return [f"{fitted}: train accuracy {accuracy:.4f}, with an L2 penalty of {strength:g}"]


@torch.no_grad()
def features_of(
    objective: Objective, head: nn.Linear, batches: Iterable[Batch], autocast: Autocast
) -> tuple[Tensor, Tensor]:
    """What the head is given in evaluation, float32 [N, D], and the labels, long [N]."""
    seen: list[Tensor] = []
    features, labels, training = [], [], objective.training
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective.eval()
    try:
        for batch in batches:
            with autocast():
                objective(batch)
            # The first look at an example, where there are several.
            inputs, label = seen[0].float(), batch["label"]
            if inputs.ndim != 2 or label.ndim != 1 or label.is_floating_point():
                raise ConfigError(
                    f"finetune.head_init=probe: objective={type(objective).__name__.lower()} asks for other than one "
                    "class an example; choose random or zero"
                )
            features.append(inputs)
            labels.append(label)
            seen.clear()
    finally:
        handle.remove()
        objective.train(training)
    return torch.cat(features), torch.cat(labels)


def fit(
    features: Tensor, labels: Tensor, num_classes: int, held_out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, float]:
    """Multinomial logistic regression on [N, D]: weight [K, D], bias [K], and the penalty that was chosen.

    The penalty strength / 2 * |W|^2 on standardised features is the one with the least loss on `held_out`, features
    and labels as well; without them on every fifth example, of fits to the others. Then all are fitted. Nothing in it
    is random. Small ones are computed, and given, on the CPU: each of the many short steps waits for the one before.
    """
    if features.numel() * num_classes <= ON_CPU:
        features, labels = features.cpu(), labels.cpu()
        held_out = held_out and (held_out[0].cpu(), held_out[1].cpu())
    mean, std = features.mean(0), features.std(0, correction=0)
    scaled = (features - mean) / std.clamp(min=1e-6)
    out = torch.arange(len(labels), device=labels.device) % HELD_OUT == 0
    strength = STRENGTHS[1]
    if held_out is not None:
        strength = _chosen(scaled, labels, (held_out[0] - mean) / std.clamp(min=1e-6), held_out[1], num_classes)
    elif len(labels) > HELD_OUT:
        strength = _chosen(scaled[~out], labels[~out], scaled[out], labels[out], num_classes)
    solution = _solve(scaled, labels, strength, features.new_zeros(num_classes, features.shape[1] + 1))
    weight = solution[:, :-1] / std.clamp(min=1e-6)
    return weight, solution[:, -1] - weight @ mean, strength


def _chosen(x: Tensor, y: Tensor, x_out: Tensor, y_out: Tensor, num_classes: int) -> float:
    solution, losses = x.new_zeros(num_classes, x.shape[1] + 1), {}
    for strength in STRENGTHS:
        solution = _solve(x, y, strength, solution)
        losses[strength] = float(F.cross_entropy(F.linear(x_out, solution[:, :-1], solution[:, -1]), y_out))
    return min(losses, key=lambda strength: losses[strength])


def _solve(x: Tensor, y: Tensor, strength: float, start: Tensor) -> Tensor:
    """Weight and bias [K, D + 1] of the least mean loss and penalty, by L-BFGS (Liu & Nocedal 1989)."""
    parameters = start.clone().requires_grad_()
    solver = without_dynamo(torch.optim.LBFGS)(
        [parameters], max_iter=300, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        weight, bias = parameters[:, :-1], parameters[:, -1]
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + strength / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return parameters.detach()
