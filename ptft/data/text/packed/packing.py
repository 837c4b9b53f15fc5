"""Packing: which texts share a row, so that few places stay empty and none is cut.

Axes: N texts, R rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptft.data.ragged import starts_of


def packed(lengths: Tensor, room: int) -> list[list[int]]:
    """Rows of at most `room` tokens: which texts (of `lengths`, long [N], none above `room`) each of them holds.

    The longest first, each into the fullest row that has a place for it (best fit decreasing; Ding et al. 2024, "Fewer
    truncations improve language modeling").
    """
    rows: list[list[int]] = []
    by_space: list[list[int]] = [[] for _ in range(room + 1)]
    open_spaces = 0  # bit s is set where a row has s places left
    order = lengths.argsort(descending=True, stable=True)
    for text, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fits = open_spaces >> length
        if fits:
            space = length + (fits & -fits).bit_length() - 1
            row = by_space[space].pop()
            if not by_space[space]:
                open_spaces &= ~(1 << space)
        else:
            space, row = room, len(rows)
            rows.append([])
        rows[row].append(text)
        by_space[space - length].append(row)
        open_spaces |= 1 << (space - length)
    return rows


def pieces(starts: Tensor, lengths: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor]:
    """Texts [N] in pieces of at most `room` tokens: starts, lengths, and of which text each is, long [n].

    A piece that is no beginning repeats the last token before it, from which its first is predicted.
    """
    count = ((lengths - 2).clamp(min=0) // (room - 1)) + 1
    text = torch.arange(len(lengths)).repeat_interleave(count)
    place = torch.arange(len(text)) - starts_of(count)[text]
    begins = place * (room - 1)
    return starts[text] + begins, (lengths[text] - begins).clamp(max=room), text
