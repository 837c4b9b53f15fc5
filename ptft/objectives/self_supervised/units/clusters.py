"""Clusters of features: k-means of a sample, and which cluster a feature is of.

Axes: N features of the sample, D their width, K clusters; … is whatever stands before the width.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ptft.errors import ConfigError

ROUNDS = 100
"""Of k-means, at the most."""


class Clusters(nn.Module):
    """Each feature is of the nearest of K centres. All that decides it is a buffer, so a checkpoint needs nothing else.

    Features are compared as deviations from their mean over the sample, each of the D values in units of its own
    standard deviation, so that none decides by its size. Until `fit` the centres are NaN.
    """

    mean: Tensor
    deviation: Tensor
    centres: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("centres", torch.full((count, width), torch.nan))

    @property
    def known(self) -> bool:
        """Whether there are centres, fitted or from a checkpoint."""
        return not bool(self.centres.isnan().any())

    @torch.no_grad()
    def fit(self, sample: Tensor, seed: int) -> None:
        """Centres of float [N, D]: k-means++ and Lloyd's rounds, drawn from `seed`. Raises ConfigError naming
        `objective.clusters` where the sample has fewer different features than there are to be centres."""
        self.mean.copy_(sample.mean(0))
        self.deviation.copy_(sample.std(0, correction=0).clamp(min=1e-5))
        self.centres.copy_(_k_means(self._scaled(sample).cpu(), len(self.centres), seed))

    def forward(self, features: Tensor) -> Tensor:
        """float […, D] -> the number of the nearest centre, long […]."""
        with torch.autocast(features.device.type, enabled=False):
            likeness = self._scaled(features.float()) @ self.centres.T - 0.5 * self.centres.square().sum(1)
        return likeness.argmax(-1)

    def _scaled(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


def _k_means(sample: Tensor, count: int, seed: int) -> Tensor:
    """float32 [N, D] -> centres [K, D]; one thread, for the order of several would decide the last digits."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    too_few = f"objective.clusters={count}: the sample has fewer different tokens ({len(sample):,} in all); type less"
    if len(sample) < count:
        raise ConfigError(too_few)
    found = KMeans(count, n_init=1, max_iter=ROUNDS, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            found.fit(sample.numpy())
        except ConvergenceWarning as error:
            raise ConfigError(too_few) from error
    return torch.from_numpy(found.cluster_centers_)
