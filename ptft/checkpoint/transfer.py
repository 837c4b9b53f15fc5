"""Transfer: the backbone of an earlier run into a new objective, and a report of every tensor's fate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ptft.checkpoint.state_dict import AVERAGED
from ptft.core import Backbone, Objective, Spec
from ptft.errors import CheckpointError, shortened

PREFIX = "backbone."
COUNTER = "num_batches_tracked"
"""What batch normalisation counts and does not compute with; weights of old versions of torch may lack it."""


@dataclass
class Transfer:
    """Names of tensors and their number of values; `why` gives the reason for those that were not taken.

    note: which part of the file the backbone was, where more than one would have fitted.
    """

    loaded: dict[str, int] = field(default_factory=dict)
    reinitialised: dict[str, int] = field(default_factory=dict)
    resized: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    why: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        kinds = {
            "loaded": self.loaded,
            "reinitialised": self.reinitialised,
            "resized": self.resized,
            "ignored": self.ignored,
        }
        return {kind: {"parameters": sum(sizes.values()), "tensors": sizes} for kind, sizes in kinds.items()}

    def beside(self) -> list[str]:
        """What was loaded that is not the backbone's."""
        return [name for name in self.loaded if not name.startswith(PREFIX)]

    def begin_anew(self, names: Iterable[str]) -> None:
        """These were loaded and have other values now, which follow from the backbone or the data."""
        reasons = [self.why] if self.reinitialised and self.why else []
        self.why = "; ".join([*reasons, "they begin anew, from the backbone or the data"])
        self.reinitialised |= {name: self.loaded.pop(name) for name in names}

    def lines(self) -> list[str]:
        """What a reader needs: totals for what was loaded, every name for the rest."""
        backbone = {name: size for name, size in self.loaded.items() if name.startswith(PREFIX)}
        around = {name: self.loaded[name] for name in self.beside()}
        notes = [f"loaded    {_total(backbone)} of the backbone"]
        for kind, sizes in (
            ("kept", around),
            ("resized", self.resized),
            ("new", self.reinitialised),
            ("ignored", self.ignored),
        ):
            if sizes:
                reason = f": {self.why}" if kind == "new" and self.why else ""
                notes.append(f"{kind:<9} {_total(sizes)} ({shortened(sizes)}){reason}")
        return [*([self.note] if self.note else []), *notes]


def _total(sizes: dict[str, int]) -> str:
    tensors = "tensor" if len(sizes) == 1 else "tensors"
    return f"{sum(sizes.values()):,} values in {len(sizes)} {tensors}"


def load_pretrained(
    objective: Objective,
    weights: dict[str, Tensor],
    *,
    head: bool,
    why: str,
    source: str,
    spec: Spec | None = None,
    settled: Collection[str] = (),
) -> Transfer:
    """Load the backbone (and with `head` the rest of the objective) from `weights`, in place.

    spec: what the weights' examples looked like, where it is known. Every tensor of the backbone must be there and fit,
    else CheckpointError: a partly loaded backbone is no start. settled: tensors beside it that training finds by itself
    (`Objective.fitted`), so that a head is whole without them.
    """
    match, backbone, resized = load_backbone(objective.backbone, weights, source=source, spec=spec)
    rest, own = match.rest, objective.backbone.state_dict()
    heads = {name: value for name, value in objective.state_dict().items() if not name.startswith(PREFIX)}
    taken = {name: rest[name] for name in heads if head and name in rest and rest[name].shape == heads[name].shape}
    if head and (missing := heads.keys() - taken.keys() - set(settled)):
        raise CheckpointError(f"{source}: its head does not fit ({', '.join(missing)}); use finetune.head=new")
    check_finite(heads, taken, source)
    objective.load_state_dict({**objective.state_dict(), **taken})
    ignored = {
        **{match.name(n): v for n, v in backbone.items() if n not in own},
        **{n: v for n, v in rest.items() if n not in taken},
    }
    return Transfer(
        loaded=_sizes({**{f"{PREFIX}{n}": own[n] for n in own if n not in resized}, **taken}),
        reinitialised=_sizes({n: v for n, v in heads.items() if n not in taken}),
        resized=_sizes({f"{PREFIX}{n}": own[n] for n in resized}),
        ignored=_sizes(ignored),
        why=why,
        note=match.note,
    )


def unfit_head(objective: Objective, weights: Mapping[str, Tensor]) -> list[str]:
    """What of the objective beside its backbone is not in `weights`, or of another shape there."""
    own = {name: value for name, value in objective.state_dict().items() if not name.startswith(PREFIX)}
    return [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]


