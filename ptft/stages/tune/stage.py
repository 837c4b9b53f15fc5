"""The stage itself: which settings train best? It runs trials, confirms the best, and gives the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ptft.config.config import Config
from ptft.config.resolve import Job, Opened
from ptft.config.settled.searched import SPACE
from ptft.errors import ConfigError, Interrupted
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.stages.messages import to_resume
from ptft.stages.tune import closing, messages, preflight, sampler, space, trials
from ptft.stages.tune.going import Going
from ptft.stages.tune.search import Plan
from ptft.stages.tune.state import State


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Run what is missing of the search, then write and say what it found; without a folder only try the defaults.

    Returns what `status.json` adds to the status. Raises the typed errors of ptft before anything trains, and
    Interrupted, with the command that goes on, where a signal ends it.
    """
    sampler.check()
    cfg, opened = job.config, Opened()
    dimensions, notes = asked(job)
    base, state = trials.base(job), State.of(folder.path if folder else None)
    plan = Plan(cfg.tune.trials, rungs(cfg), cfg.tune.factor, 1)
    preflight.check(base, dimensions, opened)
    tried = preflight.attempt(base, dimensions, state.pins)
    count = min(plan.count, different(dimensions, tried))
    plan = replace(plan, count=int(count), sign=1 if tried.monitor["mode"] == "max" else -1)
    base = replace(base, common=trials.merged([*tried.pins, *base.common]))
    notes += state.begin(tried, dimensions, plan)
    base = replace(base, identity=state.identity)
    notes += _notes(tried, plan, dimensions, cfg.tune.trials)
    place = folder.path if folder else None
    messages.header(out, job, tried, plan, dimensions, len(state.trials), place, notes)
    if place is None:
        return {"plan": messages.cost(out, tried, plan, cfg.tune.confirm)}
    going = Going(out, cfg, place, base, plan, dimensions, tried, state)
    try:
        going.search()
        going.confirm()
    except KeyboardInterrupt as error:
        left = f"{len(state.trials)} of {plan.count} trials began; what was trained is kept"
        command = to_resume(job, place)
        raise Interrupted(f"{left}, continue with: {command}", getattr(error, "exit_code", 130)) from error
    return closing.close(job, going)


def asked(job: Job) -> tuple[list[space.Dimension], list[str]]:
    """What is searched, and what to say of keys that were typed: those have a value, and are searched only where that
    was typed as well."""
    typed = job.overrides.typed
    spaces = [each.value() for each in job.overrides.parsed if each.key_or_group == SPACE.rstrip(".")]
    chosen = {str(key) for each in spaces if isinstance(each, dict) for key in each}
    dimensions = space.read(job.config)
    fixed = [each.key for each in dimensions if each.key in typed and each.key not in chosen]
    dimensions = [each for each in dimensions if each.key not in fixed]
    if not dimensions:
        raise ConfigError(f"tune.space: {', '.join(fixed)}: typed, so that nothing is left to search")
    return dimensions, [f"{key} is typed, so it is not searched" for key in fixed]


def different(dimensions: Sequence[space.Dimension], tried: preflight.Tried) -> float:
    """How many trials there are with settings that no other has, the defaults among them."""
    return math.prod(each.count for each in dimensions) + (tried.own is None)


def rungs(cfg: Config) -> tuple[float, ...]:
    """Raises ConfigError for parts of a budget that do not rise, or are all of it."""
    shares: Sequence[float] = cfg.tune.rungs or ()
    if list(shares) != sorted(shares) or (shares and shares[-1] >= 1):
        raise ConfigError(f"tune.rungs={space.shown_as(shares)}: must be parts of a budget that rise, below 1")
    return tuple(float(share) for share in shares)


def _notes(tried: preflight.Tried, plan: Plan, dimensions: Sequence[space.Dimension], count: int) -> list[str]:
    """count: how many trials were asked for."""
    few = f"there are {plan.count} different trials in this space, so no more than these (tune.trials={count})"
    notes = [few] if plan.count < count else []
    asked_of = [each.key for each in dimensions if each.key.startswith("objective.")]
    if asked_of and tried.monitor["metric"] == "val/loss":
        notes.append(
            f"judged by val/loss: where {', '.join(asked_of)} change what it measures, trials can't be compared by it; "
            "train.monitor={metric: …, mode: …} names another"
        )
    if tried.own is None:
        notes.append("the defaults lie outside of the space, so proposals do not follow from their trial")
    if plan.rungs and tried.times is not None and tried.times <= 1:
        notes.append("a run is evaluated once, at its end: no trial can be stopped early (train.every.evaluate)")
    elif plan.rungs and tried.times is not None and 1 / tried.times > 1.5 * plan.rungs[0]:
        seldom = (
            f"a run is evaluated {tried.times} times, so that no trial stops before {1 / tried.times:.0%} of its budget"
        )
        notes.append(f"{seldom}; train.every.evaluate=NUMBER of steps makes that earlier")
    return notes
