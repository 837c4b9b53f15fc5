"""The processes of a run as one group, over torch's own collectives: NCCL between GPUs, gloo elsewhere.

Plain values and decisions travel between CPUs, so a step on GPUs never waits for them.

Axes: G gradients of a bucket, S numbers of a Step's sums.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ptft.distributed.gradients import GradientSum
from ptft.runtime.signals import CODES
from ptft.runtime.together import alone, draws
from ptft.runtime.together.alone import Alone, Lists

T = TypeVar("T")

PATIENCE = datetime.timedelta(minutes=10)
"""How long one waits for the others: for the slowest batch, evaluation of one's own, or save."""
SIGNALS = tuple(CODES)
GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: multiples of it are far from each other and from small seeds."""


class Group(Alone):
    """This process among those that `torch.distributed.run` started, or what sets the same variables."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self.local_count = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        self.ready = False
        self.sharding: ModuleType | None = None
        self.device = torch.device("cpu")
        self.exchange: GradientSum | None = None
        self.names: dict[str, tuple[torch.Size, torch.dtype]] | None = None

    @classmethod
    def join(cls) -> Group:
        """Wait until all are here, and be one of them from here on."""
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=PATIENCE)
        group = cls()
        alone.enter(group)
        return group

    def meet(self, module: nn.Module, *, in_parts: bool = False) -> None:
        if not self.cut:
            self.same_weights(module)
        if self.count > 1:  # else its draws are those of a run without a group, as is where they stand in a checkpoint
            draws.share(next(module.parameters()).device, own_seed(self.rank), in_parts=in_parts)
        self.ready = True

    def begin(self, module: nn.Module, parameters: list[nn.Parameter], *, overlap: bool) -> None:
        self.meet(module, in_parts=not overlap)
        self.device, self.names = parameters[0].device, None
        self.exchange = None if self.cut else GradientSum(parameters, overlap=overlap)

    def end(self) -> None:
        self.exchange, self.ready, self.sharding = None, False, None
        draws.forget()

    def same(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def stop(self, asked: str | None) -> str | None:
        return self._agreed(asked, 0, 0)[0]

    def stepped(self, asked: str | None, seconds: float, examples: int) -> tuple[str | None, float, int]:
        return self._agreed(asked, seconds, examples, drew=not draws.none())

    def _agreed(
        self, asked: str | None, seconds: float, examples: int, *, drew: bool = True
    ) -> tuple[str | None, float, int]:
        told, idle = [float(name == asked) for name in SIGNALS], [0.0] * self.count
        idle[self.rank] = float(not drew)
        numbers = torch.tensor([*told, *idle, seconds if self.main else 0.0, examples], dtype=torch.float64)
        dist.all_reduce(numbers)
        *both, clock, total = numbers.tolist()
        asks, idle = both[: len(SIGNALS)], both[len(SIGNALS) :]
        if any(idle) and not all(idle):
            self._same_draws(idle.index(0))
        return next((name for name, count in zip(SIGNALS, asks, strict=True) if count), None), clock, int(total)

    def _same_draws(self, rank: int) -> None:
        """A process that had no rows drew none: all go on from where one stands that had some."""
        for generator in draws.shared().values():
            state = generator.get_state()
            dist.broadcast(state, rank)
            generator.set_state(state)

    def summed(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.exchange:
            self.exchange.finish()
        if self.names is None:
            self.names = self._named(sums)
        return _added(sums, self.names, self.device)

    def measured(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]:
        names, device = self._named(sums), next(iter(sums.values())).device if sums else torch.device("cpu")
        parts = self.gathered({name: [values.cpu() for values in each] for name, each in lists.items()})
        known, where = next((part for part in parts if part), {}), self.gathered(places)
        joined = {name: _in_order([part.get(name, []) for part in parts], where, device) for name in known}
        return _added(sums, names, device), joined

    def _named(self, sums: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
        """What the sums of all processes are, for those that had no examples and so have none."""
        told = self.gathered({name: (value.shape, value.dtype) for name, value in sums.items()})
        return {name: what for each in reversed(told) for name, what in each.items()}

    def same_weights(self, module: nn.Module) -> None:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), 0)

    def norm(self, gradients: list[Tensor]) -> Tensor:
        norm = super().norm(gradients)
        if not self.cut or self.count == 1:
            return norm
        total = norm.to(self.device, torch.float64).square()
        dist.all_reduce(total)
        return total.sqrt().to(norm)

    def divide(self, module: nn.Module, blocks: list[nn.Module], device: torch.device) -> None:
        from ptft.distributed import sharding  # which takes a while to import

        self.same_weights(module)
        sharding.shard(module, blocks, device)
        self.sharding = sharding

    @property
    def cut(self) -> bool:
        return self.sharding is not None

    def take_over(self, module: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
        if self.sharding:
            self.sharding.take_over(module, weights)
        else:
            super().take_over(module, weights)
            self.same_weights(module)

    def whole(self, value: Tensor) -> Tensor:
        whole: Tensor = self.sharding.whole(value) if self.sharding else value
        return whole

    def part(self, value: Tensor, like: Tensor) -> Tensor:
        part: Tensor = self.sharding.part(value, like) if self.sharding else value
        return part

    def optimizer_part(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        part: dict[str, Any] = self.sharding.optimizer_part(state, optimizer) if self.sharding else state
        return part

    def same_buffers(self, module: nn.Module) -> None:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def own_seed(rank: int) -> int:
    """Of what a process draws for itself: follows from the seed of the run, and is another for each."""
    return int(torch.initial_seed() + GOLDEN * (rank + 1)) % 2**62


def _added(
    sums: dict[str, Tensor], names: dict[str, tuple[torch.Size, torch.dtype]], device: torch.device
) -> dict[str, Tensor]:
    """Everybody's sums as one vector [S] of float64, in which whole numbers stay whole."""
    zero = torch.zeros((), dtype=torch.float64, device=device)
    flat = torch.cat([sums.get(name, zero.expand(shape)).to(zero).flatten() for name, (shape, _) in names.items()])
    dist.all_reduce(flat)
    parts = torch.split(flat, [shape.numel() for shape, _ in names.values()])
    return {name: part.view(shape).to(kind) for part, (name, (shape, kind)) in zip(parts, names.items(), strict=True)}


def _in_order(parts: list[list[Tensor]], places: list[list[int]], device: torch.device) -> list[Tensor]:
    """Of each process its parts of batches, and which these are -> the batches, whole."""
    batches: dict[int, list[Tensor]] = {}
    for own, where in zip(parts, places, strict=True):
        for part, place in zip(own, where, strict=True):
            batches.setdefault(place, []).append(part)
    return [torch.cat(batches[place]).to(device) for place in sorted(batches)]
