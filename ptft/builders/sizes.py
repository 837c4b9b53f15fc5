"""A model that a checkpoint's configuration asks for takes no more memory than the checkpoint's weights can fill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ptft.checkpoint.load import Checkpoint
from ptft.errors import CheckpointError

Count = Callable[..., int]


def _empty(maker: Callable[..., Tensor]) -> Count:
    """How many values a tensor has that `maker` makes, told by one that takes no memory."""
    return lambda *args, **kwargs: maker(*args, **{**kwargs, "device": "meta"}).numel()


def _range(start: float = 0, end: float | None = None, step: float = 1, **_: Any) -> int:
    first, last, each = (0.0, float(start), float(step)) if end is None else (float(start), float(end), float(step))
    count = (last - first) / each if each else 0
    return max(0, math.ceil(count)) if math.isfinite(count) else 0  # what torch refuses


def _line(start: float, end: float, steps: int, **_: Any) -> int:
    return int(steps)


def _square(n: int, m: int | None = None, **_: Any) -> int:
    return n * (n if m is None else m)


SHAPED = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randint, torch.randperm)
MAKERS: dict[Callable[..., Tensor], Count] = {
    **{maker: _empty(maker) for maker in (*SHAPED, torch.empty_strided)},
    torch.randn: _empty(torch.rand),
    torch.arange: _range,
    torch.linspace: _line,
    torch.logspace: _line,
    torch.eye: _square,
}
"""What makes tensors of a size that is said, and how many values these have.

The last five take no memory either on the device "meta", but they import torch's compiler there, which takes seconds.
"""
TIMES = 16
"""How many times as many values and tensors as the weights are, tables and what is computed once may be."""
VALUES, TENSORS = 2**26, 2**12
"""So many may be made in any case."""


def limit(checkpoint: Checkpoint | None) -> AbstractContextManager[object]:
    """Inside, what a checkpoint's configuration asks for is held to its weights; none is held of plain weights."""
    if checkpoint is None or checkpoint.config is None:
        return nullcontext()
    return _Limit(checkpoint.weights, checkpoint.path)


class _Limit(TorchFunctionMode):
    """Inside, making tensors raises CheckpointError as soon as they can't all be of the model of `weights`."""

    def __init__(self, weights: Mapping[str, Tensor], path: str) -> None:
        super().__init__()
        self.path, self.held = path, sum(value.numel() for value in weights.values())
        self.values, self.tensors = VALUES + TIMES * self.held, TENSORS + TIMES * len(weights)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in MAKERS:
            plain = {key: value for key, value in kwargs.items() if key not in ("out", "pin_memory", "generator")}
            self.values -= MAKERS[func](*args, **plain)
            self.tensors -= 1
            if self.values < 0 or self.tensors < 0:
                what = "asks for a model that is far larger than the weights in the file"
                raise CheckpointError(f"{self.path}: its configuration {what}, {self.held:,} values")
        return func(*args, **kwargs)
