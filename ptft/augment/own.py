"""Views of the user's own: a module on the prepared batch, and what it has to keep to.

Axes: B batch, C channels, H, W size of images; T frames, F bands of sound. Randomness: what the module draws from
torch's global generators; with `each` these are seeded for every example by `ptft.runtime.together.draws`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError, NotFiniteError, PtftError, first_line
from ptft.runtime.rng import forked
from ptft.runtime.system import understood
from ptft.runtime.together.draws import randint

SEEDS = 2**31


class OwnViews(nn.Module):
    """A module that maps a prepared batch to one of the same shape: float32 [B, C, H, W], or [B, T, F] with NaN behind
    each recording, which are NaN again whatever it makes of them. In evaluation mode the identity.

    It gets a copy. Its weights, if it has any, do not learn; buffers are saved with the objective, so what it keeps
    from call to call belongs there.

    name: what names it, for messages. each: call it for each example alone, [1, …], with numbers of its own, which are
    then the same in one process and in several. unit: (scale, offset), [C, 1, 1], with which values from 0 to 1 are
    normalised, where it is to get such.
    Raises ConfigError for a module that fails or gives anything else, NotFiniteError for values that are not finite; on
    other devices than a CPU only `complaint` says so, as looking would wait for the device.
    """

    scale: Tensor
    offset: Tensor
    spoiled: Tensor

    def __init__(
        self, module: nn.Module, name: str, *, each: bool = False, unit: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.module, self.name, self.each = module.requires_grad_(False), name, each
        self.draws_alone = not each  # of several processes each calls it with examples of its own
        self.unit = unit is not None
        scale, offset = unit or (torch.ones(()), torch.zeros(()))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("spoiled", torch.zeros((), dtype=torch.bool), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not len(x):
            return x
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            values = x.to(torch.float32, copy=True)
            if self.unit:
                values = ((values - self.offset) / self.scale).clamp(0, 1)
            made = self._one_by_one(values) if self.each else self._made(values)
            if self.unit:
                made = made * self.scale + self.offset
            return self._finite(made.to(x.dtype), x)

    def _one_by_one(self, x: Tensor) -> Tensor:
        seeds = randint(SEEDS, len(x), device=torch.device("cpu")).tolist()
        made = []
        with forked(x.device):
            for seed, one in zip(seeds, torch.split(x, 1), strict=True):
                _seed(seed, x.device)
                made.append(self._made(one))
        return torch.cat(made)

    def _made(self, x: Tensor) -> Tensor:
        shape, device = list(x.shape), x.device
        try:
            made = self.module(x)
        except Exception as error:  # whatever a stranger's module may raise
            if isinstance(error, PtftError) or understood(error):
                raise
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ConfigError(f"{self.name}: fails on a batch {shape} ({reason})") from error
        if not isinstance(made, Tensor):
            raise ConfigError(f"{self.name}: gives {type(made).__name__}, must give a tensor {shape}, as it gets")
        if list(made.shape) != shape or not made.is_floating_point() or made.device != device:
            given = f"{made.dtype} {list(made.shape)}{'' if made.device == device else f' on {made.device}'}"
            raise ConfigError(f"{self.name}: gives {given}, must give floats {shape}, as it gets")
        return made

    def _finite(self, made: Tensor, x: Tensor) -> Tensor:
        """With NaN where no recording is, and nowhere else."""
        finite = made.isfinite()
        if x.ndim < 4:
            behind = x.isnan()
            finite, made = finite | behind, made.masked_fill(behind, torch.nan)
        if made.device.type != "cpu":
            self.spoiled |= ~finite.all()
        elif not finite.all():
            raise NotFiniteError(self._complaint)
        return made

    @property
    def _complaint(self) -> str:
        return f"{self.name}: gives values that are not finite (NaN or infinite) of a batch that has none"

    def complaint(self) -> str:
        """What is to be said where a loss is not finite, if it is this module's fault, else ""."""
        return self._complaint if self.spoiled else ""


def _seed(seed: int, device: torch.device) -> None:
    """As `torch.manual_seed`, which takes a tenth of a millisecond for devices that nobody asked for."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)
