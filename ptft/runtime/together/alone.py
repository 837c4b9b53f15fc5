"""The processes of a run as each of them sees them: `Alone`, unless `ptft.distributed.group` put a group in its place.

Everything asks `current()` and never whether there are others, so one process imports nothing of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Lists = dict[str, list[Tensor]]
"""Values of an evaluation by name, an entry a batch."""


@dataclass(frozen=True)
class Share:
    """Which rows of every batch are one process's: the `rank`-th of `count` parts, of equal length but for one."""

    rank: int = 0
    count: int = 1

    def of(self, rows: Tensor) -> Tensor:
        """Its part of [B, …], perhaps none."""
        return rows if self.count == 1 else rows.tensor_split(self.count)[self.rank]

    def start(self, total: int) -> int:
        """Where its part of so many rows begins."""
        size, longer = divmod(total, self.count)
        return self.rank * size + min(self.rank, longer)


class Alone:
    """One process, whose part is the whole: what is summed, joined or agreed on is what it has itself.

    rank: its number, from 0. count: how many there are. local_rank, local_count: of this machine.
    ready: whether all of them have built the same, so that they may exchange what they compute.
    """

    rank, count, local_rank, local_count, ready = 0, 1, 0, 1, True

    @property
    def main(self) -> bool:
        """Whether it is the one that speaks and writes."""
        return self.rank == 0

    @property
    def cut(self) -> bool:
        """Whether each has only its part of every weight (`divide`), and of what belongs to one."""
        return False

    def meet(self, module: nn.Module, *, in_parts: bool = False) -> None:
        """From here on it computes with the others, with the first one's weights and buffers.

        in_parts: whether batches of the training are cut further, so that each draws its random numbers for itself.
        """

    def begin(self, module: nn.Module, parameters: list[nn.Parameter], *, overlap: bool) -> None:
        """As `meet`, to train. overlap: whether gradients may be sent while others are computed, as each is complete
        when it first appears."""

    def same(self, value: T) -> T:
        """The first one's plain value."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Everybody's plain values, in their order."""
        return [value]

    def end(self) -> None:
        """Each computes for itself again; what is built next is another run."""

    def stop(self, asked: str | None) -> str | None:
        """The signal that any of them was `asked` to stop by."""
        return asked

    def stepped(self, asked: str | None, seconds: float, examples: int) -> tuple[str | None, float, int]:
        """After a step: the signal of `stop`, the first one's clock, the examples of all."""
        return asked, seconds, examples

    def summed(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """A training step's sums over all of them, its gradients likewise, in place."""
        return sums

    def measured(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]:
        """Sums and lists of an evaluation of all of them, lists in the order of the examples.

        places: of each entry of a list which batch it is of; a process without rows of a batch has none of it.
        """
        return sums, lists

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm of a whole gradient, of which these are all that this process has; a scalar on its device."""
        return torch.nn.utils.get_total_norm(gradients)

    def take_over(self, module: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        """Put weights into a module in all of them; None: those that the first one has."""
        if weights is not None:
            module.load_state_dict(weights)

    def divide(self, module: nn.Module, blocks: list[nn.Module], device: torch.device) -> None:
        """Leave in each process, on `device`, its part of every weight; a block has all of its own while it computes.

        The weights are the first one's. All parameters are other objects afterwards, by the same names.
        """
        raise NotImplementedError("one process that nobody started has nobody to divide weights with")

    def whole(self, value: Tensor) -> Tensor:
        """All of a tensor of which each process has a part; all of them ask for it."""
        return value

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        """Of a whole tensor, which all have, what this process has of `like`, in the same way."""
        return value

    def optimizer_part(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The same of an optimizer's stored state."""
        return state

    def same_buffers(self, module: nn.Module) -> None:
        """Take over the first one's buffers (batch statistics), which are those that are saved."""


_current: list[Alone] = [Alone()]


def current() -> Alone:
    """The processes of this run, as this one sees them."""
    return _current[-1]


def own(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of each, in the same memory: all of it, unless weights are cut."""
    if not current().cut:
        return list(tensors)
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def enter(group: Alone) -> None:
    """From here on this process is one of `group`."""
    _current[:] = [group]
