"""Convolutions in bf16 on a CPU, tried before they are believed.

Where a processor has bf16 units, torch hands convolutions to kernels of which some are wrong without a word: with torch
2.11 on an Intel Xeon with AMX a Conv1d of 16 channels, 16 wide, in 2 groups gave numbers that had nothing to do with
the right ones. Such a layer computes in float32 instead.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ptft.runtime import terminal

LIMIT = 0.1
"""‖bf16 - float32‖ / ‖float32‖ from which on it is wrong; rounding alone makes 0.003."""
TRIED = 4
"""So many shapes of its inputs are tried, as they come."""
GUARDED = "_conv_forward"
"""What a convolution of torch calls with its input, its weight and its bias."""


def guard(module: nn.Module) -> None:
    """Try each convolution in it when it first computes in bf16 on a CPU."""
    for name, each in module.named_modules():
        if isinstance(each, nn.Conv1d | nn.Conv2d) and GUARDED not in vars(each):
            vars(each)[GUARDED] = partial(_tried, each, name, {})


def _tried(module: nn.Conv1d | nn.Conv2d, name: str, wrong: dict[torch.Size, bool], *given: Tensor | None) -> Tensor:
    """given: input, weight, bias. wrong: shape of an input -> whether bf16 is wrong there."""
    shape = given[0].shape if given[0] is not None else torch.Size()
    if torch.compiler.is_compiling() or not torch.is_autocast_enabled("cpu"):
        return _convolved(module, given)
    if shape not in wrong and len(wrong) < TRIED and not any(wrong.values()):
        wrong[shape] = _is_wrong(module, name, given)
    return _exact(module, given).to(torch.bfloat16) if any(wrong.values()) else _convolved(module, given)


def _is_wrong(module: nn.Conv1d | nn.Conv2d, name: str, given: tuple[Tensor | None, ...]) -> bool:
    with torch.no_grad():
        right = _exact(module, given)
        off = float((_convolved(module, given).float() - right).norm() / right.norm().clamp_min(1e-30))
    if off <= LIMIT:
        return False
    what = f"{name or 'a convolution'} ({off:.0%} off)"
    terminal.say(f"torch {torch.__version__} computes {what} wrongly in bf16 on this processor; fp32 there", error=True)
    return True


def _convolved(module: nn.Conv1d | nn.Conv2d, given: tuple[Tensor | None, ...]) -> Tensor:
    result: Tensor = getattr(type(module), GUARDED)(module, *given)
    return result


def _exact(module: nn.Conv1d | nn.Conv2d, given: tuple[Tensor | None, ...]) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return _convolved(module, tuple(None if value is None else value.float() for value in given))