def load_backbone(
    backbone: Backbone, weights: dict[str, Tensor], *, source: str, spec: Spec | None
) -> tuple[Match, dict[str, Tensor], list[str]]:
    """Load it alone, in place, as `load_pretrained` does: where it was found, what was loaded, and what was resized."""
    match = _match(backbone.state_dict(), weights, source)
    fitted, resized = backbone.adapt_from(match.backbone, spec)
    own = backbone.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith(COUNTER)}
    fitted = {**counters, **fitted}
    _fits(own, fitted, source)
    check_finite(own, fitted, source, PREFIX)
    backbone.load_state_dict({name: fitted[name] for name in own})
    return match, fitted, resized


def _sizes(tensors: dict[str, Tensor]) -> dict[str, int]:
    return {name: tensor.numel() for name, tensor in tensors.items()}


class Match(NamedTuple):
    """The tensors for the backbone by our names, and the rest by the file's; ours is add + the file's without strip."""

    backbone: dict[str, Tensor]
    rest: dict[str, Tensor]
    strip: str = PREFIX
    add: str = ""
    note: str = ""

    def name(self, own: str) -> str:
        """What the file calls a tensor of the backbone."""
        return self.strip + own.removeprefix(self.add)


def _match(own: dict[str, Tensor], weights: dict[str, Tensor], source: str) -> Match:
    """Where in `weights` the backbone lies: under `backbone.` in ptft's own, anywhere in those from elsewhere.

    There it is the part with the most names of ours, of equal ones the averaged or else the first. Raises
    CheckpointError naming some of both sides where there is no such name.
    """
    if any(f"{PREFIX}{name}" in weights for name in own):
        return _split(weights, PREFIX, "")
    fits = _prefixes(own, weights)
    most = max(fits.values(), default=0)
    if 2 * most < len(own):
        raise CheckpointError(
            f"{source}: {len(own) - most} of the backbone's {len(own)} tensors are not in it: it has "
            f"{shortened(weights)}, the backbone {shortened(own)}; model= must name the model it was made with"
        )
    equal = [pair for pair, count in fits.items() if count == most]
    strip, add = max(equal, key=lambda pair: bool(AVERAGED.search(pair[0])))
    others = ", ".join(dict.fromkeys(pair[0] or "the top" for pair in equal if pair[0] != strip))
    note = f"the backbone is what lies under {strip or 'the top'} in the file; {others} would fit too" if others else ""
    return _split(weights, strip, add)._replace(note=note)


def _prefixes(own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[tuple[str, str], int]:
    """How many names are ours once a prefix is taken off and another put before, by the two; in the file's order.

    What can be put before is nothing, or what begins most names of ours: a wrapper's `net.`, say.
    """
    firsts = Counter(name.split(".", 1)[0] + "." for name in own)
    adds = ["", *(first for first, count in firsts.items() if 2 * count > len(own))]
    counts: Counter[tuple[str, str]] = Counter()
    for name in weights:
        for cut in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            strip = name[:cut]
            counts.update((strip, add) for add in adds if add + name[cut:] in own and not (add and strip.endswith(add)))
    return counts


def _split(weights: dict[str, Tensor], strip: str, add: str) -> Match:
    backbone = {name: value for name, value in weights.items() if name.startswith(strip)}
    rest = {name: value for name, value in weights.items() if name not in backbone}
    return Match({f"{add}{name[len(strip) :]}": value for name, value in backbone.items()}, rest, strip, add)


def _fits(own: dict[str, Tensor], loaded: dict[str, Tensor], source: str) -> None:
    missing = [name for name in own if name not in loaded]
    if missing:
        raise CheckpointError(
            f"{source}: {len(missing)} of the backbone's {len(own)} tensors are not in it "
            f"({shortened(missing)}); "
            "model= must name the model it was made with"
        )
    for name, tensor in own.items():
        if loaded[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {PREFIX}{name} is {_shape(loaded[name])} there and {_shape(tensor)} here; "
                "drop model=, dataset.size= and dataset.channels=, or choose those it was trained with"
            )


def check_finite(own: Mapping[str, Tensor], loaded: Mapping[str, Tensor], source: str, prefix: str = "") -> None:
    """Raises CheckpointError for a tensor that holds NaN or infinity where a fresh one does not.

    own: the fresh tensors by name; a mask of -inf is one of those that do.
    """
    for name, fresh in own.items():
        tensor = loaded.get(name)
        if tensor is not None and tensor.is_floating_point() and not _finite(tensor) and _finite(fresh):
            bad = int((~tensor.isfinite()).sum())
            raise CheckpointError(
                f"{source}: {prefix}{name} is not finite in {bad:,} of {tensor.numel():,} values; the run that "
                "wrote it had failed by then: choose an earlier checkpoint"
            )


def _finite(tensor: Tensor) -> bool:
    """Whether all values are; one pass, and nothing of the tensor's size is made."""
    return tensor.numel() == 0 or all(bool(edge.isfinite()) for edge in tensor.aminmax())


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
