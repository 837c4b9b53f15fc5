"""Preflight: before anything trains every bound and choice is composed, and the defaults are built and take a step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ptft.builders import probe
from ptft.builders.parts import accumulation
from ptft.builders.run import Run, build
from ptft.config import compose
from ptft.config.config import Config
from ptft.config.resolve import Job, Opened, resolve
from ptft.config.settled import own_code
from ptft.config.settled.searched import SPACE
from ptft.errors import ConfigError, NotFiniteError, PtftError
from ptft.loggers.console import Console
from ptft.stages.tune.space import Dimension, defaults, typed
from ptft.stages.tune.trials import Base, digest, merged
from ptft.train.loop import train_step
from ptft.train.watch import FiniteCheck

PINNED = ("precision", "train.layout")
"""Keys that are measured once, with the defaults, and are then the same for all trials."""

PARTS = "train.accumulate="
AS_LARGE = ("optimizer.", "schedule.", "finetune.layer_decay")
"""How keys begin that change nothing of the memory that a step takes, so that the same parts of a batch fit."""


@dataclass(frozen=True)
class Tried:
    """What a step of the defaults showed.

    usual: their values of the keys that are searched; own: the same, None where one lies outside of the space. steps:
    of a run; seconds: of a step; size: bytes of a run's checkpoints; times: how often it is evaluated. None where that
    is not known.
    """

    config: Config
    monitor: dict[str, str]
    usual: dict[str, Any]
    own: dict[str, Any] | None
    steps: int | None
    seconds: float
    size: int
    times: int | None
    pins: list[str]
    parts: dict[str, str]
    """What decides what a run comes to, in words, and a digest of each."""
    start: str | None
    """The digest of the checkpoint that it starts from."""


def attempt(base: Base, dimensions: Sequence[Dimension], pins: Sequence[str]) -> Tried:
    """Build the defaults and take a step; nothing is written. pins: those of an earlier start of the search.

    Raises ConfigError where there is nothing to be judged by, or a key is searched that does nothing.
    """
    job = _job(base, {}, pins, {})
    run = build(job, Console(quiet=True))
    t, val = run.training, run.inputs.splits.get("val")
    if val is None:
        raise ConfigError(
            "dataset.val: settings are chosen on a validation split, and there is none; type dataset.val=0.1"
        )
    _refuse_idle(base, dimensions, run)
    seconds = 0.0
    for _ in range(0 if run.execution.probe else 2):  # the first one also warms up
        began = time.perf_counter()
        with contextlib.suppress(NotFiniteError):  # its run will say so, and the others go on
            train_step(t, next(t.loader.epoch()), FiniteCheck(t))
        seconds = time.perf_counter() - began
    tensors = [*t.objective.state_dict().values()] * 2
    tensors += [value for state in t.optimizer.state.values() for value in state.values()]
    size = sum(each.numel() * each.element_size() for each in tensors if isinstance(each, Tensor))
    found = [f"{key}={_at(run.cfg.plain(), key)}" for key in PINNED]
    found += _pinned_parts(dimensions, job.config, run.cfg) + [text for text in pins if text.startswith(PARTS)]
    usual = defaults(dimensions, run.cfg)
    own = usual if all(each.holds(usual[each.key]) for each in dimensions) else None
    times = t.every.times(t.total)
    parts, start = _parts(base, job, run), job.checkpoint.sha256 if job.checkpoint else None
    return Tried(run.cfg, dict(t.monitor), usual, own, t.total, seconds, size, times, found, parts, start)


def _pinned_parts(dimensions: Sequence[Dimension], asked: Config, built: Config) -> list[str]:
    """Each run finds those of its own batch where what is searched may change how large a step is."""
    if not all(each.key.startswith(AS_LARGE) for each in dimensions):
        return [f"{PARTS}auto"] if asked.train.accumulate == "auto" else []
    return accumulation.pinned(asked, built)


def _job(base: Base, settings: Mapping[str, Any], more: Sequence[str], opened: Opened) -> Job:
    words = merged([*base.common, *more, f"seed={base.seed}", *typed(settings), "dry_run=true"])
    return replace(resolve(words, opened), of_many=True)


def _refuse_idle(base: Base, dimensions: Sequence[Dimension], run: Run) -> None:
    """Raises ConfigError for a key that changes nothing in these runs: a search would choose among its noise."""
    keys = [each.key for each in dimensions if run.execution.probe and probe.unused([each.key])]
    if keys:
        away = " ".join(f"{SPACE}{key}=null" for key in keys)
        raise ConfigError(
            f"tune.space: {', '.join(keys)}: without effect, as a head is fitted to convergence; type {away}, or "
            "finetune.probe=steps"
        )


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _parts(base: Base, job: Job, run: Run) -> dict[str, str]:
    start = job.checkpoint
    found: dict[str, Any] = {
        "what was typed": [text for text in base.common if not text.startswith(("ckpt=", "trusted"))],
        "the checkpoint": start and (start.sha256 or start.path),
        "the data": run.inputs.fingerprint,
        "the code of trusted packages": own_code.digests(job.config.trusted),
        "the seed": base.seed,
    }
    return {what: digest(content) for what, content in found.items()}


def check(base: Base, dimensions: Sequence[Dimension], opened: Opened) -> None:
    """Compose a run with every bound and every choice. Raises one ConfigError for all that can't be, a line each."""
    _job(base, {}, (), opened)  # what is wrong without them is said as it is
    problems: list[str] = []
    for each in dimensions:
        others = {other.key: other.ends[0] for other in dimensions if other.key.startswith(f"{each.key}.")}
        for value in each.ends:
            settings = {each.key: value, **(others if each.key in compose.GROUPS else {})}
            if each.key not in compose.GROUPS and (group := _option_of(each.key, dimensions)):
                settings[group.key] = group.choices[0]
            try:
                _job(base, settings, (), opened)
            except PtftError as error:
                problems += [f"{SPACE}{each.key}: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def _option_of(key: str, dimensions: Sequence[Dimension]) -> Dimension | None:
    """The choice of an option whose key it is, where that is searched as well."""
    return next((each for each in dimensions if key.split(".")[0] == each.key and each.key in compose.GROUPS), None)
