"""A model in the words of transformers: its configuration, its class, and every tensor by its name there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

SMALL = 2.0**-13
"""What is put before a tanh times this passes it as it is, to seven digits where it is below 8; a power of two rounds
nothing."""


class Inexpressible(Exception):
    """Why transformers has no place for a model: half a sentence, which says what would have one."""


@dataclass(frozen=True)
class Expressed:
    """config: the name of its class, and options: what it is made with. model: the name of the model's class.

    weights: gets the id of the padding, and yields every tensor by its name. positions: how many tokens a text may
    have; None: any number. counts_from_pad: whether the table of positions begins behind the id of the padding.
    remarks: sentences for the card.
    """

    config: str
    options: dict[str, Any]
    model: str
    weights: Callable[[int], Iterator[tuple[str, Tensor]]]
    positions: int | None = None
    counts_from_pad: bool = False
    remarks: tuple[str, ...] = field(default=())


def linear(name: str, module: Any) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a matrix or a norm."""
    yield f"{name}.weight", module.weight
    yield f"{name}.bias", module.bias


def without_bias(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The weight of a matrix that has no bias, and zeros in the place of one."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight.new_zeros(len(weight))
