"""A model that a checkpoint's configuration asks for takes no more memory than the checkpoint's weights can fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ptft.checkpoint.load import Checkpoint
from ptft.errors import CheckpointError

MAKERS = frozenset(
    {
        torch.empty,
        torch.zeros,
        torch.ones,
        torch.full,
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.arange,
        torch.linspace,
        torch.logspace,
        torch.eye,
        torch.empty_strided,
    }
)
"""What makes tensors of a size that is said."""
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
            self.values -= func(*args, **{**plain, "device": "meta"}).numel()
            self.tensors -= 1
            if self.values < 0 or self.tensors < 0:
                what = "asks for a model that is far larger than the weights in the file"
                raise CheckpointError(f"{self.path}: its configuration {what}, {self.held:,} values")
        return func(*args, **kwargs)
