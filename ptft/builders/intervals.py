"""How often a run evaluates, from its configuration and what it learns from; and whether its patience can end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.builders import components
from ptft.builders.inputs import Inputs
from ptft.config.config import Config
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.train.every import Every, steps_apart
from ptft.train.state import CLOCK, Training


def intervals(cfg: Config, inputs: Inputs, built: Objective, per_epoch: int) -> Every:
    """What was typed, in steps of which an epoch has so many, or what `auto` comes to.

    A run keeps its interval where it is continued, also one that began when `auto` did not know the budget yet.
    """
    options, budget, val = cfg.train.every, components.budget(cfg.train, per_epoch), inputs.splits.get("val")
    typed = options.log, options.evaluate, options.save, per_epoch
    if cfg.resume and _left_open(inputs):
        return Every.of(*typed)
    measured = built.evaluation_size(len(val)) if val is not None else 0
    apart = steps_apart(measured, len(inputs.splits["train"]), per_epoch)
    return Every.of(*typed, total=budget.total(per_epoch), minutes=budget.minutes, apart=apart)


def _left_open(inputs: Inputs) -> bool:
    """Whether the checkpoint is of a version that left `auto` in what it stored: whole epochs, 200 steps at the least.

    A later one stores steps in its place, and where a clock says more than they do the state of that.
    """
    assert inputs.start
    stored: Any = inputs.start.config
    for key in ("train", "every", "evaluate"):
        stored = stored.get(key) if isinstance(stored, Mapping) else None
    return stored in (None, "auto") and CLOCK not in (inputs.start.training or {})


def impatient(t: Training, typed: int | str, *, of_many: bool) -> list[str]:
    """What to say of `train.patience` where it can't end the run; of_many: whether it may end others that go with it.

    Raises ConfigError where there are none.
    """
    try:
        check_patience(t, typed)
    except ConfigError as error:
        if not of_many:
            raise
        return [str(error).partition("; type ")[0]]
    return []


def check_patience(t: Training, typed: int | str) -> None:
    """Raises ConfigError where `train.patience` can't end the run before its budget does, with what can.

    The first evaluation is the best so far, so it takes one more than the patience. typed: train.every.evaluate.
    """
    every, total, limit, patience = t.every, t.total, t.budget.minutes, t.patience
    assert patience
    if t.val is None:
        raise ConfigError(
            f"train.patience={patience}: there is no validation split to be patient with, so it can't end the run; "
            "type train.patience=null, or give the dataset one (dataset.val)"
        )
    if every.minutes is None and every.evaluate and total and (patience + 1) * every.evaluate >= total:
        most, widest = (total - 1) // every.evaluate - 1, (total - 1) // (patience + 1)
        raise ConfigError(
            f"train.patience={patience}: can't end this run, which has {total:,} steps and evaluates "
            f"every {every.evaluate:,} (train.every.evaluate={typed}): {patience + 1} evaluations take "
            f"{(patience + 1) * every.evaluate:,}; type {_instead(most, f'{widest}' if widest else '')}"
        )
    if every.minutes and not every.evaluate and limit and (patience + 1) * every.minutes >= limit:
        most, closer = int(-(-limit // every.minutes)) - 2, limit / (patience + 2)
        raise ConfigError(
            f"train.patience={patience}: can't end this run, which has {limit:g} minutes and evaluates "
            f"every {every.minutes:g} (train.every.evaluate={typed}): {patience + 1} evaluations take "
            f"{(patience + 1) * every.minutes:g}; type {_instead(most, f'{closer:.6g}min')}"
        )


def _instead(most: int, interval: str) -> str:
    """What of patience and interval can be typed so that it works; the patience can always be left out."""
    lower = f"train.patience={most}" if most > 0 else ""
    closer = f"train.every.evaluate={interval}" if interval else ""
    return ", ".join(filter(None, [lower, closer])) + (" or " if lower or closer else "") + "train.patience=null"
