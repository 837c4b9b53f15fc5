"""`dataset.sampler=balanced`: epochs in which every class comes equally often. Axes: N examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ptft.core import Examples
from ptft.data.label_sets.handed_on import HandedOn
from ptft.data.label_sets.vectors import counts
from ptft.errors import ConfigError, shortened

BALANCED = "dataset.sampler=balanced"


class Balanced(HandedOn):
    """The same examples, whose epochs are N draws as before, equally many (up to one) of each class that has examples.

    Of label sets each label is a class, for which an example that has it is drawn, and so is having none. Within one
    the examples take turns: each comes once before any comes again. An epoch follows from its seed alone.
    Raises ConfigError where examples have no classes.
    """

    def __init__(self, examples: Examples, names: Sequence[str]) -> None:
        labels = examples.labels
        if labels is None or labels.is_floating_point() or not names:
            raise ConfigError(f"{BALANCED}: the examples have no classes that could come equally often; leave it null")
        super().__init__(examples)
        self.names = list(names)
        self.members = _members(labels.cpu(), len(self.names))
        self.notes = (self._note(labels.cpu()),)

    def shuffled(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        many = len(self.members)
        extra = set(torch.randperm(many, generator=generator)[: len(self) % many].tolist())
        drawn = [_turns(own, len(self) // many + (k in extra), generator) for k, own in enumerate(self.members)]
        order = torch.cat(drawn)
        return order[torch.randperm(len(order), generator=generator)]

    def to(self, device: torch.device) -> Balanced:
        return Balanced(self.examples.to(device), self.names)

    def _note(self, labels: Tensor) -> str:
        """What an epoch is."""
        found = counts(labels, len(self.names))
        found = torch.where(found > 0, found, len(labels) + 1)
        rarest, each = int(found.argmin()), len(self) / len(self.members)
        classes = "label (and of none at all)" if labels.ndim == 2 else "class"
        times = f"one of {self.names[rarest]} comes {each / int(found[rarest]):.1f} times"
        return f"{BALANCED}: an epoch is {len(self):,} draws, {each:,.0f} of each {classes}; {times}"


class Repeated(HandedOn):
    """The same examples, whose epochs are N draws as before, in proportion to how rare is what they have marks of.

    An example is drawn sqrt(F / f) as often as one without marks: f the share of examples with a mark of the rarest of
    its classes, F that of the most frequent class. These are the repeat factors of Gupta et al. 2019, "LVIS", section
    5, whose threshold is a share that all classes of a small set are above. How often one comes differs by less than
    one from its expectation; an epoch follows from its seed alone.

    sets: uint8 [N, K], which classes an example has marks of.
    """

    def __init__(self, examples: Examples, sets: Tensor, names: Sequence[str]) -> None:
        super().__init__(examples)
        self.sets, self.names = sets, list(names)
        shares = sets.double().mean(0)
        factors = (shares.max() / shares).sqrt().nan_to_num(1, 1, 1).clamp(min=1)
        self.factors = (sets * factors).amax(1).clamp(min=1)
        self.notes = (self._note(),)

    def shuffled(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        ends = (self.factors[order].cumsum(0) / self.factors.sum() * len(self) + start).floor().long()
        ends[-1] = len(self)  # whatever is rounded
        drawn = order.repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
        return drawn[torch.randperm(len(drawn), generator=generator)]

    def to(self, device: torch.device) -> Repeated:
        return Repeated(self.examples.to(device), self.sets, self.names)

    def _note(self) -> str:
        """What an epoch is."""
        rarest = int(self.factors.argmax())
        chances = len(self) * self.factors / self.factors.sum()
        names = [name for name, has in zip(self.names, self.sets[rarest].tolist(), strict=True) if has]
        most = f"one with {shortened(names, 4)} comes {float(chances[rarest]):.1f} times" if names else "each once"
        return f"{BALANCED}: an epoch is {len(self):,} draws, more of images with rare classes; {most}"


def balanced(examples: Examples, names: Sequence[str]) -> Balanced | Repeated:
    """`Repeated` for examples that have marks of several classes, as their `marked` says, else `Balanced`."""
    marked: Callable[[], Tensor] | None = getattr(examples, "marked", None)
    return Balanced(examples, names) if marked is None or not names else Repeated(examples, marked(), names)


def _members(labels: Tensor, classes: int) -> list[Tensor]:
    """The examples (long [n]) of every class that has some; of label sets also those without any label."""
    groups = [*(labels.T > 0), (labels == 0).all(1)] if labels.ndim == 2 else [labels == k for k in range(classes)]
    return [own for group in groups if len(own := group.nonzero().flatten())]


def _turns(own: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of them, each once in a random order before any comes again."""
    rounds = [own[torch.randperm(len(own), generator=generator)] for _ in range(-(-count // len(own)))]
    return torch.cat([own[:0], *rounds])[:count]
