"""What a model of pictures with captions compares both by: vectors of length 1, in one space (`embed.compared`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ptft.builders.parts.tower import spec_of_texts
from ptft.builders.predictor import Predictor
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import Batch, Spec
from ptft.errors import ConfigError
from ptft.runtime.precision import autocast
from ptft.runtime.prefetch import on_device

TEXTS = "texts"


def wanted(cfg: Config) -> str | None:
    """Which of both is to be read; None where the backbone's features are asked for."""
    options: dict[str, Any] = cfg.get("embed") or {}
    return options.get("compared")


def spec_read(cfg: Config, spec: Spec) -> Spec:
    """As what new files are read: that of the checkpoint, or of its captions. Raises ConfigError where it has none."""
    texts = spec_of_texts(spec)
    if texts and wanted(cfg) is None and "embed" in cfg and cfg.text is not None:
        raise ConfigError(f"text={cfg.text}: ckpt={cfg.ckpt} reads texts beside its input; type embed.compared={TEXTS}")
    if wanted(cfg) != TEXTS:
        return spec
    if texts is None:
        raise ConfigError(f"embed.compared={TEXTS}: ckpt={cfg.ckpt} reads no texts beside its input; leave it at null")
    return texts


def predictor(job: Job) -> Predictor:
    return Predictor(job) if wanted(job.config) is None else Compared(job)


def width(asked: Predictor) -> int:
    """Of what `embed` gives."""
    return asked.width if isinstance(asked, Compared) else asked.backbone.width


class Compared(Predictor):
    """width: of the vectors. Raises ConfigError for an objective that compares nothing."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        compared: Callable[[Batch, bool], Tensor] | None = getattr(self.objective, "compared", None)
        if compared is None:
            what = f"objective={job.config.names.objective} compares no pictures with texts, as siglip does"
            raise ConfigError(f"embed.compared={wanted(job.config)}: {what}; leave it at null")
        self.compared, self.width = compared, int(self.objective.get_parameter("see.weight").shape[0])
        self.spec = self.asked = spec_read(job.config, self.spec)

    def embed(self, batch: Batch) -> Tensor:
        with torch.inference_mode(), autocast(self.compute_format.precision, self.device)():
            there = next(on_device(iter([batch]), self.device))
            return self.compared(there, wanted(self.job.config) == TEXTS).float().cpu()
