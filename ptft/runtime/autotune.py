"""Autotuning: which precision and memory format is the fastest here, measured."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

import ptft
from ptft.core import Batch, Objective
from ptft.runtime.paths import cache_dir
from ptft.runtime.precision import Kernels, autocast, place
from ptft.runtime.rng import forked

CLEARLY = 1.03
"""Half precision must be faster than float32 by so much, else the exact one is taken."""


ROUNDS = 3


ALONE = 0.75
"""Share of its threads' time that a process must have got, for its measurements to count."""


def fastest(
    objective: Objective, batch: Batch, among: list[Kernels], on: torch.device, about: dict[str, Any]
) -> tuple[Kernels, dict[Kernels, float]]:
    """The fastest of several for a step on this batch, and the milliseconds a step of each that was measured.

    Leaves weights, buffers and random generators as they were. about: plain data that, together with the machine and
    the batch, says what is measured; equal ones are measured once.
    """
    key = _key(batch, among, on, about)
    if (known := _recall(key)) is not None:
        return _choose(known), known
    busy, wall = time.process_time(), time.perf_counter()
    with _untouched(objective, on):
        found = _measure(objective, batch, among, on)
    if on.type == "cpu" and time.process_time() - busy < ALONE * torch.get_num_threads() * (time.perf_counter() - wall):
        return among[0], {}  # others compute here as well: such times say nothing
    _remember(key, found)
    return _choose(found), found


def _choose(found: dict[Kernels, float]) -> Kernels:
    best = min(found, key=lambda kernels: found[kernels])
    exact = [kernels for kernels in found if kernels.precision == "fp32"]
    close = [kernels for kernels in exact if found[kernels] <= CLEARLY * found[best]]
    return min(close or [best], key=lambda kernels: found[kernels])


def _measure(objective: Objective, batch: Batch, among: list[Kernels], on: torch.device) -> dict[Kernels, float]:
    """The shortest of ROUNDS steps after one that warms up; one that is far behind then is not tried again."""
    objective.train()
    found: dict[Kernels, float] = {}
    for kernels in among:
        place(objective, kernels)
        first = _step(objective, batch, kernels, on)
        if found and first > 1.0 and first > 1.5 * min(found.values()) / 1e3:
            continue
        rounds = 1 if first > 1.0 else ROUNDS
        found[kernels] = 1e3 * min(_step(objective, batch, kernels, on) for _ in range(rounds))
    return found


def _step(objective: Objective, batch: Batch, kernels: Kernels, on: torch.device) -> float:
    """Seconds of a forward and a backward pass."""
    _wait(on)
    began = time.perf_counter()
    with autocast(kernels.precision, on)():
        total: Tensor = objective(batch).total
    total.backward()  # type: ignore[no-untyped-call]
    _wait(on)
    seconds = time.perf_counter() - began
    objective.zero_grad(set_to_none=True)
    return seconds


def _wait(on: torch.device) -> None:
    if on.type != "cpu":
        torch.accelerator.synchronize(on)


@contextlib.contextmanager
def _untouched(objective: Objective, on: torch.device) -> Iterator[None]:
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    training = objective.training
    with forked(on):
        yield
    objective.train(training)
    for buffer, before in buffers:
        buffer.copy_(before)


def _key(batch: Batch, among: list[Kernels], on: torch.device, about: dict[str, Any]) -> str:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    machine = [platform.node(), platform.machine(), capabilities.get("cpu_name"), torch.get_num_threads()]
    gpu = torch.cuda.get_device_name(on) if on.type == "cuda" else on.type
    shapes = {name: [list(value.shape), str(value.dtype)] for name, value in batch.items()}
    names = [str(kernels) for kernels in among]
    said = json.dumps([ptft.__version__, torch.__version__, machine, gpu, shapes, names, about], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _recall(key: str) -> dict[Kernels, float] | None:
    try:
        rows = json.loads((cache_dir() / "kernels" / f"{key}.json").read_text(encoding="utf-8"))
        return {Kernels(row["precision"], row["layout"]): float(row["milliseconds"]) for row in rows} or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(key: str, found: dict[Kernels, float]) -> None:
    """Beside what is there, in one step; a place that can't be written is no reason to stop."""
    path = cache_dir() / "kernels" / f"{key}.json"
    rows = [{**asdict(kernels), "milliseconds": round(time, 3)} for kernels, time in found.items()]
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(rows), encoding="utf-8")
        os.replace(aside, path)
