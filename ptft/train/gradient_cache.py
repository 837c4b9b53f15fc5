"""Gradients of a loss that compares the examples of a batch, computed in parts and equal to the whole batch's.

After Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup". Axes: B batch.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ptft.core import Batch, Objective, Step
from ptft.runtime.together import draws

if TYPE_CHECKING:
    from ptft.train.state import Training


class InHalves(Objective):
    """An objective whose loss compares examples, and which says what it needs of each before it compares them."""

    whole_batch: ClassVar[bool] = True

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """A raw batch on the device -> what the loss needs of each example, float [B, …]. Reads no other example."""

    @abstractmethod
    def compare(self, embedded: Tensor, batch: Batch) -> Step:
        """What `embed` made of a whole batch, float [B, …], and the batch -> Step. Draws nothing at random."""


def backward(t: Training, objective: InHalves, batch: Batch) -> Step:
    """Adds the gradients of a whole batch's summed loss to the parameters', with the activations of one part at a time.

    Each part is embedded without a graph, all are compared, and each is embedded again, with the same random numbers,
    to take the gradient of the loss by what it gave on to the parameters. It costs one forward pass more.
    """
    size = len(batch["input"])
    count = max(1, min(t.accumulate, size))
    cut = [tensor.tensor_split(count) for tensor in batch.values()]
    pieces = [dict(zip(batch, values, strict=True)) for values in zip(*cut, strict=True)]
    starts = [0, *accumulate(len(piece["input"]) for piece in pieces)]
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]

    def embed(piece: Batch, start: int) -> Tensor:
        part(start, len(piece["input"]))
        with t.autocast():
            return objective.embed(piece)

    with draws.repeated(t.device, size) as part:
        with torch.no_grad():
            embedded = torch.cat(list(map(embed, pieces, starts))).requires_grad_()
        for buffer, before in buffers:  # a batch norm counts each part once
            buffer.copy_(before)
        with t.autocast():
            step = objective.compare(embedded, batch)
        (t.scaler.scale(step.total) if t.scaler else step.total).backward()  # type: ignore[no-untyped-call]
        assert embedded.grad is not None
        for piece, start, gradient in zip(pieces, starts[:-1], embedded.grad.tensor_split(count), strict=True):
            torch.autograd.backward([embed(piece, start)], [gradient])
    return step
