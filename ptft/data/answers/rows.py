"""Items that are read in parts, a long text say, and make one row.

Axes: N items, M rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ptft.core import Spec
from ptft.data import readers


def firsts(spec: Spec, items: Sequence[Any]) -> list[int]:
    """The places of those items that begin a row: of neighbours that are parts of one the first, else each."""
    parts = [readers.part_of(spec, item) for item in items]
    return [i for i, part in enumerate(parts) if i == 0 or part is None or part != parts[i - 1]]


def joined(features: Tensor, first: Sequence[int]) -> Tensor:
    """The means of rows that are parts of one: float32 [N, D] -> [M, D]. first: where each of these begins."""
    if len(first) == len(features):
        return features
    owner = torch.zeros(len(features), dtype=torch.long)
    owner[torch.tensor(first[1:], dtype=torch.long)] = 1
    owner = owner.cumsum(0)
    sums = features.new_zeros(len(first), features.shape[1]).index_add_(0, owner, features)
    return sums / owner.bincount(minlength=len(first)).unsqueeze(1)
