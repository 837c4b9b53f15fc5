"""A function of the user's own on each image of the training split, where images are read. Axes: B batch, C channels,
H height, W width, N images."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.label_sets.handed_on import HandedOn
from ptft.data.user_dataset.items import of_array
from ptft.errors import ConfigError, PtftError, first_line
from ptft.runtime.system import understood
from ptft.runtime.together.splitmix import key, mix

KINDS = ("array", "tensor", "pil")
DRAW = 2**42
"""The example i that comes for the d-th time in an epoch, counted from 0, has the number DRAW * d + i there: more than
there are examples, also of an earlier training among them."""
DRAWS = 2**20
"""So many times an example may come, each with numbers of its own."""


class Transformed(HandedOn):
    """The same examples, whose images a function of the user's own changes whenever they are taken: once they have
    their size and channels, and after they came out of a cache. So they are read in workers, from the CPU's memory too.

    It gets an image as `kind` says, an array uint8 [H, W, C], a tensor uint8 [C, H, W] or an image of PIL, and gives
    any of them back, of the same size. What it draws from torch's, numpy's and Python's global generators follows from
    the epoch's seed, the image's index and how often it came before in the epoch, whoever reads it; so does what an
    object draws that has `set_random_seed(seed)`. Those generators are left alone.
    Raises ConfigError, which begins with `name`, for one that fails or gives anything else.
    """

    def __init__(self, examples: Examples, function: Callable[[Any], Any], kind: str, name: str) -> None:
        super().__init__(examples.to(torch.device("cpu")))
        self.function, self.kind, self.name, self.seed = function, kind, name, 0

    def of_epoch(self, seed: int) -> Transformed:
        """The same as an epoch shows them that is decided by `seed`."""
        epoch = copy(self)
        epoch.seed = seed
        return epoch

    def shuffled(self, seed: int) -> Tensor:
        """As `examples` do it, by the numbers of draws (see DRAW)."""
        order = self.examples.shuffled(seed)
        return order + _came_before(order) % DRAWS * DRAW

    @property
    def in_memory(self) -> bool:
        return False

    def take(self, indices: Tensor) -> Batch:
        """indices: of examples, or numbers of draws; `index` of the batch is of examples."""
        batch = self.examples.take(indices % DRAW)
        first, before = mix(batch["index"] ^ key(self.seed)), _draws_of(batch["index"], indices)
        seeds = torch.where(before > 0, mix(first + before), first) % 2**32
        each = zip(seeds.tolist(), batch["index"].tolist(), batch["input"], strict=True)
        with _as_before():
            images = [self._made(*one) for one in each]
        return {**batch, "input": torch.stack(images)} if images else batch

    def _made(self, seed: int, index: int, image: Tensor) -> Tensor:
        self._begin(seed)
        try:
            made = self.function(_as_kind(image, self.kind))
        except Exception as error:  # whatever a stranger's function may raise
            if isinstance(error, PtftError) or understood(error):
                raise
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ConfigError(f"{self.name}: fails on training image {index} ({reason})") from error
        pixels = _as_tensor(made)
        if pixels is None or pixels.shape != image.shape:
            given = type(made).__name__ if pixels is None else f"an image {_size(pixels)}"
            if isinstance(made, Tensor | np.ndarray):
                given = f"{made.dtype} {list(made.shape)}"
            raise ConfigError(
                f"{self.name}: gives {given} of training image {index}, must give uint8 of its size {_size(image)}"
            )
        return pixels

    def _begin(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        if (own := getattr(self.function, "set_random_seed", None)) is not None:
            own(seed)


def _came_before(order: Tensor) -> Tensor:
    """Long [N], how often each of an order (long [N]) stands in it before."""
    values, places = order.sort(stable=True)
    number = torch.arange(len(order))
    is_first = values.diff(prepend=values[:1] - 1) != 0
    first = torch.where(is_first, number, 0).cummax(0).values  # of equal ones
    return torch.empty_like(order).scatter_(0, places, number - first)


def _draws_of(index: Tensor, numbers: Tensor) -> Tensor:
    """Long [b], how often the examples that came, `index` (long [b]), came before; numbers (long [B]): of the draws
    that were asked for, of which some examples may be unreadable."""
    before = numbers // DRAW
    if len(index) == len(numbers):
        return before
    asked = zip((numbers % DRAW).tolist(), before.tolist(), strict=True)
    return torch.tensor([next(draw for row, draw in asked if row == one) for one in index.tolist()], dtype=torch.long)


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """After it the global generators are as they were."""
    state = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])


def _as_kind(image: Tensor, kind: str) -> Any:
    """A copy of an image uint8 [C, H, W]."""
    if kind == "tensor":
        return image.clone()
    array = image.permute(1, 2, 0).numpy().copy()
    return array if kind == "array" else Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _as_tensor(made: Any) -> Tensor | None:
    """uint8 [C, H, W] of any of the kinds, None of anything else; an array may lack the axis of one channel."""
    if isinstance(made, Image.Image):
        made = np.array(made)
    if isinstance(made, np.ndarray) and made.dtype == np.uint8 and made.ndim in (2, 3):
        whole = made[:, :, None] if made.ndim == 2 else made
        return of_array(whole.transpose(2, 0, 1))
    fits = isinstance(made, Tensor) and made.dtype == torch.uint8 and made.device.type == "cpu"
    return made.as_subclass(Tensor).contiguous() if fits else None


def _size(image: Tensor) -> str:
    return "×".join(map(str, [*image.shape[1:], image.shape[0]]))
