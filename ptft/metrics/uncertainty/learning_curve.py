"""Learning curves: what an error falls to with more of something, from what it was with little, and how sure that is.

An error falls with the amount n as floor + level * n^-slope, a power law above what no amount removes (Hestness et
al. 2017, "Deep Learning Scaling is Predictable, Empirically"; Viering & Loog 2022, "The Shape of Learning Curves").
Axes: R draws, K amounts, Q questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.metrics.uncertainty.statistics import CONFIDENCE

LEAST_AMOUNTS = 3
"""With fewer a curve that bends can't be told from one that does not."""
DRAWS = 8_000
MISFIT = 0.08
"""How far, as a share of the error, a true curve is allowed to lie beside a power law."""
NO_FLOOR = 0.25
"""How many of the curves fall without end; the others stop anywhere below the least error that was drawn."""
TINY = 1e-6


class Range(NamedTuple):
    """The middle of what may be, and the ends of its 95 % interval; infinite where nothing is enough."""

    middle: float
    low: float
    high: float


class Curves(NamedTuple):
    """Power laws that may have led to what was measured: floor, level, slope, and how likely each is; float64 [R]."""

    floor: Tensor
    level: Tensor
    slope: Tensor
    weight: Tensor

    def at(self, amount: float) -> Tensor:
        """The error with so much, [R]."""
        return self.floor + self.level * amount**-self.slope

    def amount(self, error: Tensor) -> Tensor:
        """How much takes each to an error, [R]; infinite where it never comes there."""
        above, falls = error - self.floor, self.slope > TINY
        needed = (self.level / above.clamp(min=TINY)) ** (1 / self.slope.clamp(min=TINY))
        return needed.masked_fill((above <= TINY) | ~falls, math.inf)

    def range(self, values: Tensor) -> Range:
        """Of a value for each curve, [R]."""
        return spread(values, self.weight)


def spread(values: Tensor, weight: Tensor) -> Range:
    """Of values that are as likely as `weight` says, both [R]."""
    order = values.argsort()
    part = weight[order].cumsum(0) / weight.sum()
    tail = (1 - CONFIDENCE) / 2
    wanted = torch.tensor([0.5, tail, 1 - tail], dtype=part.dtype)
    return Range(*values[order][torch.searchsorted(part, wanted).clamp(max=len(values) - 1)].tolist())


def curves(amounts: Sequence[float], errors: Sequence[Sequence[float]], seed: int = 0) -> Curves:
    """What may lie behind errors (from 0 on) that were measured with rising amounts, each with some seeds.

    Every draw takes the error of each amount anew, by Student's t of its seeds and by how far a curve may lie beside a
    power law, which seeds don't tell, and a floor below the least of them;
    level and slope are fitted to it by least squares in logarithms, and it is the likelier the nearer it comes.
    Raises ValueError for fewer than `LEAST_AMOUNTS`.
    """
    if len(amounts) < LEAST_AMOUNTS:
        raise ValueError(f"{len(amounts)} amounts: a curve takes at least {LEAST_AMOUNTS}")
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor([sum(each) / len(each) for each in errors], dtype=torch.float64).clamp(min=TINY)
    doubt, misfit = _doubt(errors), MISFIT * mean
    apart = (doubt.square() + misfit.square()).sqrt()
    by_seeds = _student(min(map(len, errors)) - 1, len(amounts), generator)
    beside = _student(0, len(amounts), generator)
    drawn = (mean + doubt * by_seeds + misfit * beside).clamp(min=TINY)
    part = torch.rand(DRAWS, generator=generator, dtype=torch.float64).sub(NO_FLOOR).clamp(min=0) / (1 - NO_FLOOR)
    floor = drawn.min(1).values * part
    above = (drawn - floor.unsqueeze(1)).clamp(min=TINY)
    x, y = torch.tensor(amounts, dtype=torch.float64).log().expand(DRAWS, -1), above.log()
    trust = (above / apart).square()
    total = trust.sum(1, keepdim=True)
    middle_x, middle_y = ((trust * axis).sum(1, keepdim=True) / total for axis in (x, y))
    slope = -((trust * (x - middle_x) * (y - middle_y)).sum(1) / (trust * (x - middle_x).square()).sum(1))
    level = (middle_y.squeeze(1) + slope * middle_x.squeeze(1)).exp()
    fitted = floor.unsqueeze(1) + level.unsqueeze(1) * (-slope.unsqueeze(1) * x).exp()
    weight = (-0.5 * ((drawn - fitted) / apart).square().sum(1)).exp()
    return Curves(floor, level, slope, weight.clamp(min=1e-300))


def _doubt(errors: Sequence[Sequence[float]]) -> Tensor:
    """Standard error of the mean of each amount's seeds, [K], half of it that of all amounts: few seeds may agree."""
    values = [torch.tensor(each, dtype=torch.float64) for each in errors]
    variances = torch.stack([each.var() if len(each) > 1 else each.new_zeros(()) for each in values])
    counts = torch.tensor([len(each) for each in values], dtype=torch.float64)
    return ((variances + variances.mean()) / 2 / counts).sqrt()


def _student(freedom: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draws of Student's t [R, K]; of one seed, whose spread nobody knows, the normal's."""
    normal = torch.randn(DRAWS, columns, generator=generator, dtype=torch.float64)
    if freedom < 1:
        return normal
    squares = torch.randn(DRAWS, columns, freedom, generator=generator, dtype=torch.float64).square().mean(2)
    return normal / squares.sqrt()
