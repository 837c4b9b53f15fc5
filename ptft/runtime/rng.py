"""Random generators: seeding, their state, and drawing the same numbers again."""

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


DRAWS = 0
"""Seed of what is random in an evaluation."""


@contextlib.contextmanager
def same_draws(on: torch.device) -> Iterator[None]:
    """Inside, what is drawn from torch's global generators is always the same; after it they are as they were."""
    kind = on.type if on.type != "cpu" else "cuda"
    with torch.random.fork_rng([on] if on.type == "cuda" else [], device_type=kind):
        torch.manual_seed(DRAWS)
        yield
