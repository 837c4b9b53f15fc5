"""Small networks between a backbone and a self-supervised loss. They are thrown away afterwards; the backbone stays.

Axes: B batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def mlp(
    sizes: Sequence[int], *, norm: bool = True, last_norm: bool = False, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """A perceptron [B, sizes[0]] -> [B, sizes[-1]]: linear, BatchNorm, activation, …, linear.

    The projector of SimCLR (Chen et al. 2020, section 4.2), projector and predictor of BYOL (Grill et al. 2020,
    section 3.3), and with `norm=False, activation=nn.GELU` the one in DINO's head (Caron et al. 2021, appendix C).

    norm: BatchNorm after every linear map but the last; last_norm: after that one too, without scale and shift.
    """
    parts: list[nn.Module] = []
    for i, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        normed = last_norm if last else norm
        parts.append(nn.Linear(wide, narrow, bias=not normed))
        if normed:
            parts.append(nn.BatchNorm1d(narrow, affine=not last))
        if not last:
            parts.append(activation())
    return nn.Sequential(*parts)
