"""Hand-over: the backbone of an earlier run into a new objective, and a report of every tensor's fate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ptft.core import Objective
from ptft.errors import CheckpointError

PREFIX = "backbone."


@dataclass
class Transfer:
    """Names of tensors and their number of values; `why` gives the reason for those that were not taken."""

    loaded: dict[str, int] = field(default_factory=dict)
    reinitialised: dict[str, int] = field(default_factory=dict)
    resized: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        kinds = {
            "loaded": self.loaded,
            "reinitialised": self.reinitialised,
            "resized": self.resized,
            "ignored": self.ignored,
        }
        return {kind: {"parameters": sum(sizes.values()), "tensors": sizes} for kind, sizes in kinds.items()}

    def lines(self) -> list[str]:
        """What a reader needs: totals for what was loaded, every name for the rest."""
        said = [f"loaded    {_total(self.loaded)} of the backbone"]
        for kind, sizes in (("resized", self.resized), ("new", self.reinitialised), ("ignored", self.ignored)):
            if sizes:
                reason = f": {self.why}" if kind == "new" and self.why else ""
                said.append(f"{kind:<9} {_total(sizes)} ({_names(sizes)}){reason}")
        return said


def _total(sizes: dict[str, int]) -> str:
    tensors = "tensor" if len(sizes) == 1 else "tensors"
    return f"{sum(sizes.values()):,} values in {len(sizes)} {tensors}"


def _names(sizes: dict[str, int]) -> str:
    names = list(sizes)
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"… {len(names) - 3} more"])


def take_over(objective: Objective, weights: dict[str, Tensor], *, whole: bool, why: str, origin: str) -> Transfer:
    """Load the backbone (and with `whole` the rest of the objective) from `weights`, in place.

    Every tensor of the backbone must be there and fit, else CheckpointError: a partly loaded backbone is no start.
    """
    named = _as_backbone(objective, weights)
    backbone, rest = _split(named)
    backbone, resized = objective.backbone.adapt(backbone)
    _fits(objective.backbone.state_dict(), backbone, origin)
    own = objective.backbone.state_dict()
    objective.backbone.load_state_dict({name: backbone[name] for name in own})
    heads = {name: value for name, value in objective.state_dict().items() if not name.startswith(PREFIX)}
    taken = {name: rest[name] for name in heads if whole and name in rest and rest[name].shape == heads[name].shape}
    if whole and len(taken) < len(heads):
        raise CheckpointError(
            f"{origin}: its head does not fit ({', '.join(heads.keys() - taken.keys())}); use finetune.head=new"
        )
    objective.load_state_dict({**objective.state_dict(), **taken})
    ignored = {
        **{f"{PREFIX}{n}": v for n, v in backbone.items() if n not in own},
        **{n: v for n, v in rest.items() if n not in taken},
    }
    return Transfer(
        loaded=_sizes({**{f"{PREFIX}{n}": own[n] for n in own if n not in resized}, **taken}),
        reinitialised=_sizes({n: v for n, v in heads.items() if n not in taken}),
        resized=_sizes({f"{PREFIX}{n}": own[n] for n in resized}),
        ignored=_sizes(ignored),
        why=why,
    )


def _sizes(tensors: dict[str, Tensor]) -> dict[str, int]:
    return {name: tensor.numel() for name, tensor in tensors.items()}


def _split(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    backbone = {name[len(PREFIX) :]: value for name, value in weights.items() if name.startswith(PREFIX)}
    return backbone, {name: value for name, value in weights.items() if not name.startswith(PREFIX)}


def _as_backbone(objective: Objective, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights from elsewhere know no `backbone.`: find the prefix under which the most names agree."""
    if any(name.startswith(PREFIX) for name in weights):
        return weights
    own = objective.backbone.state_dict()
    first = {name.split(".", 1)[0] for name in own if "." in name}
    prefixes = ["", *(f"{part}." for part in sorted(first))]
    best = max(prefixes, key=lambda prefix: sum(f"{prefix}{name}" in own for name in weights))
    named = {f"{best}{name}": value for name, value in weights.items()}
    return {f"{PREFIX}{name}" if name in own else name.removeprefix(best): value for name, value in named.items()}


def _fits(own: dict[str, Tensor], given: dict[str, Tensor], origin: str) -> None:
    missing = [name for name in own if name not in given]
    if missing:
        raise CheckpointError(
            f"{origin}: {len(missing)} of the backbone's {len(own)} tensors are not in it "
            f"({_names(dict.fromkeys(missing, 0))}); "
            "model= must name the model it was made with"
        )
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            raise CheckpointError(
                f"{origin}: {PREFIX}{name} is {_shape(given[name])} there and {_shape(tensor)} here; "
                "drop model=, dataset.size= and dataset.channels=, or choose those it was trained with"
            )


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
