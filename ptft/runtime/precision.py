"""Precision and memory format in which a model computes: typed, or measured with a few steps of the real thing.

Half precision with channels last is 2.5 times as fast as plain float32 for one network and slower for another on the
same machine, so nothing is taken on faith here. What was measured is remembered (`cache_dir`), so that the runs of a
sweep, and the same run tomorrow, compute in the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.runtime import convolutions

Module = TypeVar("Module", bound=nn.Module)
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ComputeFormat:
    """precision: fp32, bf16 or fp16 (mixed: weights stay float32). layout: of images, channels_last or contiguous."""

    precision: str
    layout: str

    def __str__(self) -> str:
        return self.precision + (", channels last" if self.layout == "channels_last" else "")


def ruled(precision: str, layout: str, device: torch.device) -> ComputeFormat:
    """Without measuring: bf16 where the hardware computes in it, channels last.

    Raises ConfigError for fp16 on a CPU.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision=fp16: needs a GPU; on a CPU choose bf16 or fp32")
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    return ComputeFormat(precision, "channels_last" if layout == "auto" else layout)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capable: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))


def choices(precision: str, layout: str, device: torch.device, objective: Objective) -> list[ComputeFormat]:
    """What `auto` has to choose from, the likely fastest first; one choice where nothing is open."""
    convolves = any(isinstance(module, nn.Conv2d) for module in objective.modules())
    first = ruled(precision, "contiguous" if layout == "auto" and not convolves else layout, device)
    layouts = ["channels_last", "contiguous"] if layout == "auto" and convolves else [first.layout]
    precisions = list(dict.fromkeys([first.precision, "fp32"])) if precision == "auto" else [first.precision]
    return [ComputeFormat(p, form) for form in layouts for p in precisions]


def place(module: Module, compute_format: ComputeFormat, device: torch.device | None = None) -> Module:
    """The module in that layout, in place; in bf16 its convolutions are tried on a CPU.

    device: where it is going to compute, if not where it is.
    """
    where = device or next(module.parameters()).device
    if compute_format.precision == "bf16" and where.type == "cpu":
        convolutions.guard(module)
    return module.to(memory_format=FORMATS[compute_format.layout])


def autocast(
    precision: str, device: torch.device, *, keep: bool = True
) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """keep: whether weights that were cast stay in memory until a forward pass ends, for who asks for them again."""
    if precision not in DTYPES:
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, DTYPES[precision], cache_enabled=keep)
