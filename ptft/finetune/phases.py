"""Phases of finetuning: what learns when, and at which rate.

They are a pure function of the step, so that a continued run needs no state of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ptft.core import Backbone, Objective
from ptft.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    until: where it ends, as a share of the run's steps.
    train: what of the backbone learns, beside everything outside it: "all", "head" (nothing), "last:N" (its last N
        layers), "norm" (scales and shifts of its norms; Frankle et al. 2021), "bias" (its biases; Ben Zaken et al.
        2022).
    layer_decay: layer i of the backbone's L (from 0) learns at d ** (L - i) of the rate, and what is in no layer as
        the first one (Clark et al. 2020, appendix B; Bao et al. 2021, appendix); None: all at the same.
    """

    until: float = 1.0
    train: str = "all"
    layer_decay: float | None = None


def planned(train: str | Iterable[Mapping[str, Any]], layer_decay: float | None = None) -> list[Phase]:
    """`finetune.train` as phases: one for a word; `layer_decay` counts for those that have none of their own."""
    if isinstance(train, str):
        return [Phase(1.0, train, layer_decay)]
    return [Phase(**{"layer_decay": layer_decay, **part}) for part in train]


class Phases:
    """The phases of a run over one objective.

    Built once, while `requires_grad` says what may learn at all; then it shows what the last phase needs until `enter`
    is called. adapters: modules that learn in the place of the whole backbone.
    scales: of every parameter that learns at some time, the factor of its rate in each phase, 0 where it is frozen.

    Raises ConfigError naming `finetune.train` or `finetune.layer_decay` where the backbone has no such part.
    """

    def __init__(
        self, objective: Objective, phases: Sequence[Phase] = (Phase(),), adapters: Sequence[nn.Module] = ()
    ) -> None:
        self.objective, self.phases = objective, list(phases)
        trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        parts = [_part(objective.backbone, phase.train, adapters) for phase in self.phases]
        rates = [_rates(objective, phase.layer_decay) for phase in self.phases]
        inside = set(objective.backbone.parameters())
        scales = {
            parameter: tuple(
                rate[parameter] if parameter not in inside or parameter in learning else 0.0
                for (learning, _), rate in zip(parts, rates, strict=True)
            )
            for parameter in trainable
        }
        self.scales = {parameter: factors for parameter, factors in scales.items() if any(factors)}
        self.trainable = trainable
        always = list(objective.frozen)
        self.frozen = [[*always, *modules] for _, modules in parts]
        self.present: int | None = None
        self._apply(len(self.phases) - 1)

    def follow(self, new: Mapping[nn.Parameter, nn.Parameter]) -> None:
        """Other parameters took the place of these, each of its own."""
        self.scales = {new[parameter]: factors for parameter, factors in self.scales.items()}
        self.trainable = [new[parameter] for parameter in self.trainable]

    def at(self, step: float, steps: float) -> int:
        """The number of the phase that optimizer step `step` (from 0) of `steps` belongs to."""
        # A quotient is rounded as the typed share is, so that step 7 of 100 has reached 0.07.
        return min(sum(step / steps >= phase.until for phase in self.phases), len(self.phases) - 1)

    def enter(self, optimizer: Optimizer, step: int, steps: int) -> None:
        """Let learn what learns at this step, and only that: what is frozen has no gradient, so nothing moves it.

        A number of steps that is estimated may waver; a phase that was left is not entered again.
        """
        index = max(self.at(step, steps), self.present or 0)
        if index == self.present:
            return
        self.present = index
        if len(self.phases) > 1:
            self._apply(index)
            for group in optimizer.param_groups:
                group["lr_scale"] = group["lr_scales"][index]

    def _apply(self, index: int) -> None:
        for parameter in self.trainable:
            parameter.requires_grad_(parameter in self.scales and self.scales[parameter][index] > 0)
        self.objective.frozen = self.frozen[index]
        self.objective.train(self.objective.training)

    def spans(self) -> list[tuple[float, float]]:
        """Where each phase begins and ends, as shares of the run."""
        ends = [phase.until for phase in self.phases]
        return list(zip([0.0, *ends[:-1]], ends, strict=True))


Part = tuple[set[nn.Parameter], list[nn.Module]]
"""Parameters that learn, and the modules that stay in evaluation mode meanwhile."""


def _part(backbone: Backbone, train: str, adapters: Sequence[nn.Module]) -> Part:
    if train == "all":
        return _of(backbone, adapters or [backbone])
    if train == "head":
        return set(), list(backbone.modules())
    if train == "norm":
        return _of(backbone, _some(_norms(backbone), train, "norm layers"))
    if train == "bias":
        biases = {p for name, p in backbone.named_parameters() if re.search(r"(^|[._])bias$", name)}
        return set(_some(biases, train, "biases")), list(backbone.modules())
    layers = backbone.layers()
    assert layers, "a backbone has at least one layer"
    count = _count(train, len(layers))
    if count == len(layers):
        return _of(backbone, [backbone])
    return _of(backbone, [module for layer in layers[len(layers) - count :] for module in layer])


def _of(backbone: Backbone, modules: Iterable[nn.Module]) -> Part:
    """These modules learn, with all that they hold; eval() reaches all that a module holds, so only modules that hold
    none of them can stay in evaluation mode."""
    learning = {part for module in modules for part in module.modules()}
    frozen = [module for module in backbone.modules() if learning.isdisjoint(module.modules())]
    return {parameter for module in learning for parameter in module.parameters(recurse=False)}, frozen


def _norms(backbone: Backbone) -> list[nn.Module]:
    """Told by the name of their class, as every library has its own; containers that are named so own nothing."""
    own = (m for m in backbone.modules() if any(p.requires_grad for p in m.parameters(recurse=False)))
    return [module for module in own if "norm" in type(module).__name__.lower()]


def _some(parts: Collection[Any], train: str, what: str) -> Collection[Any]:
    if not parts:
        raise ConfigError(f"finetune.train={train} is not possible: this backbone has no {what} that learn")
    return parts


def _count(train: str, layers: int) -> int:
    match = re.fullmatch(r"last:(\d+)", train)
    if match and 1 <= int(match[1]) <= layers:
        return int(match[1])
    span = f"this backbone has {layers} layers; choose all, head, norm, bias, or last:1 to last:{layers}"
    raise ConfigError(f"finetune.train={train} is not possible: {span}")


def _rates(objective: Objective, layer_decay: float | None) -> dict[nn.Parameter, float]:
    """Of every parameter, the factor of its rate: its layer's, times its own."""
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ConfigError(f"finetune.layer_decay={layer_decay} must be above 0 and at most 1")
    layered = {} if layer_decay is None else dict(_layer_scales(objective.backbone, layer_decay))
    own = {**objective.lr_scales, **{f"backbone.{name}": by for name, by in objective.backbone.lr_scales.items()}}
    return {
        parameter: layered.get(parameter, 1.0) * own.get(name, 1.0) for name, parameter in objective.named_parameters()
    }


def _layer_scales(backbone: Backbone, layer_decay: float) -> Iterator[tuple[nn.Parameter, float]]:
    layers = backbone.layers()
    for parameter in backbone.parameters():
        yield parameter, layer_decay ** len(layers)
    for index, layer in enumerate(layers):
        for module in layer:
            for parameter in module.parameters():
                yield parameter, layer_decay ** (len(layers) - index)
