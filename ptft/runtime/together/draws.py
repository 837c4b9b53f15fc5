"""Random numbers of a batch's rows: the same for a row whichever process has it.

One process draws from torch's global generators. Where some rows could not be read it draws for them as well, and the
others get what is theirs. Of several, each draws for the rows of all of them, from a generator
that is in the same state everywhere, and takes those of its own. What else is drawn (dropout) comes from each one's own
global generators.

Axes: B rows of this process, W those of the whole batch. What is drawn for k copies of a batch, one after the other, is
k times as many rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

_generators: dict[str, torch.Generator] = {}
"""By type of device, those that all processes have in the same state; none where there is one process."""
Rows = tuple[int, int, int, Tensor | None]
_place: list[Rows | None] = [None]
"""Of the batch that is computed: where this process's rows begin in it, how many they are, W, and which of them are
there (long [B]) where some could not be read."""
_in_parts: list[bool] = [False]
"""Whether batches of the training are computed in parts, whose rows are drawn by each process for itself."""


def share(device: torch.device, seed: int, *, in_parts: bool) -> None:
    """From here on rows are drawn for all processes, from where the global generators stand, which get `seed`."""
    _in_parts[0] = in_parts
    _generators.update(_as_global(device))
    torch.manual_seed(seed)


@contextlib.contextmanager
def forked(seed: int) -> Iterator[None]:
    """Inside, rows are drawn from `seed` on, of whole batches; after it all is as it was."""
    states, in_parts = {kind: generator.get_state() for kind, generator in _generators.items()}, _in_parts[0]
    for generator in _generators.values():
        generator.manual_seed(seed)
    _in_parts[0] = False
    try:
        yield
    finally:
        _in_parts[0] = in_parts
        for kind, state in states.items():
            _generators[kind].set_state(state)


Place = Callable[[int, int], None]
"""Called before a part of a batch is computed, with the first of its rows and how many they are."""


@contextlib.contextmanager
def repeated(device: torch.device, size: int) -> Iterator[Place]:
    """Inside, each part of a batch of `size` rows draws for them what the whole batch would, the same each time it is
    computed; what else is drawn (dropout) is each part's own, and the same each time too.

    After it the generators of rows are where the whole batch leaves them.
    """
    own = _generators or _as_global(device)
    states, in_parts = {kind: generator.get_state() for kind, generator in own.items()}, _in_parts[0]
    place = _place[0]
    if place is None or (place[3] is None and not _generators):  # alone, all rows are this process's
        place = (0, size, size, None)
    first, most, total, came = place
    seed = int(torch.randint(2**62, (), generator=None if _generators else _copy(own["cpu"])))

    def part(start: int, rows: int) -> None:
        for kind, generator in own.items():
            generator.set_state(states[kind])
        torch.manual_seed(seed + start)
        if came is None:
            _place[0] = first + start, rows, total, None
        else:
            _place[0] = first, most, total, came[start : start + rows]

    alone = not _generators
    _generators.update(own)
    _in_parts[0] = False
    try:
        yield part
    finally:
        _in_parts[0], _place[0] = in_parts, place
        if alone:
            _generators.clear()
            _to_global(own, states)


def _copy(generator: torch.Generator) -> torch.Generator:
    return torch.Generator(generator.device).set_state(generator.get_state())


def _as_global(device: torch.device) -> dict[str, torch.Generator]:
    """Generators where the global ones stand."""
    own = {"cpu": torch.Generator().set_state(torch.get_rng_state())}
    if device.type == "cuda":
        own["cuda"] = torch.Generator(device).set_state(torch.cuda.get_rng_state(device))
    return own


def _to_global(own: dict[str, torch.Generator], before: dict[str, Tensor]) -> None:
    """The global ones go on from there; where no row drew a number one is drawn, for the next seed must differ."""
    if all(torch.equal(generator.get_state(), before[kind]) for kind, generator in own.items()):
        torch.rand((), generator=own["cpu"])
    torch.set_rng_state(own["cpu"].get_state())
    if "cuda" in own:
        torch.cuda.set_rng_state(own["cuda"].get_state(), own["cuda"].device)


def forget() -> None:
    """Each process draws for itself again."""
    _generators.clear()
    _place[0] = None


def at(start: int, size: int, total: int, came: Tensor | None = None) -> None:
    """The rows of the batch that is computed from here on; came: which of them are there, long [B]; None for all."""
    _place[0] = (start, size, total, came)


def whole() -> None:
    """All rows that are computed from here on are there, and one process has them or a part of its batch at a time."""
    if not _generators:
        _place[0] = None


def none() -> bool:
    """Whether this process has no rows of the batch that is computed, so that it draws none."""
    place = _place[0]
    return place is not None and (place[1] if place[3] is None else len(place[3])) == 0


def shared() -> dict[str, torch.Generator]:
    """The generators that all processes have in the same state, by type of device."""
    return _generators


def rand(*shape: int, device: torch.device, dtype: torch.dtype | None = None, rows: int = 0) -> Tensor:
    """As `torch.rand`; rows: the axis that is B, or a multiple of it."""
    return _drawn(torch.rand, shape, rows, device, dtype=dtype)


def randint(high: int, *shape: int, device: torch.device, rows: int = 0) -> Tensor:
    """As `torch.randint` from 0."""
    return _drawn(lambda size, **options: torch.randint(high, size, **options), shape, rows, device)


def _drawn(
    draw: Callable[..., Tensor], shape: tuple[int, ...], rows: int, device: torch.device, **options: Any
) -> Tensor:
    generator = _generators.get(device.type) if _generators else None
    place = _place[0]
    if place is None or none() or _in_parts[0] or (generator is None and place[3] is None):
        return draw(shape, device=device, **options)
    start, size, total, came = place
    copies = -(-shape[rows] // (size if came is None else len(came)))
    whole = draw((*shape[:rows], copies * total, *shape[rows + 1 :]), device=device, generator=generator, **options)
    cut = whole.view(*shape[:rows], copies, total, *shape[rows + 1 :]).narrow(rows + 1, start, size)
    own = cut if came is None else cut.index_select(rows + 1, came.to(device))
    return own.flatten(rows, rows + 1)
