"""Random generators: seeding, their state, and a copy of them to draw from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ptft.runtime.together import draws


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rng_state(device: torch.device) -> dict[str, Any]:
    """States of the generators as plain data: Python's, numpy's, torch's, the device's; of several processes those
    that are the same in all of them (`ptft.runtime.together.draws`)."""
    name, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
    state = {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest), **own_state(device)}
    if shared := draws.shared():
        state["torch"] = shared["cpu"].get_state()
    if device.type in shared and device.type != "cpu":
        state["device"] = shared[device.type].get_state()
    return state


def own_state(device: torch.device) -> dict[str, Any]:
    """States of torch's global generators, which of several processes each has of its own."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["device"] = torch.mps.get_rng_state()
    return state


def set_own_state(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"], device)
    elif device.type == "mps" and "device" in state:
        torch.mps.set_rng_state(state["device"])


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    if not (shared := draws.shared()):
        set_own_state(state, device)
        return
    shared["cpu"].set_state(state["torch"])
    if device.type in shared and device.type != "cpu" and "device" in state:
        shared[device.type].set_state(state["device"])


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
        if seed is None:
            yield
            return
        torch.manual_seed(seed)
        with draws.forked(seed):
            yield


class OwnDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, in this thread, what is drawn on the CPU comes from a generator of its own and not from the global one.

    For weights that a checkpoint's take the place of: another thread may train meanwhile, by the global generator.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(0)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and to say that it should not imports the compiler

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("generator") is None and _on_cpu(args, given) and (draw := _with_generator(func)):
            return draw(*args, **{**given, "generator": self.generator})
        return func(*args, **given)


def _on_cpu(args: tuple[Any, ...], given: Mapping[str, Any]) -> bool:
    """Where an operator of torch computes: where its first tensor lies, else where its result is to lie."""
    first = next((each for each in args if isinstance(each, torch.Tensor)), None)
    return torch.device(given.get("device") or "cpu" if first is None else first.device).type == "cpu"


def _with_generator(func: Any) -> Any:
    """The form of an operator that takes a generator; None of one that has none such."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    form = func._overloadname
    name = "generator" if form == "default" else f"{form}_generator"
    return getattr(func.overloadpacket, name) if name in func.overloadpacket.overloads() else None
