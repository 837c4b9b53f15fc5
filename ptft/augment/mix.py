"""Mixup and CutMix: random mixtures of a batch's images and labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional as F

from ptft.augment.image import _boxes, _check


class Mix(nn.Module):
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with a random permutation of itself.

    mixup, cutmix: parameter of the shares' Beta distribution, 0 = off; with both on, a sample gets either by chance.
    probability: of mixing a sample at all. Every sample has its own share and box. In evaluation mode nothing is mixed.
    Raises ConfigError naming `objective.mixup` or `objective.cutmix`.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0, probability: float = 1.0) -> None:
        super().__init__()
        for key, value, high in (("mixup", mixup, 100), ("cutmix", cutmix, 100), ("probability", probability, 1)):
            _check(f"objective.{key}", value, 0, high)
        self.mixup, self.cutmix, self.probability = mixup, cutmix, probability
        self.draws_alone = bool(mixup or cutmix)  # a partner may be in another process

    def forward(self, x: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """float [B, C, H, W] and labels, long [B] or one-hot [B, K] -> mixed [B, C, H, W] and shares [B, K]."""
        soft = (target if target.ndim == 2 else F.one_hot(target, num_classes)).to(x.dtype)
        if not self.training or not (self.mixup or self.cutmix):
            return x, soft
        partner = torch.randperm(len(x), device=x.device)
        weight = self._weight(x)
        share = weight.mean((1, 2, 3))[:, None]  # in pixels: of CutMix's box as the border cut it, not as it was drawn
        return torch.lerp(x[partner], x, weight), torch.lerp(soft[partner], soft, share)

    def _weight(self, x: Tensor) -> Tensor:
        """How much of each pixel stays: [B, 1, H, W], or [B, 1, 1, 1] where it is the same all over."""
        weight = torch.ones(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
        cut = torch.rand_like(weight) < (0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        if self.mixup:
            weight = torch.where(cut, 1, _beta(self.mixup, x))
        if self.cutmix:
            side = (1 - _beta(self.cutmix, x).flatten()).sqrt()
            boxes = _boxes(torch.rand_like(side), torch.rand_like(side), side, side, x)[:, None]
            weight = torch.where(cut & boxes, 0, weight)
        return torch.where(torch.rand_like(cut, dtype=x.dtype) < self.probability, weight, 1)


def _beta(alpha: float, x: Tensor) -> Tensor:
    """[B, 1, 1, 1] of Beta(alpha, alpha)."""
    concentration = torch.full((len(x), 1, 1, 1), alpha, device=x.device, dtype=torch.float32)
    return Beta(concentration, concentration, validate_args=False).sample().to(x.dtype)
