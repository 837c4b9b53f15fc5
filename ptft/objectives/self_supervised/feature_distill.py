"""Feature distillation objective: learn to say what another model sees in images (Wei et al. 2022, "Contrastive
Learning Rivals Masked Image Modeling in Fine-tuning via Feature Distillation", section 3).

Axes: B batch, C channels, H, W of an image, h, w of a map of features, D their width; … is whatever stands before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Examples, Spec, Step
from ptft.errors import ConfigError
from ptft.models.layers.mlp import mlp
from ptft.objectives.self_supervised.base import Unlabelled, count
from ptft.objectives.self_supervised.seen import Images, Seen
from ptft.objectives.teachers import check_same
from ptft.runtime.rng import EVALUATION_SEED, forked

if TYPE_CHECKING:
    from typing_extensions import Self

Teach = Callable[[str, str | None, int | None], tuple[Backbone, Spec, str | None]]
"""(what names it, its network, the side of its images) -> a backbone, what it expects, and its file's digest."""


LOOKED_AT = 128
"""Training images, evenly spread over the split, that tell what a teacher says of all of them."""
AT_ONCE = 32
"""Of these images."""
ENOUGH = 0.75
"""Of a teacher's cells a student's map must have such a share: their images may differ a little in size."""
OWN, THEIRS = 0, 1
"""Of a pair of maps, which is whose."""
ALIKE = 1e-4
"""A spread of normalised features below which they are the same for all images."""


class Moments(NamedTuple):
    """Of features that are normalised over their width D: how many, their sum, float64 [D], and that of all squares."""

    cells: int
    total: Tensor
    square: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """[…, D]."""
        flat = _normalised(features).flatten(0, -2).double()
        return cls(len(flat), flat.sum(0), flat.square().sum())


class Target(nn.Module):
    """Features of a teacher as they are to be met: normalised over their width, less their mean over the images, in
    units of their spread around it. Both are buffers, so a run that goes on needs no images. Until `fit` 0 and 1."""

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(()))

    def fit(self, parts: Sequence[Moments]) -> None:
        """Of parts of the images. Where all of them are alike the spread stays 1."""
        cells = sum(part.cells for part in parts)
        mean = torch.stack([part.total for part in parts]).sum(0) / cells
        square = torch.stack([part.square for part in parts]).sum() / cells / len(mean)
        spread = (square - mean.square().mean()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(spread > ALIKE, spread, torch.ones_like(spread)))

    def forward(self, features: Tensor) -> Tensor:
        return (_normalised(features) - self.mean) / self.spread


