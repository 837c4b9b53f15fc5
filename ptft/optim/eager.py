"""Optimizer classes of torch without the decorators that import torch's compiler."""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

T = TypeVar("T", bound=Optimizer)
DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def without_dynamo(cls: type[T]) -> type[T]:
    """`cls`, by the same name and with the same state, without the decorators that tell the compiler to leave it alone.

    To say so they import the compiler, about a second, also where nothing is ever compiled.
    """
    plain = {name: inspect.unwrap(getattr(cls, name)) for name in DECORATED}
    step = torch.no_grad()(inspect.unwrap(cls.step))
    return type(cls.__name__, (cls,), {**plain, "step": step, "__module__": cls.__module__, "__doc__": cls.__doc__})
