"""The largest parts of a batch that fit in memory, found by steps of the real thing which leave no trace.

A GPU is asked: a step that is too large is refused, and nothing else comes of it. A machine would end the process, so
its memory is never filled: a step of the smallest part says how large one may be that is safe, and the two of them how
much larger ones take, since what a step takes is a fixed part and so much an example.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch

from ptft.core import Batch
from ptft.errors import ConfigError
from ptft.runtime import process
from ptft.runtime.memory import free_memory
from ptft.runtime.rng import rng_state, set_rng_state
from ptft.runtime.system import lacks_memory
from ptft.runtime.together.alone import Alone, current
from ptft.train.gradient_cache import InHalves
from ptft.train.loop import gradients, move
from ptft.train.state import Training

ROOM = 0.85
"""Share of the free memory that a step may take; the rest is for what breaks up."""
BESIDE = 128 * 2**20
"""Bytes of a machine's that are left to what is done beside steps: threads that write checkpoints, pictures, pages."""
SAFE = 0.5
"""Share of it that a step may take before it is known what one of that size takes."""
TOO_FEW = "more than 1 value per channel"
"""What torch says where a batch norm is given one example."""


class Fit(NamedTuple):
    """In how many parts a batch fits, 0 where none are small enough, and the bytes that there were for a step."""

    parts: int
    memory: int


def largest(t: Training, batches: Sequence[Batch], rows: tuple[int, int], *, cut: bool = True) -> Fit:
    """The fewest parts in which a step on each of these batches fits.

    t: a training of its own, to be thrown away: of it the objective alone is another's, and it ends as it was. rows:
    examples of the largest and of the smallest batch. cut: whether there may be parts at all.
    Raises ConfigError where the device does not tell what a step takes.
    """
    if t.device.type not in ("cpu", "cuda"):
        raise ConfigError(_silent(f"device={t.device.type}"))
    t = dataclasses.replace(t, group=Alone())
    with _untouched(t):
        try:
            least = _warmed(t, batches)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            return Fit(0, _free(t))
        choices = divisions(*rows, least) if cut else [1]
        return (_tried if t.device.type == "cuda" else _foreseen)(t, batches, choices, least)


def divisions(most: int, fewest: int, least: int) -> list[int]:
    """Into how many parts a batch of `most` examples may be cut, rising: of equal size where that is about half the
    size before. least: examples of a part; of 2 and more the parts of a batch of the `fewest` have as many, too."""
    limit, found = max(1, most if least == 1 else fewest // least), [1]
    while found[-1] < limit:
        few, many = found[-1] + 1, min(2 * found[-1], limit)
        found.append(next((count for count in range(few, many) if most % count == 0), many))
    return found


def size(rows: int, parts: int) -> int:
    """Examples of the largest part."""
    return -(-rows // parts)


def _silent(who: str) -> str:
    return f"train.accumulate=auto: {who} does not tell what memory a step takes; type a number, train.accumulate=2 say"


@contextlib.contextmanager
def _untouched(t: Training) -> Iterator[None]:
    """Inside, the objective may be trained; weights, buffers and generators are then as they were, to the bit."""
    objective, training, drawn = t.objective, t.objective.training, rng_state(t.device)
    tensors = [*t.parameters, *objective.buffers()]
    kept = [tensor.detach().to("cpu", copy=True) for tensor in tensors]
    objective.train()
    try:
        yield
    finally:
        _forget(t)
        with torch.no_grad():
            for tensor, values in zip(tensors, kept, strict=True):
                tensor.copy_(values)
        objective.train(training)
        set_rng_state(drawn, t.device)


def _forget(t: Training) -> None:
    t.objective.zero_grad(set_to_none=True)
    if t.device.type == "cuda":
        torch.cuda.empty_cache()


def _steps(t: Training, batches: Sequence[Batch], parts: int = 1) -> None:
    t.accumulate = parts
    for batch in batches:
        gradients(t, batch)
        move(t)
    if t.device.type == "cuda":
        torch.cuda.synchronize(t.device)


def _beginnings(batches: Sequence[Batch], count: int) -> list[Batch]:
    return [{name: values[:count] for name, values in batch.items()} for batch in batches]


def _warmed(t: Training, batches: Sequence[Batch]) -> int:
    """The examples of the smallest part; a step of it makes the optimizer's state, and loads what it needs."""
    try:
        _steps(t, _beginnings(batches, 1))
    except ValueError as error:
        if TOO_FEW not in str(error):
            raise
        t.objective.zero_grad(set_to_none=True)
        _steps(t, _beginnings(batches, 2))
        return 2
    return 1


def _free(t: Training) -> int:
    """Bytes that a step may take. On a CPU several processes share them, and a checkpoint that is written takes a copy
    of weights and optimizer: that of the weights is there already, as what is put back in the end."""
    if t.device.type == "cuda":
        return torch.cuda.mem_get_info(t.device)[0]
    states = (value for state in t.optimizer.state.values() for value in state.values())
    copied = sum(value.nbytes for value in states if isinstance(value, torch.Tensor))
    return max(0, free_memory() // current().local_count - copied - BESIDE)


def _tried(t: Training, batches: Sequence[Batch], choices: list[int], least: int) -> Fit:
    """By steps on the whole batches, of which those that do not fit are refused."""
    _forget(t)
    memory = _free(t)
    if _fits(t, batches, choices[0], memory):
        return Fit(choices[0], memory)
    if len(choices) == 1 or not _fits(t, batches, choices[-1], memory):
        return Fit(0, memory)
    few, many = 0, len(choices) - 1
    while many - few > 1:
        between = (few + many) // 2
        few, many = (few, between) if _fits(t, batches, choices[between], memory) else (between, many)
    return Fit(choices[many], memory)


def _fits(t: Training, batches: Sequence[Batch], parts: int, memory: int) -> bool:
    torch.cuda.reset_peak_memory_stats(t.device)
    before = torch.cuda.memory_reserved(t.device)
    try:
        _steps(t, batches, parts)
        return torch.cuda.max_memory_reserved(t.device) - before <= ROOM * memory
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        return False
    finally:
        _forget(t)
        torch.cuda.reset_peak_memory_stats(t.device)


def _foreseen(t: Training, batches: Sequence[Batch], choices: list[int], least: int) -> Fit:
    """By what a step of the smallest part and one of a larger, safe one take."""
    rows, memory = max(len(batch["input"]) for batch in batches), _free(t)
    low, room = _need(t, batches, least), ROOM * memory
    if low >= room:
        return Fit(0, memory)
    each = low / least  # no more than so much: what does not grow is in it
    safe = min(rows, int(SAFE * memory / each)) if each else rows
    measured, need = least, low
    if safe > least and math.isfinite(high := _need(t, batches, safe)):
        each = max(0.0, (high - low) / (safe - least))
        measured, need = safe, high
    fitting = (count for count in choices if need + each * (size(rows, count) - measured) <= room)
    return Fit(next(fitting, 0), memory)


def _need(t: Training, batches: Sequence[Batch], examples: int) -> float:
    """Bytes that a step of parts of so many examples takes; infinite where it was refused them."""
    rows = max(len(batch["input"]) for batch in batches)
    compared = isinstance(t.objective, InHalves)  # whole batches, whatever their parts
    step = (batches, size(rows, examples)) if compared else (_beginnings(batches, examples), 1)
    try:
        taken = process.taken_by(partial(_steps, t, *step))
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return math.inf
    finally:
        _forget(t)
    if taken is None:
        raise ConfigError(_silent("this system"))
    return taken