class FeatureDistill(Unlabelled):
    """Projections of the backbone's features are to equal a teacher's: pooled, and cell by cell of its feature maps.

    A teacher's features are normalised over their width, as published, and less what they are in the mean of random
    views of the training images: of images that are much alike that is most of what they are, and a bias would learn
    it. The loss is the mean squared error in units of what is left: whoever says the same of every image has 1, of
    pooled features and of maps. Each of the teacher's maps is asked of the student's coarsest map that has nearly as
    many cells at least, and both are averaged over the cells of the coarser one; maps finer than all the student's are
    left out, unless the teacher has no other: then its last is asked of the student's last.

    Both see the same views, the teacher in its own size, channels and normalisation. It neither learns nor moves, and
    is saved as its path and digest alone.

    teacher: what `ckpt=` may name: a checkpoint of ptft, public weights, a Hugging Face folder, plain weights.
    teacher_model: of plain weights, timm:NAME or torchvision:NAME. teacher_size: side of its images, None for its own.
    teacher_sha256: the digest of the file that a run began with; set when it is opened.
    pooled, patches: weights of both parts, 0 leaves one out. hidden: width of the projectors' hidden layer, None for
        linear ones.
    teach: opens the teacher; None where a trained student is rebuilt, which needs none.
    reference: the training examples. options: those of `Unlabelled`.
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
        reference: Examples | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, reference=reference, **options)
        if not pooled + patches > 0:
            raise ConfigError("objective.pooled=0, objective.patches=0: one of them must be above 0")
        self.pooled, self.patches, self.path, self.reference = pooled, patches, teacher, reference
        self.student = Seen.of(backbone, spec) if patches > 0 else Seen()
        if patches > 0 and not self.student.maps:
            raise ConfigError(
                f"objective.patches={patches}: model {type(backbone).__name__} gives no maps of features; set it to 0"
            )
        if teach is None:
            return
        opened, theirs, digest = teach(teacher, teacher_model, teacher_size)
        check_same(teacher, teacher_sha256, digest)
        self.settled = {"teacher_sha256": digest}
        # In a tuple, for a child would be trained, averaged and saved.
        self.teacher = (opened.requires_grad_(False).eval(),)
        self.images = Images(spec, theirs)
        self.theirs = Seen.of(opened, theirs) if patches > 0 else Seen()
        if patches > 0 and not self.theirs.maps:
            raise ConfigError(
                f"objective.patches={patches}: objective.teacher={teacher} gives no maps of features; set it to 0"
            )
        self.pairs = _pairs(self.student.maps, self.theirs.maps)
        widths = [(backbone.width, opened.width)] if pooled else []
        widths += [(self.student.maps[own][0], self.theirs.maps[other][0]) for own, other in self.pairs]
        self.projectors = nn.ModuleList(_projector(width, hidden, wanted) for width, wanted in widths)
        self.wanted = nn.ModuleList(Target(wanted) for _, wanted in widths)

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
        if not self.pairs:
            return [f"{said}; pooled features alone"]
        asked = (f"{_grid(self.theirs.maps[other])} of {_grid(self.student.maps[own])}" for own, other in self.pairs)
        return [f"{said}; its maps are asked of this model's: {', '.join(asked)} cells"]

    @torch.no_grad()
    def begin(self) -> None:
        """Find what the teacher says of all images alike."""
        assert self.reference is not None
        places = torch.linspace(0, len(self.reference) - 1, min(LOOKED_AT, len(self.reference)), dtype=torch.float64)
        device, found = self.images.get_buffer("given_scale").device, list[list[Moments]]()
        with forked(device, EVALUATION_SEED):
            for chosen in torch.split(places.round().long(), AT_ONCE):
                batch = self.reference.take(chosen.to(self.reference.device))
                x = self.views(self.backbone.inputs({name: value.to(device) for name, value in batch.items()}))
                found.append([Moments.of(said) for said in self._said(x)])
        for wanted, parts in zip(self.wanted, zip(*found, strict=True), strict=True):
            assert isinstance(wanted, Target)
            wanted.fit(parts)

    def learn(self, x: Tensor) -> Step:
        if not self.teacher:
            raise ConfigError(
                f"objective={self.name}: only a training has its teacher to measure with; stage=finetune and "
                "stage=embed need none"
            )
        x = self.views(x)
        total = x.new_zeros((), dtype=torch.float32)
        weights = [self.pooled] * bool(self.pooled) + [self.patches / max(len(self.pairs), 1)] * len(self.pairs)
        features, said = self._read(self.student, self.backbone, x, OWN), self._said(x)
        for weight, project, wanted, own, theirs in zip(
            weights, self.projectors, self.wanted, features, said, strict=True
        ):
            error = (project(own).float() - wanted(theirs)).square().flatten(1).mean(1)
            total = total + weight * error.sum()
        asked = (self.pooled + self.patches) * count(x)
        return Step(total, count(x), {"unexplained": total.detach(), "asked": asked})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The probe's, and `explained`: the share of what tells views apart to the teacher; below 0 is worse than none
        of it."""
        left = float(sums["unexplained"] / sums["asked"])
        return {"explained": 1 - left, **super().metrics(sums)}

    @torch.no_grad()
    def _said(self, x: Tensor) -> list[Tensor]:
        """Images as the student's backbone prepares them -> what the teacher says of them, as `_read` does."""
        return self._read(self.theirs, self.teacher[0], self.images(x), THEIRS)

    def _read(self, seen: Seen, backbone: Backbone, x: Tensor, side: int) -> list[Tensor]:
        """Prepared images [B, C, H, W] -> what is compared: pooled features [B, D], and of each pair cells [B, h w, D].

        side: of the pairs, whose maps are read. Both of a pair are averaged over the cells of the coarser one.
        """
        pooled, maps = seen(backbone, x)
        read = [pooled] * bool(self.pooled)
        for pair in self.pairs:
            grid = min(self.student.maps[pair[OWN]][1:], self.theirs.maps[pair[THEIRS]][1:], key=math.prod)
            read.append(_averaged(maps[pair[side]], grid).flatten(2).transpose(1, 2))
        return read


def _averaged(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """As `adaptive_avg_pool2d`, whose gradients on CUDA are not the same each time, where no smaller step will do."""
    (height, width), (h, w) = cells.shape[2:], grid
    if height % h or width % w:
        return F.adaptive_avg_pool2d(cells, grid)
    return F.avg_pool2d(cells, (height // h, width // w))


def _pairs(own: Sequence[tuple[int, int, int]], theirs: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Maps (D, h, w) of the student and of the teacher -> the indices of those that are compared."""
    found = []
    for other, (_, high, wide) in enumerate(theirs):
        if enough := [i for i, (_, rows, columns) in enumerate(own) if rows * columns >= ENOUGH * high * wide]:
            found.append((enough[-1], other))
    return found or ([(len(own) - 1, len(theirs) - 1)] if own and theirs else [])


def _projector(width: int, hidden: int | None, out: int) -> nn.Sequential:
    return mlp([width, *([] if hidden is None else [hidden]), out], norm=False, activation=nn.GELU)


def _normalised(features: Tensor) -> Tensor:
    """[…, D] -> float32 with mean 0 and variance 1 over its width."""
    return F.layer_norm(features.float(), features.shape[-1:])


def _grid(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}×{shape[2]}"
