"""One input explained: what speaks for its answer by every method, and how each explanation stands its tests.

Axes: U units of the input, R orders, K models with random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.marked import marks
from ptft.stages.explain import checks, methods
from ptft.stages.explain.asked import Asked, Found, Question
from ptft.stages.explain.integrated import integrated_gradients

METHODS = ("integrated_gradients", "grad_cam", "attention_rollout")


@dataclass(frozen=True)
class Settings:
    """names: which methods; steps, orders: of integrated gradients and of random deletion; seed: of what is random."""

    names: Sequence[str]
    steps: int
    orders: int
    seed: int


@dataclass(frozen=True)
class Explained:
    """row: what `explanations.json` says; raw: as it was read; x: prepared; maps: of each method its values [*P]."""

    row: dict[str, Any]
    raw: Tensor
    x: Tensor
    maps: dict[str, Tensor]


def explain(
    asked: Asked,
    untrained: Sequence[Asked],
    batch: Batch,
    target: int | None,
    spec: Spec,
    settings: Settings,
    number: int,
) -> Explained | None:
    """A raw batch of one example, explained; None where it has fewer than two parts to tell apart.

    target: the class to explain; None: the one that is predicted. number: its place, which what is random follows from.
    """
    shown = marks.of(spec)
    with torch.no_grad():
        x = asked.backbone.inputs(batch)
        logits = asked.logits(x)
    raw = batch["input"][0]
    units = shown.units(raw, x, spec).to(x.device)
    size = int(units.max()) + 1
    if size < 2:
        return None
    target = int(logits[0].argmax()) if target is None else target
    question = Question(x, shown.empty(x, units, spec), target, tuple(units.shape))
    generator = torch.Generator().manual_seed((settings.seed << 20) + number)
    random = checks.deletion(
        asked, question, units, checks.random_orders(settings.orders, size, generator).to(x.device)
    )
    before, after = (float(random.curves[0, place]) for place in (0, -1))
    row: dict[str, Any] = {
        "target": _name(spec, target),
        "belief": before,
        "belief_of_empty": after,
        "units": shown.named(raw, units, spec),
        "random": _described(random),
        "explanations": [],
    }
    maps = {}
    for name in settings.names:
        found = apply(name, asked, question, settings.steps)
        if found is None:
            continue
        maps[name] = found.values
        values = checks.unit_values(found.values, units)
        compared, lost = _by_random_weights(name, untrained, question, units, settings.steps, generator)
        said = _tested(asked, question, units, [values, *compared], random.areas, lost, generator)
        row["explanations"].append({"method": name, "gap": found.gap, "values": values.tolist(), **said})
    return Explained(row, raw, x, maps)


def apply(name: str, asked: Asked, question: Question, steps: int) -> Found | None:
    """One of METHODS; None where the model has not what it needs."""
    if name == "integrated_gradients":
        return integrated_gradients(asked, question, steps)
    return methods.grad_cam(asked, question) if name == "grad_cam" else methods.attention_rollout(asked, question)


def _name(spec: Spec, target: int) -> str | None:
    """The class; None of a number."""
    return spec.classes[target] if spec.classes else None


def _described(random: checks.Deletion) -> dict[str, Any]:
    """Random deletion, its mean and its spread over the orders."""
    return {
        "shares": [round(share / (checks.SHARES - 1), 4) for share in range(checks.SHARES)],
        "mean": random.curves.mean(0).tolist(),
        "deviation": random.curves.std(0, unbiased=False).tolist(),
        "area": float(random.areas.mean()),
        "area_deviation": float(random.areas.std(unbiased=False)),
    }


def _tested(
    asked: Asked,
    question: Question,
    units: Tensor,
    values: list[Tensor],
    random: Tensor,
    lost: float,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Its deletion, how like random weights it is, and what is wrong with it; the same is asked of each of these.

    values: the explanation's, then those of K models with random weights, [U] each. random: areas [R]. lost: what
    models with random weights lose by their own at most, in log-odds.
    """
    orders = torch.stack([checks.order_of(each, generator) for each in values])
    deleted = checks.deletion(asked, question, units, orders)
    areas = deleted.areas.tolist()
    falls = zip(*checks.falls(deleted, asked.is_number), strict=True)
    why = [_reasons(number, values, areas, random, (*fall, lost)) for number, fall in enumerate(falls)]
    return {
        "deletion": {"curve": deleted.curves[0].tolist(), "area": areas[0], "p": checks.chance(areas[0], random)},
        "randomised": {
            "correlation": checks.likeness(values[0], values[1:]),
            "area": min(areas[1:], default=None),
            "means_something": sum(not each for each in why[1:]),
            "of": len(why) - 1,
        },
        "means_something": not why[0],
        "reasons": why[0],
    }


def _by_random_weights(
    name: str, untrained: Sequence[Asked], question: Question, units: Tensor, steps: int, generator: torch.Generator
) -> tuple[list[Tensor], float]:
    """What models with random weights mark, [U] each; and how far, at most, the log-odds of one fall without it."""
    marked, lost = [], [0.0]
    for model in untrained:
        found = apply(name, model, question, steps)
        if found is not None:
            values = checks.unit_values(found.values.nan_to_num(0), units)
            deleted = checks.deletion(model, question, units, checks.order_of(values, generator).unsqueeze(0))
            marked.append(values)
            lost += checks.falls(deleted, model.is_number)[1]
    return marked, max(lost)


def _reasons(
    number: int, values: list[Tensor], areas: list[float], random: Tensor, falls: tuple[float, float, float]
) -> list[str]:
    """Why one of the explanations means nothing, beside all of random weights that are not it."""
    others = [place for place in range(1, len(values)) if place != number]
    best = min((areas[place] for place in others), default=None)
    alike = checks.likeness(values[number], [values[place] for place in others])
    return checks.reasons(areas[number], checks.chance(areas[number], random), *falls, best, alike)
