"""Random generators: seeding, their state, and a copy of them to draw from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rng_state(device: torch.device) -> dict[str, Any]:
    """States of the global generators as plain data: Python's, numpy's, torch's, the device's."""
    name, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
    numpy = (name, keys.tolist(), *rest)
    state: dict[str, Any] = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["device"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"], device)
    elif device.type == "mps" and "device" in state:
        torch.mps.set_rng_state(state["device"])


EVALUATION_SEED = 0
"""Seed of what is random in an evaluation."""


@contextlib.contextmanager
def forked(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Inside, torch's global generators of the CPU and of `device` may be drawn from; after it they are as they were.

    seed: what they start from inside, so that the same is drawn each time; None leaves them where they are.
    """
    # On a CPU alone fork_rng wants the name of some accelerator all the same, and an empty list of its devices.
    kind = device.type if device.type != "cpu" else "cuda"
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=kind):
        if seed is not None:
            torch.manual_seed(seed)
        yield
