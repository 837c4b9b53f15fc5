"""Base class of self-supervised objectives: random views, an evaluation that repeats, and the kNN probe.

Axes: B batch, V views, D width of features; … is whatever a prepared example has: C, H, W of images, F, M of sound.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ptft.augment.views import KINDS, Options
from ptft.augment.views import views as random_views
from ptft.core import Backbone, Batch, Examples, Objective, Spec, Step
from ptft.errors import ConfigError
from ptft.metrics.knn import Probe
from ptft.runtime.rng import EVALUATION_SEED, forked
from ptft.train.gradient_cache import InHalves

if TYPE_CHECKING:
    from typing_extensions import Self

COLLAPSED = 0.02
"""A spread of features below which they are as good as all the same."""


class Unlabelled(Objective):
    """An objective whose labels, where there are any, only measure: `knn` and `feature_std` of `ptft.metrics.knn`.

    A subclass implements `learn`. What it draws there at random is the same in every evaluation, and training's
    generators are left alone, so `val/loss` can be compared and training goes on as without an evaluation.

    views: options of the modality's random views, or the user's own; `self.views(x)` is a random view in evaluation
        as well.
    reference: the training examples, whose features the probe's bank is made of.
    kinds: the modalities that it can learn from: where there are random views, unless it says otherwise.
    Raises ConfigError for data of another modality.
    """

    kinds: ClassVar[frozenset[str]] = frozenset(KINDS)
    probing = True

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        views: Options = None,
        reference: Examples | None = None,
    ) -> None:
        super().__init__()
        if spec.modality not in self.kinds:
            kinds = " and ".join(sorted(self.kinds))
            raise ConfigError(f"objective={self.name}: it makes views of {kinds}, the dataset yields {spec.modality}")
        self.backbone = backbone
        self.views = random_views(spec, views)
        self.probe = Probe(reference, len(spec.classes))
        if reference is None or self.probe.reference is not None:
            self.monitor = {"metric": "val/knn", "mode": "max"}

    @property
    def name(self) -> str:
        """What the user typed, for messages."""
        return type(self).__name__.lower()

    @abstractmethod
    def learn(self, x: Tensor) -> Step:
        """A prepared batch [B, …], as it is -> Step."""

    def forward(self, batch: Batch) -> Step:
        x = self.backbone.inputs(batch)
        if self.training:
            return self.learn(x)
        return self._measured(x, batch) if self.probing else self._repeated(x)

    @contextmanager
    def unmeasured(self) -> Iterator[None]:
        """Inside, `forward` in evaluation leaves out the probe, whose bank is many examples more."""
        self.probing = False
        try:
            yield
        finally:
            self.probing = True

    def compile(self, *arguments: Any, **options: Any) -> None:
        """As Module.compile, for training alone: in evaluation there is a bank that comes and goes.

        `torch.compiler.disable` would import the compiler, some seconds, also where nothing is ever compiled.
        """
        super().compile(*arguments, **options)
        compiled: Any = self._compiled_call_impl
        plain: Any = self._call_impl
        self._compiled_call_impl = lambda *given: compiled(*given) if self.training else plain(*given)

    def _measured(self, x: Tensor, batch: Batch) -> Step:
        step = self._repeated(x)
        return replace(step, sums={**step.sums, **self.probe.sums(self.encode, batch)})

    def _repeated(self, x: Tensor) -> Step:
        """Each batch draws the same again: views and masks follow from an example's place in it, and so losses of
        evaluations differ a little between sizes of batches."""
        with forked(x.device, EVALUATION_SEED):
            return self.learn(x)

    def encode(self, batch: Batch) -> Tensor:
        """A raw batch -> pooled features [B, D]."""
        return self.features(self.backbone.inputs(batch))

    def features(self, x: Tensor) -> Tensor:
        """A prepared batch [B, …] -> pooled features [B, D]."""
        return self.backbone.pool(self.backbone(x))

    def evaluation_size(self, examples: int) -> int:
        """The features of the probe's bank are computed anew each time."""
        return examples + self.probe.size

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """In evaluation the probe's: `feature_std`, and with labels `knn`."""
        return self.probe.metrics(sums)

    def warnings(self, metrics: dict[str, float]) -> list[str]:
        if metrics.get("feature_std", 1.0) >= COLLAPSED:
            return []
        return [
            f"the features have collapsed: all examples look nearly the same to the model (feature_std below "
            f"{COLLAPSED:g}; 1 is spread, 0 is one point); try a lower optimizer.lr, a larger batch or other options "
            f"of objective={self.name}"
        ]

    def train(self, mode: bool = True) -> Self:
        """As Objective.train; the bank is that of one evaluation, and views are drawn in both modes."""
        super().train(mode)
        self.views.train()
        self.probe.forget()
        return self


class Comparing(Unlabelled, InHalves):
    """An objective without labels that compares projections of several views of the examples of a batch."""

    @abstractmethod
    def projections(self, x: Tensor) -> Tensor:
        """A prepared batch [B, …] -> projections of views of each example, [B, V, D]."""

    @abstractmethod
    def judge(self, embedded: Tensor) -> Step:
        """Projections [B, V, D] of a whole batch -> Step."""

    def embed(self, batch: Batch) -> Tensor:
        return self.projections(self.backbone.inputs(batch))

    def compare(self, embedded: Tensor, batch: Batch) -> Step:
        return self.judge(embedded)

    def learn(self, x: Tensor) -> Step:
        return self.judge(self.projections(x))


def paired(views: Tensor) -> Tensor:
    """Two views of a batch, one after the other, [2 B, D] -> [B, 2, D]."""
    return torch.stack(views.chunk(2), dim=1)


def count(x: Tensor) -> Tensor:
    """How many examples [B, …] there are, as a scalar on their device: a copy of a number would wait for it."""
    return torch.full((), len(x), device=x.device)
