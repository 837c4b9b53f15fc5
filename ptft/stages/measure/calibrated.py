"""How far an evaluation's probabilities can be taken at their word, and the temperature that mends them.

Axes: N examples, K labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Objective
from ptft.errors import ConfigError, DataError
from ptft.loggers.console import Console
from ptft.metrics.calibration import equal_mass_error, reliability
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.runs.folder import write_json
from ptft.runtime.device import versions
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Subject
from ptft.train.found import Found


def of(objective: Objective, found: Found, classes: tuple[str, ...]) -> dict[str, Any] | None:
    """`ece` over bins of equally many answers, `brier` (Brier 1950), `nll`, by calibrated probabilities; `bins`, and of
    label sets the ECE `by_label`. None where nothing is answered with a probability."""
    stated = getattr(objective, "stated", None)
    if stated is None or "brier" not in found.each:
        return None
    said, right = stated(found.all)
    curve = reliability(said.flatten(), right.flatten())
    means = {name: float(found.each[name].double().mean()) for name in ("brier", "nll")}
    labels = zip(classes, said.T, right.T, strict=True) if said.ndim == 2 else []
    by_label = {name: equal_mass_error(reliability(*pair)) for name, *pair in labels}
    temperature = getattr(objective, "calibration", None)
    return {
        "ece": equal_mass_error(curve),
        **means,
        "temperature": None if temperature is None else float(temperature),
        "bins": [bin._asdict() for bin in curve],
        **({"by_label": by_label} if by_label else {}),
    }


def intervals(found: Found, units: Units, plan: Resampling) -> dict[str, list[float]]:
    """Those of `brier` and `nll`. Resamples hold some examples twice, which raises the ECE: it has none."""
    there, owner = torch.unique(units.owner[found.index], return_inverse=True)
    lines = {name: (name, "count") for name in ("brier", "nll")}
    values = bootstrap.resampled(lambda w: bootstrap.ratios(found.each, w[:, owner], lines), len(there), plan)
    pairs = {name: bootstrap.interval(each, plan.level) for name, each in values.items()}
    return {name: [*pair] for name, pair in pairs.items() if pair}


def fit(model: Subject, split: str, out: Console) -> None:
    """Fit the temperature (and thresholds) on the validation split, of an objective that has probabilities.

    Raises ConfigError where it has none, or the validation split itself is measured; DataError where there is none.
    """
    begin = getattr(model.objective, "begin_calibration", None)
    if begin is None:
        what = f"objective={model.cfg.names.objective} gives no probabilities that a temperature could mend"
        raise ConfigError(f"evaluate.calibrate=true: {what}")
    if split == "val":
        raise ConfigError(
            "evaluate.calibrate=true: the temperature is fitted on val, so split=val can't show its worth"
        )
    if model.source.split("val") is None:
        raise DataError("evaluate.calibrate=true: there is no val split to fit a temperature on; dataset.val")
    begin()
    model.measure(model.read("val", out), settle=True)


def write(folder: Path, split: str, calibration: dict[str, Any]) -> None:
    write_json(folder / f"calibration_{split}.json", {"split": split, **calibration})


def keep(model: Subject, file: Path) -> None:
    """The checkpoint once more with what was fitted, as one that descends from it. Raises StorageError."""
    checkpoint, fitted = model.checkpoint, model.objective.fitted
    assert checkpoint.config
    assert checkpoint.spec
    weights = {name: model.objective.get_buffer(name).detach().cpu().clone() for name in sorted(fitted)}
    known: dict[str, Any] = {
        key: checkpoint.meta[key] for key in ("progress", "fingerprint", "trained_on", "code") if key in checkpoint.meta
    }
    content: dict[str, Any] = {
        "config": {**checkpoint.config, "objective": {**checkpoint.config["objective"], "calibrate": True}},
        "spec": checkpoint.spec.to_dict(),
        "weights": {**checkpoint.weights, **weights},
        **known,
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    checkpoint_file.write(file, content)
