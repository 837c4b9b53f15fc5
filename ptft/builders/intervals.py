"""How often a run evaluates, from its configuration and what it learns from; and what it is too short for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ptft.builders import components
from ptft.builders.inputs import Inputs
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.core import Objective
from ptft.errors import ConfigError, counted
from ptft.train.every import Every, steps_apart
from ptft.train.state import CLOCK, Training


def intervals(cfg: Config, inputs: Inputs, built: Objective, per_epoch: int) -> Every:
    """What was typed, in steps of which an epoch has so many, or what `auto` comes to.

    A run keeps its interval where it is continued, also one that began when `auto` did not know the budget yet.
    """
    options, budget, val = cfg.train.every, components.budget(cfg.train, per_epoch), inputs.splits.get("val")
    typed = options.log, options.evaluate, options.save, per_epoch
    if cfg.resume and _left_open(inputs):
        return replace(Every.of(*typed), pause=cfg.train.pause)
    measured = built.evaluation_size(len(val)) if val is not None else 0
    apart = steps_apart(measured, len(inputs.splits["train"]), per_epoch)
    every = Every.of(*typed, total=budget.total(per_epoch), minutes=budget.minutes, apart=apart)
    return replace(every, pause=cfg.train.pause)


def _left_open(inputs: Inputs) -> bool:
    """Whether the checkpoint is of a version that left `auto` in what it stored: whole epochs, 200 steps at the least.

    A later one stores steps in its place, and where a clock says more than they do the state of that.
    """
    assert inputs.start
    stored: Any = inputs.start.config
    for key in ("train", "every", "evaluate"):
        stored = stored.get(key) if isinstance(stored, Mapping) else None
    return stored in (None, "auto") and CLOCK not in (inputs.start.training or {})


def impatient(t: Training, typed: int | str, start: Checkpoint | None = None, *, of_many: bool) -> list[str]:
    """What to say of `train.patience` where it can't end the run; of_many: whether it may end others that go with it.

    Raises ConfigError where there are none.
    """
    try:
        check_patience(t, typed, start)
    except ConfigError as error:
        if not of_many:
            raise
        return [str(error).partition("; type ")[0]]
    return []


def within(t: Training, cfg: Config, *, of_many: bool = False) -> list[str]:
    """What to say of a warm-up, phases and evaluations that the run is too short for, where its steps are known.

    Raises ConfigError where something that was asked for never comes; of a run that is continued, whose budget alone
    may be another one now, and of one of many, of which others are longer, that is said as well.
    """
    if not t.total:
        return []
    key = next((key for key in ("steps", "epochs") if cfg.train[key] is not None), "budget")
    key = "epochs" if key == "steps" and cfg.train.steps != t.total else key
    run = f"{counted(t.total, 'steps')} (train.{key}{'' if key == 'budget' else f'={cfg.train[key]}'})"
    never, times = [*_late_rate(t, run), *_left_out_phases(t, run)], t.every.times(t.total)
    points = cfg.train.average_last or 0
    if times == 1 < points:
        never.append(
            f"train.average_last={points}: a run of {run} is evaluated once (train.every.evaluate={t.every.evaluate}), "
            "and there is nothing to average; evaluate more often, or type train.average_last=null"
        )
    if never and not (cfg.resume or of_many):
        raise ConfigError("\n".join(never))
    fewer = times is not None and 1 < times < points
    mean = f"train.average_last={points}: the run is evaluated {times} times, so the mean is of those"
    return [*never, *([mean] if fewer else [])]


def _late_rate(t: Training, run: str) -> list[str]:
    warmup = getattr(t.schedule, "warmup", 0)
    if not isinstance(warmup, int) or not t.total or warmup < t.total:
        return []
    remedy = "type fewer steps, or a share of the run, e.g. schedule.warmup=0.1"
    return [f"schedule.warmup={warmup}: a run of {run} ends before it reaches its rate; {remedy}"]


def _left_out_phases(t: Training, run: str) -> list[str]:
    total, phases = t.total, t.phases
    if not total or phases is None:
        return []
    begins = [math.ceil(start * total) for start, _ in phases.spans()]
    reached = {
        phases.at(step, total) for begin in begins for step in (begin - 1, begin, begin + 1) if 0 <= step < total
    }
    return [
        f"finetune.train: its phase {index + 1}, until {phase.until:g}, has no step in a run of {run}; "
        "leave it out, or type a longer run"
        for index, phase in enumerate(phases.phases)
        if index not in reached
    ]


def check_patience(t: Training, typed: int | str, start: Checkpoint | None = None) -> None:
    """Raises ConfigError where `train.patience` can't end the run before its budget does, with what can.

    The first evaluation is the best so far, so it takes one more than the patience. typed: train.every.evaluate.
    start: what a run goes on from; one that keeps its patience may be at the end of it.
    """
    if start is not None:
        before: Any = (start.config or {}).get("train")
        if not isinstance(before, Mapping) or before.get("patience") == t.patience:
            return
    if t.val is None:
        raise ConfigError(
            f"train.patience={t.patience}: there is no validation split to be patient with, so it can't end the run; "
            "type train.patience=null, or give the dataset one (dataset.val)"
        )
    if start is not None:
        _check_what_is_left(t, typed, start.progress)
    else:
        _check_whole(t, typed)


def _check_what_is_left(t: Training, typed: int | str, progress: Mapping[str, Any]) -> None:
    """Of a run that goes on with another patience: whether it is still evaluated often enough."""
    every, patience, total = t.every, t.patience, t.total
    assert patience
    if every.minutes or not every.evaluate or not total or progress.get("best") is None:
        return
    step, worse = progress.get("step") or 0, progress.get("worse") or 0
    left = max(0, (total - 1) // every.evaluate - step // every.evaluate)
    if patience - worse > left:
        most = f"train.patience={worse + left}, " if left else ""
        raise ConfigError(
            f"train.patience={patience}: can't end this run, which goes on at step {step:,} of {total:,} after {worse} "
            f"evaluations without a better one and has {left} more before its end (train.every.evaluate={typed}); "
            f"type {most}a smaller train.every.evaluate or train.patience=null"
        )


def _check_whole(t: Training, typed: int | str) -> None:
    every, total, limit, patience = t.every, t.total, t.budget.minutes, t.patience
    assert patience
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
