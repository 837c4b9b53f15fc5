"""What objectives with a linear head over the pooled backbone share. Axes: B batch, T tokens, D width, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ptft.augment.views import Options, changes
from ptft.augment.views import views as random_views
from ptft.core import EACH, Backbone, Columns, Objective, Spec
from ptft.errors import ConfigError
from ptft.metrics import calibration
from ptft.validators import AT_LEAST_0

MOST_COLUMNS = 100
"""Of more classes not every one has a column for its probability; rows of an evaluation name the likeliest instead."""
LOGITS, LABELS = "logits", "labels"
"""What lists of an evaluation are called, float32 [N, K], and long [N] or uint8 [N, K]."""


class LinearHead(Objective):
    """A head over what the backbone pools, which gives each class a probability.

    dropout: before the head. views: options of the modality's random views, or the user's
        own, made in training only.
    tta: None, or "flip": in evaluation and prediction the mean of the logits of an image and of its mirror image.
    calibrate: whether a temperature is fitted on the validation split (Guo et al. 2017), which logits are divided by
        before they become probabilities; it is part of the weights, and the loss does not heed it.
    sets: whether an example may have several of the classes.
    """

    calibration: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        dropout: float,
        views: Options,
        tta: str | None,
        calibrate: bool,
        sets: bool,
    ) -> None:
        super().__init__()
        if tta not in (None, "flip"):
            raise ConfigError(f"objective.tta={tta}: choose null or flip")
        if spec.modality != "image":
            refuse_for(spec.modality, tta=tta)
        self.classes, self.sets = list(spec.classes), sets
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, len(self.classes))
        self.dropout = nn.Dropout(dropout)
        self.tta = tta
        self.views, self.has_views = random_views(spec, views), changes(views)
        self.register_buffer("calibration", None)
        if calibrate:
            self.begin_calibration()

    @property
    def calibrate(self) -> bool:
        return self.calibration is not None

    def begin_calibration(self) -> None:
        """Have a temperature, which the next `settle` fits."""
        self.calibration = torch.ones((), device=self.head.weight.device)
        self.fitted |= {"calibration"}

    def logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Prepared input, and a mask bool [B, T] of its real tokens where they differ in length -> float32 [B, K]."""
        if self.tta and not self.training:
            return (self._logits(x, mask) + self._logits(x.flip(-1), mask)) / 2
        return self._logits(x, mask)

    def _logits(self, x: Tensor, mask: Tensor | None) -> Tensor:
        features = self.backbone(x, mask)
        return self.head(self.dropout(self.backbone.pool(features))).float()  # type: ignore[no-any-return]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits float32 [B, K] -> what the objective says that they mean, calibrated where it was asked for."""
        return calibration.probabilities(self.calibrated(logits), self.sets)

    def calibrated(self, logits: Tensor) -> Tensor:
        return logits if self.calibration is None else logits / self.calibration.to(logits.device)

    def answer(self, pooled: Tensor) -> Tensor:
        """What the backbone pools, [B, D] -> the probability of each class, float32 [B, K]."""
        return self.probabilities(self.head(pooled).float())

    def settle(self, sums: dict[str, Tensor]) -> None:
        if self.calibration is not None and LOGITS in sums:
            self.calibration.fill_(calibration.fit_temperature(sums[LOGITS], sums[LABELS]))

    def calibration_of(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """`ece`, the expected calibration error, and `temperature`, in an evaluation of what is calibrated."""
        if self.calibration is None or LOGITS not in sums:
            return {}
        given = self.probabilities(sums[LOGITS])
        return {
            "ece": calibration.calibration_error(given, sums[LABELS]),
            "temperature": float(self.calibration),
        }

    def evaluation_size(self, examples: int) -> int:
        return 2 * examples if self.tta else examples

    def each(self, probabilities: Tensor) -> Columns:
        """[B, K] -> a column for the probability of each class; none where they are too many."""
        if len(self.classes) > MOST_COLUMNS:
            return {}
        names = [f"{EACH}{name}" for name in self.classes]
        return dict(zip(names, probabilities.T.tolist(), strict=True))


def weights_of(key: str, typed: str | Sequence[float], count: int, each: str) -> Tensor:
    """Numbers that were typed, float32 [K]; each: what one is for. Raises ConfigError for others or another count."""
    numbers = not isinstance(typed, str) and isinstance(typed, Sequence) and all(map(AT_LEAST_0[1], typed))
    if not numbers or len(typed) != count:
        raise ConfigError(
            f"objective.{key}={typed}: must be null, balanced, or {count} numbers of at least 0, one per {each}"
        )
    return torch.tensor([float(weight) for weight in typed])


def refuse_for(modality: str, **options: Any) -> None:
    """Raises ConfigError for options of images that were chosen for something else."""
    for key, value in options.items():
        if value:
            raise ConfigError(f"objective.{key}={value}: is for images, the dataset is one of {modality}")
