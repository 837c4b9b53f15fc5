"""How right exported probabilities are on the validation split of the checkpoint's own dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ptft.builders import components
from ptft.builders.inputs import eval_loader, read_splits
from ptft.builders.predictor import Predictor
from ptft.builders.restore import trained_with
from ptft.config.resolve import Job
from ptft.errors import ConfigError, DataError
from ptft.export.subject import Measure
from ptft.loggers.console import Console


def measure(job: Job, predictor: Predictor, out: Console) -> Measure:
    """A function that measures. Raises ConfigError where there are no classes, DataError where there is no split."""
    cfg = job.config
    if predictor.objective.linear_head() is None:
        raise ConfigError(
            f"quantize={cfg.quantize}: is for classifiers, whose accuracy says what it costs; "
            f"objective={cfg.names.objective} is none"
        )
    source, _ = components.source_to_measure(cfg.dataset, predictor.spec, cfg.trusted, split="val", whole=None)
    if source.split("val") is None:
        raise DataError(f"quantize={cfg.quantize}: the dataset {cfg.names.dataset} has no val split to measure with")
    examples = read_splits(source, ("val",), cfg, predictor.device, out)["val"]
    if missing := components.lacking(cfg.objective, examples, cfg.trusted):
        what = f"is measured on the checkpoint's own dataset, {cfg.names.dataset}, which has no {missing[0]}"
        raise ConfigError(
            f"quantize={cfg.quantize}: {what}; leave it null, or train or name (stage=zero_shot) classes of a dataset"
        )

    def accuracy(answers: Callable[[Mapping[str, Any]], Any]) -> float:
        right = count = 0
        for batch in eval_loader(cfg, examples, predictor.device, trained_with(job)).epoch():
            likeliest = torch.as_tensor(answers(batch)).argmax(1)
            right += int((likeliest == batch["label"]).sum())
            count += len(likeliest)
        return right / count

    return accuracy
