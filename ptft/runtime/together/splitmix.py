"""Randomness as a function of numbers, in batches: the same example is the same whatever is drawn beside it.

What is drawn for a key begins alike however many numbers are asked for, so a row may be padded to any length.

SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)


def _signed(value: int) -> int:
    """An unsigned 64-bit constant as torch's int64 holds it."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def mix(values: Tensor) -> Tensor:
    """int64 of any shape -> int64 of the same shape whose 64 bits all depend on every bit of the input."""
    x = values + _GOLDEN
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def key(*numbers: int) -> int:
    """One 64-bit key of several whole numbers, their order included."""
    state = torch.zeros((), dtype=torch.int64)
    for number in numbers:
        state = mix(state ^ _signed(number % 2**64))
    return int(state)


def uniform(keys: Tensor, count: int) -> Tensor:
    """int64 [B] -> float64 [count, B] in [0, 1): `count` independent numbers for every key."""
    draws = mix(keys + mix(torch.arange(count, device=keys.device)).unsqueeze(1))
    return _shift(draws, 11).double() * 2.0**-53


def noise(keys: Tensor, count: int) -> Tensor:
    """int64 [B] -> float32 [B, count] in [-1, 1): as `uniform`, of 16 bits each, for many numbers a key."""
    draws = mix(keys.unsqueeze(1) + mix(torch.arange(-(-count // 4), device=keys.device) - 2**40))
    return draws.view(torch.int16)[:, :count].float() * 2.0**-15


def normal(keys: Tensor, count: int) -> Tensor:
    """int64 [B] -> float32 [B, count] of mean 0 and deviation 1, at most 5.8 from 0 (Box and Muller 1958)."""
    draws = mix(keys.unsqueeze(1) + mix(torch.arange(-(-count // 2), device=keys.device) - 2**41))
    distance = ((_shift(draws, 40) + 1).float() * 2.0**-24).log_().mul_(-2).sqrt_()
    angle = (draws & (2**24 - 1)).float() * (2.0**-23 * math.pi)
    return torch.stack((distance * angle.cos(), distance * angle.sin()), 2).flatten(1)[:, :count]


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right as if unsigned."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def within(chance: Number, limits: tuple[float, float]) -> Number:
    """Numbers in 0..1 -> numbers between the limits."""
    low, high = limits
    return low + (high - low) * chance
