"""DINO objective: self-distillation from a momentum teacher, from large crops to all crops (Caron et al. 2021).

Axes: B batch, V views of an image, D width of features, E of the bottleneck, K prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.augment.views import Options
from ptft.augment.views import views as random_views
from ptft.core import Backbone, Spec, Step
from ptft.distributed.gather import gathered
from ptft.errors import ConfigError
from ptft.models.layers.mlp import mlp
from ptft.objectives.self_supervised.base import Unlabelled, count
from ptft.objectives.self_supervised.momentum_encoder import Teacher

if TYPE_CHECKING:
    from typing_extensions import Self

GLOBAL = 2
"""Large crops of an image, which the teacher sees."""


class DINO(Unlabelled):
    """Cross-entropy between teacher and student over prototypes, for every pair of two different crops of an image.

    The teacher sees two large crops, the student all of them. The teacher's answers are centred (less a moving mean of
    them) and sharpened (a low temperature), which together keep all images from getting the same answer (section 3.1).

    local_crops: how many small crops. global_crop, local_crop: smallest and largest area of either kind.
    local_size: side of the small crops' images in pixels; None for half of the image, or the next that the backbone
        takes (its own size, where it takes no other).
    hidden, bottleneck, prototypes: the head's sizes; hidden None for twice the backbone's width. norm: BatchNorm in
        it; the paper goes without, but runs of few steps then hardly leave the start, where all images are alike.
    temperature: of the student. teacher_temperature: of the teacher, at the first step and after the warm-up.
    warmup: share of the run in which the teacher's temperature rises. freeze_last: share of the run, from its start,
        in which the last layer does not learn. momentum: of the teacher at the first step; rises to 1 at the last.
    center_momentum: of the moving mean.
    options: those of `Unlabelled`; of `views` crops come first.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    whole_batch: ClassVar[bool] = True
    heads: ClassVar[tuple[str, ...]] = ("head",)
    head: Head
    center: Tensor
    teacher_temperature: Tensor
    teacher_sum: Tensor

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        local_crops: int = 4,
        global_crop: Sequence[float] = (0.4, 1.0),
        local_crop: Sequence[float] = (0.1, 0.4),
        local_size: int | None = None,
        hidden: int | None = None,
        bottleneck: int = 128,
        prototypes: int = 1024,
        norm: bool = True,
        temperature: float = 0.1,
        teacher_temperature: Sequence[float] = (0.03, 0.04),
        warmup: float = 0.3,
        freeze_last: float = 0.05,
        momentum: float = 0.99,
        center_momentum: float = 0.9,
        views: Options = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        self.views = random_views(spec, views, crop=global_crop)
        size = local_view_size(backbone, spec.shape["size"], local_size)
        self.local_views = random_views(spec, views, crop=local_crop, size=size)
        for name in self.heads:
            self.add_module(name, Head(backbone.width, hidden or 2 * backbone.width, bottleneck, prototypes, norm))
        self.teacher = Teacher(self.students(), momentum)
        self.local_crops, self.temperature = local_crops, temperature
        self.temperatures, self.warmup, self.freeze_last = teacher_temperature, warmup, freeze_last
        self.center_momentum = center_momentum
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("teacher_temperature", torch.zeros(()))
        # From `forward` to `advance`: the sum of the teacher's outputs and, last, how many they are.
        self.register_buffer("teacher_sum", torch.zeros(prototypes + 1), persistent=False)
        self._phase(0.0)

    def students(self) -> dict[str, nn.Module]:
        """What the teacher follows."""
        return {"backbone": self.backbone, **{name: self.get_submodule(name) for name in self.heads}}

    def learn(self, x: Tensor) -> Step:
        large = self.views(x.repeat(GLOBAL, 1, 1, 1))
        features = [self.features(large)]
        if self.local_crops:
            features.append(self.features(self.local_views(x.repeat(self.local_crops, 1, 1, 1))))
        log_probabilities = (self.head(torch.cat(features)) / self.temperature).log_softmax(1)
        targets, crops = self.targets(large), GLOBAL + self.local_crops
        wanted = targets.view(GLOBAL, len(x), targets.shape[1])
        total = cross_entropy(wanted, log_probabilities.view(crops, len(x), targets.shape[1]))
        return Step(total, count(x), {})

    @torch.no_grad()
    def targets(self, large: Tensor) -> Tensor:
        """Large crops [2 B, C, H, W] -> the teacher's shares of the prototypes, float32 [2 B, K]."""
        backbone = cast(Backbone, self.teacher["backbone"])
        outputs: Tensor = self.teacher["head"](backbone.pool(backbone(large)))
        if self.training:
            self.teacher_sum += torch.cat([outputs.sum(0), outputs.new_full((1,), len(outputs))])
        return ((outputs - self.center) / self.teacher_temperature).softmax(1)

    def begin(self) -> None:
        self.teacher.begin(self.students())
        self._phase(0.0)  # whatever the run ended with whose head this is

    def advance(self, step: int, steps: int) -> None:
        """The teacher and the center follow, and the phases of the run move on."""
        self.teacher.follow(self.students(), step, steps)
        self.recentre()
        self._phase(step / max(steps, 1))

    def recentre(self) -> None:
        """The center takes in the mean of the teacher's outputs since the last step, of all processes."""
        total = gathered(self.teacher_sum.unsqueeze(0))[0].sum(0)
        self.center.lerp_(total[:-1] / total[-1], 1 - self.center_momentum)
        self.teacher_sum.zero_()

    def _phase(self, share: float) -> None:
        """Set what depends on how much of the run is over, from 0 to 1."""
        low, high = self.temperatures
        self.teacher_temperature.fill_(low + (high - low) * min(share / self.warmup, 1) if self.warmup else high)
        for name in self.heads:
            self.get_submodule(name).get_buffer("learns").fill_(share >= self.freeze_last)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.local_views.train()
        return self


