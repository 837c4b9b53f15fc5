"""Distillation objective (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network").

Axes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.core import LEAST_LOSS, Backbone, Batch, Examples, Objective, Spec, Step, Table
from ptft.errors import ConfigError, DataError
from ptft.metrics.uncertainty.bootstrap import ratios
from ptft.objectives.supervised.classify import Classify
from ptft.objectives.teachers import Classifier, check_same

if TYPE_CHECKING:
    from typing_extensions import Self

LOOKED_AT = 4
"""Examples on which it is seen what student and teacher make of them."""


class Distill(Classify):
    """Classification whose targets are a teacher's softened answers, mixed with the labels where there are any.

    In training the loss is alpha * T^2 * KL(teacher || student), both at temperature T, + (1 - alpha) * cross-entropy
    with the label; without labels the first term alone, and the classes are the teacher's. In evaluation with labels it
    is that of `Classify`, so both can be compared. Teacher and student see the same views.

    teacher: a checkpoint of ptft with a classifier. It is saved as its path and digest alone.
    teacher_sha256: the digest of the file that a run began with; set when it is opened.
    temperature: T, the higher the more the unlikely classes count.
    alpha: weight of the teacher's answers.
    classifier: opens the teacher; None where a trained student is rebuilt, which needs none.
    options: those of `Classify`.
    Raises ConfigError, CheckpointError or DataError naming `objective.teacher` where it is another file or does not
    fit the data.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input"})
    capturable: ClassVar[bool] = False
    scale: Tensor | None
    shift: Tensor | None
    teacher: tuple[Classify, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        teacher: str,
        teacher_sha256: str | None = None,
        temperature: float = 4.0,
        alpha: float = 0.9,
        classifier: Classifier | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> None:
        if spec.target == "labels":
            raise ConfigError("objective=distill: an example may have several labels here; it learns one class each")
        opened = classifier(teacher) if classifier else None
        if opened is not None:
            check_same(teacher, teacher_sha256, opened[2])
            spec = _fitting(teacher, *opened[:2], spec)
        super().__init__(backbone, spec, labels=labels, **options)
        self.settled = {"teacher_sha256": opened[2] if opened else teacher_sha256}
        self.path, self.temperature, self.alpha = teacher, temperature, alpha
        # In a tuple, for a child would be trained, averaged and saved.
        self.teacher = (cast(Classify, opened[0]).requires_grad_(False).eval(),) if opened else ()
        scale, shift = _between(spec, opened[1] if opened else spec)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        if labels is None:
            self.monitor = dict(LEAST_LOSS)  # there is no accuracy without them

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """The teacher goes to the same device, type and layout."""
        for teacher in self.teacher:
            teacher._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def describe(self, spec: Spec) -> Spec:
        return replace(spec, target="class", classes=tuple(self.classes))

    def forward(self, batch: Batch) -> Step:
        labels = batch.get("label")
        if labels is not None and not self.training:
            return super().forward(batch)
        x = self.backbone.inputs(batch)
        if self.training:
            x = self.views(x)
        mask = batch.get("mask")
        logits, teacher_logits = self.logits(x, mask), self.teacher_logits(x, mask)
        soft = self._soft(logits, teacher_logits)
        total, count, each = soft.sum(), torch.full((), len(x), device=x.device), dict[str, Tensor]()
        if labels is None:
            agreed = logits.argmax(1) == teacher_logits.argmax(1)
            sums = {"agreed": agreed.sum()}
            each = {} if self.training else {"total": soft, "count": torch.ones_like(agreed), "agreed": agreed}
        else:
            sums = self._sums(logits.detach(), labels)
            total = self.alpha * total + (1 - self.alpha) * self.cross_entropy(logits, labels)
        return Step(total, count, sums, each=each)

    @torch.no_grad()
    def teacher_logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The teacher's logits, float32 [B, K], for examples as the student's backbone prepares them; mask: bool
        [B, T], which tokens of texts are real."""
        if not self.teacher:
            raise ConfigError("objective=distill: without labels only a training has what to measure with, its teacher")
        return self.teacher[0].logits(self._for_teacher(x), mask)

    def _for_teacher(self, x: Tensor) -> Tensor:
        return x if self.scale is None or self.shift is None else torch.addcmul(self.shift, x, self.scale)

    @torch.no_grad()
    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """Raises ConfigError where the teacher would read something else than it was trained on."""
        train, device = splits["train"], self.head.weight.device
        rows = torch.arange(min(LOOKED_AT, len(train)), device=train.device)
        batch = {name: value.to(device) for name, value in train.take(rows).items()} if self.teacher else {}
        if batch and len(batch["index"]):
            ours, theirs = self._for_teacher(self.backbone.inputs(batch)), self.teacher[0].backbone.inputs(batch)
            if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-3, equal_nan=True):
                raise ConfigError(
                    f"objective.teacher={self.path}: its model makes something else of the same examples than model= "
                    "does; give the student the teacher's keys (model.mels, model.normalize …)"
                )
        return super().examine(splits)

    def _soft(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of each example, [B] (section 2.1)."""
        student, teacher = ((values / self.temperature).log_softmax(1) for values in (logits, teacher_logits))
        return self.temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Those of `Classify`; without labels `agreement`, the share of images that both give the same class."""
        if "agreed" in sums:
            return {"agreement": float(sums["agreed"] / sums["count"])}
        return super().metrics(sums)

    def weighed(self, found: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
        """As `metrics`, of weighted examples."""
        if "agreed" in found:
            return ratios(found, weight, {"loss": ("total", "count"), "agreement": ("agreed", "count")})
        return super().weighed(found, weight)

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        return {} if "agreed" in sums else super().tables(sums)


def _fitting(path: str, teacher: Objective, theirs: Spec, spec: Spec) -> Spec:
    """The student's Spec, with the teacher's classes where the data have none."""
    if not isinstance(teacher, Classify):
        raise ConfigError(f"objective.teacher={path}: holds no classifier to learn from; finetune it first")
    expected, given = ((one.modality, one.shape.get("size"), one.shape.get("channels")) for one in (theirs, spec))
    if expected != given:
        raise ConfigError(
            f"objective.teacher={path}: takes {expected[0]} of {expected[1]} and {expected[2]} channels, the dataset "
            f"yields {given[0]} of {given[1]} and {given[2]}; dataset.size and dataset.channels change it"
        )
    for key, remedy in (("rate", "dataset.rate changes it"), ("tokenizer", "let both have the same, by its path")):
        if theirs.shape.get(key) != spec.shape.get(key):
            raise ConfigError(f"objective.teacher={path}: has another {key} than the dataset (dataset.{key}); {remedy}")
    if spec.classes and list(spec.classes) != list(theirs.classes):
        raise DataError(
            f"objective.teacher={path}: has the classes {', '.join(theirs.classes[:5])} …, the dataset "
            f"{', '.join(spec.classes[:5])} …; dataset.classes keeps some, in that order"
        )
    return replace(spec, target="class", classes=theirs.classes)


def _between(spec: Spec, theirs: Spec) -> tuple[Tensor | None, Tensor | None]:
    """What takes images normalised as one Spec says to the other's: x * scale + shift, [C, 1, 1]; None if equal."""
    if (spec.mean, spec.std) == (theirs.mean, theirs.std):
        return None, None
    mean, std, mean_t, std_t = (torch.tensor(v).view(-1, 1, 1) for v in (spec.mean, spec.std, theirs.mean, theirs.std))
    return std / std_t, (mean - mean_t) / std_t
