"""Batch normalisation by the statistics of whole batches, whose rows several processes have.

Axes: B rows of this process, perhaps none, C channels; … is whatever follows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

from ptft.core import Objective


def synchronise(objective: Objective, device: torch.device) -> None:
    """Let all its batch norms, and those of its teachers, normalise by whole batches; names and weights stay.

    An example's loss depends on the others then, so a process without examples takes part in every step.
    """
    nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
    if device.type != "cuda":  # torch's own needs one
        for module in objective.modules():
            if type(module) is nn.SyncBatchNorm:
                module.__class__ = SummedBatchNorm
    setattr(objective, "whole_batch", True)  # noqa: B010 - of this one, not of its class


class SummedBatchNorm(nn.SyncBatchNorm):
    """As torch's on a GPU: mean and variance from sums of all processes, with their gradient, in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, …] -> the same."""
        if not self.training:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        x, shape = input.float(), (1, -1, *[1] * (input.ndim - 2))
        axes = [0, *range(2, x.ndim)]
        count = x.new_full((1,), x.numel() // x.shape[1])
        *_, total = sums = _Sum.apply(torch.cat([x.sum(axes), count]))
        centred = x - (sums[:-1] / total).view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / total
        self._follow((sums[:-1] / total).detach(), variance.detach(), total.detach())
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        normalised: Tensor = out.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """The running statistics take in a batch's; a variance there is without bias."""
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if share is None else share
        assert share is not None
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total