class Head(nn.Module):
    """Features [B, D] -> cosines with K prototypes, float32 [B, K] (appendix C: a perceptron, a bottleneck of length 1,
    and a last layer whose rows are normalised).

    learns: 1 where the last layer gets its gradient, 0 where it gets none.
    """

    learns: Tensor

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, norm: bool) -> None:
        super().__init__()
        self.mlp = mlp([width, hidden, hidden, bottleneck], norm=norm, last_norm=norm, activation=nn.GELU)
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))
        self.register_buffer("learns", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        points = F.normalize(self.mlp(features).float(), dim=1)
        fixed = self.prototypes.detach()
        prototypes = fixed + self.learns * (self.prototypes - fixed)  # the same values, and a share of the gradient
        with torch.autocast(points.device.type, enabled=False):  # small differences count, over a low temperature
            return points @ F.normalize(prototypes, dim=1).T


def cross_entropy(targets: Tensor, log_probabilities: Tensor) -> Tensor:
    """Targets [2, B, K] and log-probabilities [V, B, K] of the same crops, the large ones first -> summed over B.

    The mean over all pairs of a target and another crop's answer (equation 3), which are all pairs less the equal ones.
    """
    pairs = len(targets) * (len(log_probabilities) - 1)
    every = (targets.sum(0) * log_probabilities.sum(0)).sum()
    return ((targets * log_probabilities[: len(targets)]).sum() - every) / pairs


def local_view_size(backbone: Backbone, size: Sequence[int], side: int | None) -> tuple[int, int]:
    """(H, W) of small crops of images of `size`: `side` where it is given, else the smallest from half of it on."""
    height, width = (int(side_length) for side_length in size)
    if side is not None:
        if not ((side, side) == (height, width) or backbone.takes((side, side))):
            raise ConfigError(
                f"objective.local_size={side}: model {type(backbone).__name__} does not take such images beside "
                f"{height}x{width}; null chooses a size that it takes"
            )
        return side, side
    candidates = ((rows, round(rows * width / height)) for rows in range(-(-height // 2), height))
    return next(filter(backbone.takes, candidates), (height, width))
