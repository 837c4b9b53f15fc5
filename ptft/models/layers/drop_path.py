"""Stochastic depth. Axes: B batch, T tokens, D width."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, whole residual branches vanish for random examples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D] with the same mean; the identity in evaluation."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty(len(x), 1, 1).bernoulli_(1 - self.rate)
        return x * (keep / (1 - self.rate))


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Rates of stochastic depth that grow linearly from 0 in the first block to `last` in the last."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]
