"""Feature distillation objective: learn to say what another model sees in images (Wei et al. 2022, "Contrastive
Learning Rivals Masked Image Modeling in Fine-tuning via Feature Distillation", section 3).

Axes: B batch, C channels, H, W of an image, h, w of a grid of features, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Examples, Spec, Step
from ptft.errors import CheckpointError, ConfigError
from ptft.models.layers.mlp import mlp
from ptft.objectives.self_supervised.base import Unlabelled, count
from ptft.objectives.self_supervised.seen import Images, Seen

if TYPE_CHECKING:
    from typing_extensions import Self

Teach = Callable[[str, str | None, int | None], tuple[Backbone, Spec, str | None]]
"""(what names it, its network, the side of its images) -> a backbone, what it expects, and its file's digest."""


class FeatureDistill(Unlabelled):
    """Projections of the backbone's features are to equal a teacher's, which are normalised over their width.

    The loss is the mean squared error, of pooled features and, cell by cell, of the last grid before they are pooled; 0
    for every feature costs 1. Where one grid is finer it is averaged over the cells of the other. Both see the same
    views, the teacher in its own size, channels and normalisation. It neither learns nor moves, and is saved as its
    path and digest alone.

    teacher: what `ckpt=` may name: a checkpoint of ptft, public weights, a Hugging Face folder, plain weights.
    teacher_model: of plain weights, timm:NAME or torchvision:NAME. teacher_size: side of its images, None for its own.
    teacher_sha256: the digest of the file that a run began with; set when it is opened.
    pooled, patches: weights of both parts, 0 leaves one out. hidden: width of the projectors' hidden layer, None for
        linear ones.
    teach: opens the teacher; None where a trained student is rebuilt, which needs none.
    options: those of `Unlabelled`.
    Raises ConfigError or CheckpointError naming the key of what does not fit.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    teacher: tuple[Backbone, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        teacher: str,
        teacher_model: str | None = None,
        teacher_size: int | None = None,
        teacher_sha256: str | None = None,
        pooled: float = 1.0,
        patches: float = 1.0,
        hidden: int | None = None,
        teach: Teach | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        if not pooled + patches > 0:
            raise ConfigError("objective.pooled=0, objective.patches=0: one of them must be above 0")
        self.pooled, self.patches, self.path = pooled, patches, teacher
        self.student = Seen.of(backbone, spec, grid=patches > 0)
        if patches > 0 and self.student.grid is None:
            raise ConfigError(
                f"objective.patches={patches}: model {type(backbone).__name__} gives no grid of features; set it to 0"
            )
        if teach is None:
            return
        opened, theirs, digest = teach(teacher, teacher_model, teacher_size)
        if None is not teacher_sha256 != digest:
            raise CheckpointError(
                f"objective.teacher={teacher}: is not the file that the run began with (its sha256 was "
                f"{teacher_sha256[:12]}…, is {str(digest)[:12]}…); put that back, or begin a new run"
            )
        self.settled = {"teacher_sha256": digest}
        # In a tuple, for a child would be trained, averaged and saved.
        self.teacher = (opened.requires_grad_(False).eval(),)
        self.images = Images(spec, theirs)
        self.theirs = Seen.of(opened, theirs, grid=patches > 0)
        if patches > 0 and self.theirs.grid is None:
            raise ConfigError(
                f"objective.patches={patches}: objective.teacher={teacher} gives no grid of features; set it to 0"
            )
        self.projector = _projector(backbone.width, hidden, opened.width) if pooled else None
        self.patch_projector = _projector(self.student.width, hidden, self.theirs.width) if patches else None

    @property
    def name(self) -> str:
        return "feature_distill"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """The teacher goes to the same device, type and layout."""
        for teacher in self.teacher:
            teacher._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """Who teaches, what it sees, and which grids are compared."""
        (opened,), (high, wide) = self.teacher, self.images.size
        parameters = sum(parameter.numel() for parameter in opened.parameters())
        said = f"taught by {self.path}: {parameters:,} parameters, {high}×{wide}×{self.images.channels}"
        if self.theirs.grid is None or self.student.grid is None:
            return [f"{said}; pooled features alone"]
        theirs, own = ("×".join(map(str, seen.grid or ())) for seen in (self.theirs, self.student))
        return [f"{said}; a grid of {theirs} cells for this model's of {own}"]

    def learn(self, x: Tensor) -> Step:
        if not self.teacher:
            raise ConfigError(
                f"objective={self.name}: only a training has its teacher to measure with; stage=finetune and "
                "stage=embed need none"
            )
        x = self.views(x)
        pooled, grid = self.student(self.backbone, x)
        target, target_grid = self.targets(x)
        total = x.new_zeros((), dtype=torch.float32)
        if self.projector is not None:
            total = total + self.pooled * _error(self.projector(pooled), target).sum()
        if self.patch_projector is not None:
            total = total + self.patches * self._grid_error(grid, target_grid).sum()
        return Step(total, count(x), {})

    @torch.no_grad()
    def targets(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images as the student's backbone prepares them -> what the teacher gives of them, as `Seen` does."""
        return self.theirs(self.teacher[0], self.images(x))

    def _grid_error(self, grid: Tensor | None, target: Tensor | None) -> Tensor:
        """Features [B, D, h, w] of either -> the mean error of an image's cells, [B]."""
        assert grid is not None
        assert target is not None
        assert self.patch_projector is not None
        (high, wide), (rows, columns) = grid.shape[2:], target.shape[2:]
        if high * wide > rows * columns:
            grid = F.adaptive_avg_pool2d(grid, (rows, columns))
        else:
            target = F.adaptive_avg_pool2d(target, (high, wide))
        cells = self.patch_projector(grid.flatten(2).transpose(1, 2))
        return _error(cells, target.flatten(2).transpose(1, 2)).mean(1)


def _projector(width: int, hidden: int | None, out: int) -> nn.Sequential:
    return mlp([width, *([] if hidden is None else [hidden]), out], norm=False, activation=nn.GELU)


def _error(projected: Tensor, target: Tensor) -> Tensor:
    """[…, D] twice -> the mean squared difference to the target with mean 0 and variance 1 over its width, […]."""
    return (projected.float() - F.layer_norm(target.float(), target.shape[-1:])).square().mean(-1)
