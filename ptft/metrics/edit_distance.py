"""Edit distance: how many edits lead from one sequence to another (Levenshtein 1966).

Axes: B pairs, R and H symbols of the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def edits(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Tensor:
    """The least number of insertions, deletions and substitutions for every pair, long [B]; all pairs at once."""
    number = {symbol: k for k, symbol in enumerate({s for row in (*references, *hypotheses) for s in row})}
    one, other = (_numbers(rows, number) for rows in (references, hypotheses))
    return distance(*one, *other)


def distance(reference: Tensor, reference_length: Tensor, hypothesis: Tensor, hypothesis_length: Tensor) -> Tensor:
    """As `edits`, of symbols long [B, R] and [B, H] and how many of them are real, long [B].

    Row by row of the table of all prefixes (Wagner & Fischer 1974). Within a row, what comes from the left is a running
    minimum once each place's number is taken away.
    """
    places = torch.arange(reference.shape[1] + 1, device=reference.device)
    row = places.expand(len(reference), -1)
    out = row.gather(1, reference_length.unsqueeze(1)).squeeze(1)
    for i in range(hypothesis.shape[1]):
        differs = (reference != hypothesis[:, i : i + 1]).long()
        rest = torch.minimum(row[:, 1:] + 1, row[:, :-1] + differs)
        row = torch.cat([torch.full_like(row[:, :1], i + 1), rest], dim=1)
        row = (row - places).cummin(1).values + places
        out = torch.where(hypothesis_length == i + 1, row.gather(1, reference_length.unsqueeze(1)).squeeze(1), out)
    return out


def _numbers(rows: Sequence[Sequence[str]], number: dict[str, int]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows), default=0)
    padded = torch.tensor([[*(number[s] for s in row), *[-1] * (longest - len(row))] for row in rows]).long()
    return padded.view(len(rows), longest), torch.tensor([len(row) for row in rows]).long()
