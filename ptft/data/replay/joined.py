"""Batches of two datasets as one: rows of both, in the order in which they were asked for.

Axes: B batch, P its rows of one dataset, Q of the other, T tokens, samples or marks of the longest.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ptft.core import Batch
from ptft.data.audio.examples import PAD
from ptft.data.text.examples import NO_LABEL
from ptft.errors import DataError

FILL = {"label": NO_LABEL, "target": PAD, "box_label": -1}
"""What fills up rows that are shorter than others, where it is not 0; of `input` its padding."""


def joined(one: Batch, other: Batch, order: Tensor, padding: int) -> Batch:
    """The rows of both (P of one, then Q of the other) at `order`, long [B]; padding: of `input`.

    A batch of texts that does not say which document a token is of, or what of it is an answer, holds one document, all
    of which is to be learned. Raises DataError where only one of the two has something else.
    """
    one, other = _complete(one, other), _complete(other, one)
    if differ := sorted(one.keys() ^ other.keys()):
        raise DataError(f"train.replay: only one of the two datasets has {', '.join(differ)}; they can't share batches")
    device = max((one["input"].device, other["input"].device), key=lambda device: device.type != "cpu")
    fill = {**FILL, "input": padding}
    both = {name: _rows(one[name].to(device), other[name].to(device), fill.get(name, 0)) for name in one}
    return {name: values.index_select(0, order.to(device, non_blocking=True)) for name, values in both.items()}


def _complete(batch: Batch, other: Batch) -> Batch:
    """With what the other has, where what there is says it."""
    if "mask" not in batch:
        return batch
    document = {"document": batch["mask"].long()} if "document" in other else {}
    answer = {"answer": batch["mask"].clone()} if "answer" in other else {}
    return {**document, **answer, **batch}


def _rows(one: Tensor, other: Tensor, fill: int) -> Tensor:
    """[P, ...] and [Q, ...] -> [P + Q, ...], each filled up at the end of its second axis to the longer one."""
    if one.ndim > 1 and one.shape[1] != other.shape[1]:
        length = max(one.shape[1], other.shape[1])
        one, other = _filled(one, length, fill), _filled(other, length, fill)
    return torch.cat([one, other])


def _filled(rows: Tensor, length: int, fill: int) -> Tensor:
    behind = [0, 0] * (rows.ndim - 2)
    return pad(rows, [*behind, 0, length - rows.shape[1]], value=fill)
