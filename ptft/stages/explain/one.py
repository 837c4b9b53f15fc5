"""One input explained: what speaks for its answer by every method, and how each explanation stands its tests.

Axes: U units of the input, R orders, K models with random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.marked import marks
from ptft.stages.explain import checks, methods
from ptft.stages.explain.asked import Asked, Found, Question
from ptft.stages.explain.integrated import integrated_gradients

METHODS = ("integrated_gradients", "grad_cam", "attention_rollout")
COARSE = 8
"""Steps of integrated gradients of models with random weights at most: these hardly bend on the way."""


@dataclass(frozen=True)
class Settings:
    """names: which methods; steps, orders: of integrated gradients and of random deletion; randomised: how many models
    with random weights; seed: of what is random."""

    names: Sequence[str]
    steps: int
    orders: int
    randomised: int
    seed: int


@dataclass(frozen=True)
class Begun:
    """An input whose answer is explained, before that is compared with what models with random weights mark.

    answered: whether the class that is explained is; raw: as it was read; units: of its positions, long [*P]; maps: of
    each method its values [*P]; marked: those of models with random weights, [U] each; lost: by how much, of each, the
    log-odds fall without it.
    """

    question: Question
    answered: bool
    raw: Tensor
    units: Tensor
    generator: torch.Generator
    maps: dict[str, Found]
    marked: dict[str, list[Tensor]] = field(default_factory=dict)
    lost: dict[str, list[float]] = field(default_factory=dict)

    @property
    def x(self) -> Tensor:
        """The input, prepared."""
        return self.question.x


def begin(asked: Asked, batch: Batch, target: int | None, spec: Spec, settings: Settings, number: int) -> Begun | None:
    """A raw batch of one example, explained; None where it has fewer than two parts to tell apart.

    target: the class to explain; None: the one that is answered. number: its place, which what is random follows from.
    """
    shown = marks.of(spec)
    with torch.no_grad():
        x = asked.backbone.inputs(batch)
        logits = asked.logits(x)
    raw = batch["input"][0]
    units = shown.units(raw, x, spec).to(x.device)
    if int(units.max()) < 1:
        return None
    target = asked.decided(logits) if target is None else target
    question = Question(x, shown.empty(x, units, spec), target, tuple(units.shape))
    generator = torch.Generator().manual_seed((settings.seed << 20) + number)
    tried = {name: apply(name, asked, question, settings.steps) for name in settings.names}
    answered = bool(asked.answered(logits)[target])
    maps = {name: found for name, found in tried.items() if found is not None}
    return Begun(question, answered, raw, units, generator, maps)


def mark_by(model: Asked, begun: Begun, settings: Settings) -> None:
    """What a model with random weights marks by each method, and how far its log-odds fall without that.

    One that finds nothing to mark counts as one whose parts are all worth the same.
    """
    for name, own in begun.maps.items():
        found = apply(name, model, begun.question, min(settings.steps, COARSE))
        marked = torch.zeros_like(own.values) if found is None else found.values.nan_to_num(0)
        values = checks.unit_values(marked, begun.units)
        order = checks.order_of(values, begun.generator).unsqueeze(0)
        deleted = checks.deletion(model, begun.question, begun.units, order, checks.FEW)
        begun.marked.setdefault(name, []).append(values)
        begun.lost.setdefault(name, []).extend(checks.falls(deleted, model.is_number)[1] if found else [])


def finish(asked: Asked, begun: Begun, spec: Spec, settings: Settings) -> dict[str, Any]:
    """What `explanations.json` says of an input: what was explained, and how each explanation stands its tests."""
    question, units = begun.question, begun.units
    orders = checks.random_orders(settings.orders, int(units.max()) + 1, begun.generator)
    random = checks.deletion(asked, question, units, orders.to(question.x.device))
    entries = []
    for name, found in begun.maps.items():
        values = checks.unit_values(found.values, units)
        maps = [values, *begun.marked.get(name, [])]
        said = _tested(asked, begun, maps, random.advantages, max(begun.lost.get(name, []), default=0.0))
        entries.append({"method": name, "gap": found.gap, "values": values.tolist(), **said})
    return {
        "target": spec.classes[question.target] if spec.classes else None,
        "answered": begun.answered,
        "belief": float(random.curves[0, 0]),
        "belief_of_empty": float(random.curves[0, -1]),
        "units": marks.of(spec).named(begun.raw, units, spec),
        "random": _described(random),
        "explanations": entries,
    }


def apply(name: str, asked: Asked, question: Question, steps: int) -> Found | None:
    """One of METHODS; None where the model has not what it needs."""
    if name == "integrated_gradients":
        return integrated_gradients(asked, question, steps)
    return methods.grad_cam(asked, question) if name == "grad_cam" else methods.attention_rollout(asked, question)


def _described(random: checks.Deletion) -> dict[str, Any]:
    """Random deletion, its mean and its spread over the orders."""
    return {
        "shares": [round(share / (checks.SHARES - 1), 4) for share in range(checks.SHARES)],
        "mean": random.curves.mean(0).tolist(),
        "deviation": random.curves.std(0, unbiased=False).tolist(),
        "area": float(random.areas.mean()),
        "area_deviation": float(random.areas.std(unbiased=False)),
    }


def _tested(asked: Asked, begun: Begun, values: list[Tensor], random: Tensor, lost: float) -> dict[str, Any]:
    """Its deletion, how like random weights it is, and what is wrong with it; the same is asked of each of these.

    values: the explanation's, then those of K models with random weights, [U] each. random: advantages of random orders
    [R]. lost: what models with random weights lose by their own at most, in log-odds.
    """
    orders = torch.stack([checks.order_of(each, begun.generator) for each in values])
    deleted = checks.deletion(asked, begun.question, begun.units, orders[:1])
    compared = checks.deletion(asked, begun.question, begun.units, orders[1:], checks.FEW) if len(values) > 1 else None
    advantages = torch.cat([each.advantages for each in (deleted, compared) if each])
    falls = [
        fall for each in (deleted, compared) if each for fall in zip(*checks.falls(each, asked.is_number), strict=True)
    ]
    by_chance = [checks.chance(advantage, random) for advantage in advantages.tolist()]
    beside = [_beside(number, values, advantages) for number in range(len(values))]
    why = [
        checks.reasons(p, untrained, *fall, lost, alike)
        for p, fall, (untrained, alike) in zip(by_chance, falls, beside, strict=True)
    ]
    return {
        "deletion": {
            "curve": deleted.curves[0].tolist(),
            "last": deleted.last[0].tolist(),
            "area": float(deleted.areas[0]),
            "advantage": float(deleted.advantages[0]),
            "p": by_chance[0],
        },
        "randomised": {
            "correlation": beside[0][1],
            "p": beside[0][0],
            "means_something": sum(not each for each in why[1:]),
            "of": len(why) - 1,
        },
        "means_something": not why[0],
        "reasons": why[0],
    }


def _beside(number: int, values: list[Tensor], advantages: Tensor) -> tuple[float | None, float | None]:
    """One of the explanations beside those of random weights that are not it: how often these are as good, and their
    rank correlation; None where there are none."""
    others = [place for place in range(1, len(values)) if place != number]
    if not others:
        return None, None
    alike = checks.likeness(values[number], [values[place] for place in others])
    return checks.chance(float(advantages[number]), advantages[others]), alike
