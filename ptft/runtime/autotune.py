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
from ptft.runtime.precision import ComputeFormat, autocast, place
from ptft.runtime.rng import forked

CLEARLY = 1.03
"""Half precision must be faster than float32 by so much, else the exact one is taken."""


ROUNDS = 3


ALONE = 0.75
"""Share of its threads' time that a process must have got, for its measurements to count."""


def fastest(
    objective: Objective, batch: Batch, candidates: list[ComputeFormat], device: torch.device, setup: dict[str, Any]
) -> tuple[ComputeFormat, dict[ComputeFormat, float]]:
    """The fastest of several for a step on this batch, and the milliseconds a step of each that was measured.

    Leaves weights, buffers and random generators as they were. setup: plain data that, together with the machine and
    the batch, says what is measured; equal ones are measured once.
    """
    key = _key(batch, candidates, device, setup)
    if (measured := _recall(key)) is not None:
        return _choose(measured), measured
    busy, wall = time.process_time(), time.perf_counter()
    with _untouched(objective, device):
        milliseconds = _measure(objective, batch, candidates, device)
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    if device.type == "cpu" and busy < ALONE * torch.get_num_threads() * wall:
        return candidates[0], {}  # others compute here as well: such times say nothing
    _remember(key, milliseconds)
    return _choose(milliseconds), milliseconds


def _choose(milliseconds: dict[ComputeFormat, float]) -> ComputeFormat:
    best = min(milliseconds, key=lambda compute_format: milliseconds[compute_format])
    exact = [compute_format for compute_format in milliseconds if compute_format.precision == "fp32"]
    close = [compute_format for compute_format in exact if milliseconds[compute_format] <= CLEARLY * milliseconds[best]]
    return min(close or [best], key=lambda compute_format: milliseconds[compute_format])


def _measure(
    objective: Objective, batch: Batch, candidates: list[ComputeFormat], device: torch.device
) -> dict[ComputeFormat, float]:
    """The shortest of ROUNDS steps after one that warms up; one that is far behind then is not tried again."""
    objective.train()
    milliseconds: dict[ComputeFormat, float] = {}
    for compute_format in candidates:
        place(objective, compute_format)
        first = _step(objective, batch, compute_format, device)
        if milliseconds and first > 1.0 and first > 1.5 * min(milliseconds.values()) / 1e3:
            continue
        rounds = 1 if first > 1.0 else ROUNDS
        milliseconds[compute_format] = 1e3 * min(_step(objective, batch, compute_format, device) for _ in range(rounds))
    return milliseconds


def _step(objective: Objective, batch: Batch, compute_format: ComputeFormat, device: torch.device) -> float:
    """Seconds of a forward and a backward pass."""
    _wait(device)
    began = time.perf_counter()
    with autocast(compute_format.precision, device)():
        total: Tensor = objective(batch).total
    total.backward()  # type: ignore[no-untyped-call]
    _wait(device)
    seconds = time.perf_counter() - began
    objective.zero_grad(set_to_none=True)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextlib.contextmanager
def _untouched(objective: Objective, device: torch.device) -> Iterator[None]:
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    training = objective.training
    with forked(device):
        yield
    objective.train(training)
    for buffer, before in buffers:
        buffer.copy_(before)


def _key(batch: Batch, candidates: list[ComputeFormat], device: torch.device, setup: dict[str, Any]) -> str:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    machine = [platform.node(), platform.machine(), capabilities.get("cpu_name"), torch.get_num_threads()]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    shapes = {name: [list(value.shape), str(value.dtype)] for name, value in batch.items()}
    names = [str(compute_format) for compute_format in candidates]
    measured = json.dumps([ptft.__version__, torch.__version__, machine, gpu, shapes, names, setup], sort_keys=True)
    return hashlib.sha256(measured.encode()).hexdigest()[:24]


def _recall(key: str) -> dict[ComputeFormat, float] | None:
    try:
        rows = json.loads((cache_dir() / "kernels" / f"{key}.json").read_text(encoding="utf-8"))
        return {ComputeFormat(row["precision"], row["layout"]): float(row["milliseconds"]) for row in rows} or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(key: str, milliseconds: dict[ComputeFormat, float]) -> None:
    """Beside what is there, in one step; a place that can't be written is no reason to stop."""
    path = cache_dir() / "kernels" / f"{key}.json"
    rows = [{**asdict(compute_format), "milliseconds": round(time, 3)} for compute_format, time in milliseconds.items()]
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(rows), encoding="utf-8")
        os.replace(aside, path)
