"""A cross-validation: one command that is many runs, each with another part of the data as its test split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.errors import ConfigError


def contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """A line for each."""
    train, dataset = cfg.get("train", {}), cfg.get("dataset") or {}
    if dataset.get("fold") is not None and isinstance(share := dataset.get("test"), float):
        yield f"dataset.fold={dataset['fold']} and dataset.test={share}: each says what is test; type one of them"
    if train.get("folds") is None:
        return
    asked = f"train.folds={train['folds']}"
    if cfg.get("resume"):
        yield f"{asked} and resume=: a run that goes on is one; ptft resume=RUN of a cross-validation goes on with it"
    if dataset.get("fold") is not None:
        yield f"{asked} and dataset.fold={dataset['fold']}: it trains each fold; type one of them"
    if isinstance(share := dataset.get("test"), float):
        yield f"{asked} and dataset.test={share}: each says what is test; type one of them"
    if train.get("processes", 1) != 1 or train.get("parallel", "ddp") != "ddp":
        key = "parallel" if train.get("processes", 1) == 1 else "processes"
        yield f"{asked} and train.{key}={train[key]}: its runs are of one process each; leave one of them out"


def check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError where the dataset has no folds: running text, or a Source of one's own without the key."""
    folds, dataset = config.get("train", {}).get("folds"), config.get("dataset")
    if folds is None:
        return
    if isinstance(dataset, Mapping) and "fold" not in dataset:
        name = config["names"].get("dataset")
        what = f"dataset={name} has no parts that could be left out one after another (no key dataset.fold)"
        raise ConfigError(f"train.folds={folds}: {what}; leave it null")
