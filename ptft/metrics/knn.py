"""k-nearest-neighbour accuracy of features that were learned without labels, and how far these are spread.

Axes: B batch, D width, M examples of the bank, K classes, k neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.core import Batch, Examples

MOST, BYTES = 2000, 2**27
"""The bank's size at the most: examples, and bytes of what they are computed from."""
AT_ONCE = 256
NEIGHBOURS, TEMPERATURE = 20, 0.07


class Probe:
    """Weighted k-nearest-neighbour accuracy (Wu et al. 2018, section 3.4), k = 20, cosine similarity, temperature 0.07.

    The bank holds the features of labelled training examples, spread evenly over the split. It is computed when it is
    first asked for and until `forget`, so that it belongs to the weights that are measured. Nothing random is drawn.

    reference: the training examples; None, or none with labels, measures the spread alone.
    """

    def __init__(self, reference: Examples | None, num_classes: int) -> None:
        labels = None if reference is None else reference.labels
        labelled = (
            labels is not None and labels.ndim == 1 and num_classes > 1
        )  # of label sets there is no one to vote for
        self.reference = reference if labelled else None
        self.num_classes = num_classes
        self.raw: Batch | None = None
        self.bank: tuple[Tensor, Tensor] | None = None

    @property
    def size(self) -> int:
        """Examples of the bank at the most."""
        return min(MOST, len(self.reference)) if self.reference is not None else 0

    def forget(self) -> None:
        """The weights are about to change."""
        self.bank = None

    @torch.no_grad()
    def sums(self, encode: Callable[[Batch], Tensor], batch: Batch) -> dict[str, Tensor]:
        """What `metrics` needs of a batch. encode: raw batch -> pooled features [B, D], in evaluation mode."""
        features = normalised(encode(batch))
        probed = torch.full((), len(features), device=features.device)  # the objective may count patches, say
        sums = {"feature_sum": features.sum(0), "feature_square": features.square().sum(0), "probed": probed}
        if self.reference is not None and "label" in batch:
            voted = vote(features, *self._bank(encode, features.device), self.num_classes)
            sums["neighbours"] = (voted == batch["label"]).sum()
        return sums

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """`knn`, the share of right votes, where there are labels, and `feature_std`; nothing of training's sums."""
        if "feature_sum" not in sums:
            return {}
        count = sums["probed"]
        metrics = {"feature_std": spread(sums["feature_sum"], sums["feature_square"], count)}
        return {**metrics, "knn": float(sums["neighbours"] / count)} if "neighbours" in sums else metrics

    def _bank(self, encode: Callable[[Batch], Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
        if self.bank is None:
            raw = self._raw(device)
            pieces = zip(*(torch.split(value, AT_ONCE) for value in raw.values()), strict=True)
            parts = [normalised(encode(dict(zip(raw, piece, strict=True)))) for piece in pieces]
            self.bank = torch.cat(parts), raw["label"]
        return self.bank

    def _raw(self, device: torch.device) -> Batch:
        """The bank's examples as they are read: the first time only, for files take a while to decode."""
        if self.raw is None:
            assert self.reference is not None
            total = len(self.reference)
            size = sum(value[:1].nbytes for value in self.reference.take(torch.tensor([0])).values())
            count = min(MOST, total, max(1, BYTES // max(size, 1)))
            chosen = torch.linspace(0, total - 1, count, dtype=torch.float64).round().long()
            batch = self.reference.take(chosen)
            self.raw = {name: value.to(device) for name, value in batch.items()}
        return self.raw


def normalised(features: Tensor) -> Tensor:
    """[B, D] -> float32 [B, D] of length 1."""
    return F.normalize(features.float(), dim=1)


def vote(features: Tensor, bank: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """[B, D], [M, D] of length 1 and long [M] -> the class long [B] with the largest sum of exp(cosine / T)."""
    with torch.autocast(features.device.type, enabled=False):  # differences of cosines count, over a small temperature
        similarity, nearest = (features @ bank.T).topk(min(NEIGHBOURS, len(bank)), dim=1)
    votes = torch.zeros(len(features), num_classes, device=features.device)
    votes.scatter_add_(1, labels[nearest], (similarity / TEMPERATURE).exp())
    return votes.argmax(1)


def spread(total: Tensor, square: Tensor, count: Tensor) -> float:
    """sqrt(D) times the mean over dimensions of the standard deviation of features of length 1 (Chen & He 2021, 4.1).

    total, square: [D] sums of the values and of their squares over `count`. About 1 where features are spread over the
    sphere, 0 where all are the same.
    """
    mean = total.double() / count
    variance = (square.double() / count - mean.square()).clamp(min=0)
    return float(variance.sqrt().mean()) * math.sqrt(len(total))
