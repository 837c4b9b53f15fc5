"""Activation checkpointing: memory for time (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost")."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ptft.core import Backbone

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def checkpoint_activations(backbone: Backbone) -> int:
    """Let every block of `backbone.layers()` forget its activations, and compute them again for its gradients.

    Changes nothing else: gradients, random numbers and batch statistics are those without it, and so are the names in
    the state dict. A module without parts of its own is left out: what it keeps is its input, which stays anyway.
    Returns how many blocks there are.
    """
    blocks = [module for layer in backbone.layers() for module in layer if next(module.children(), None) is not None]
    for block in blocks:
        block.forward = _Checkpointed(block)
    return len(blocks)


class _Checkpointed:
    """The forward pass of `block`, which it takes the place of; a copy of the block gets one of its own."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        forward = type(self.block).forward
        if not torch.is_grad_enabled():
            return forward(self.block, *inputs, **options)
        return checkpoint(forward, self.block, *inputs, use_reentrant=False, context_fn=self._contexts, **options)

    def _contexts(self) -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        """What the first pass and the second run in; the second starts from the first one's random state by itself."""
        norms = [module for module in self.block.modules() if isinstance(module, BATCH_NORMS)]
        return contextlib.nullcontext(), _counted_already(norms)


@contextlib.contextmanager
def _counted_already(norms: Sequence[Any]) -> Iterator[None]:
    """Batch norms normalise with the batch's statistics as before, but don't take them into the running ones again.

    The running ones must be handed over all the same, as autograd compares what both passes save.
    """
    kept: list[tuple[float | None, Tensor | None]] = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
