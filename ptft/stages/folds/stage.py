"""Cross-validation: the runs of all folds, one after another, and one summary of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ptft.builders import components, membership
from ptft.builders.inputs import expected
from ptft.builders.parts import accumulation
from ptft.builders.run import Run, build
from ptft.config.resolve import Job, Opened, resolve
from ptft.core import Source
from ptft.data.source import DividedSource
from ptft.errors import CheckpointError, ConfigError, DataError, Interrupted
from ptft.launch.cells import disown, finished, run_all
from ptft.launch.pool import STOPPED
from ptft.loggers.console import Console, duration
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runs.registry import FOLDS
from ptft.stages import messages, predictions
from ptft.stages.compare import same
from ptft.stages.compare.design import digest
from ptft.stages.compare.preflight import as_a_whole, parts_of, what_changed
from ptft.stages.folds import closing as ending
from ptft.stages.folds.design import Fold, folds, overrides, record

UNLABELLED = ("ptft.objectives.self_supervised.", "ptft.objectives.language.")
"""Where objectives are that learn without labels."""
Train = Callable[[Job, Console, RunFolder | None], dict[str, Any]]


class Plan(NamedTuple):
    """What is known once the first run is built. parts: of what its runs consist, a digest each; pins: overrides that
    were found out and hold for all; first: the job of the first, source: its data."""

    every: list[Fold]
    parts: dict[str, str]
    pins: list[str]
    first: Job
    source: Source


def run(job: Job, out: Console, folder: RunFolder | None, train: Train) -> dict[str, Any]:
    """Train what is missing of the folds, then write and say what they give together; without a folder plan them.

    train: the stage that trains one. Returns what `status.json` adds to the status, or the plan. Raises the typed
    errors of ptft before anything trains, and Interrupted, with the command that goes on, where a signal ends it.
    """
    began, cfg = time.perf_counter(), job.config
    _check(job)
    if folder is None:
        return {"plan": _planned(job, out, train)}
    base = folder.path
    before = read_json(base / FOLDS)
    plan = _begun(job, out, base, before)
    reused = {fold: place for fold in plan.every if (place := finished(fold, base, elsewhere=False))}
    names = {key: cfg.names[key] for key in ("stage", "model", "dataset", "objective")}
    description = {**names, "folds": cfg.train.folds, "pins": plan.pins, "parts": plan.parts}
    write_json(base / FOLDS, {"status": "running", **description})
    if reused:
        out.say(f"{len(reused)} of {len(plan.every)} folds are there already")
    records = {
        fold: record(fold, place, read_json(place / "status.json"), reused=True) for fold, place in reused.items()
    }
    try:
        _train(out, [fold for fold in plan.every if fold not in reused], plan.first, records, base)
    except KeyboardInterrupt as error:
        left = f"{len(plan.every) - len(records)} of {len(plan.every)} folds are left; what was trained is kept"
        command = messages.to_resume(job, base)
        raise Interrupted(f"{left}, continue with: {command}", getattr(error, "exit_code", STOPPED[0])) from error
    description["notes"] = _moved(plan) if len(reused) < len(plan.every) else []
    description["seconds"] = time.perf_counter() - began
    return ending.close(job, out, base, [records[fold] for fold in plan.every], plan.source, description)


def _check(job: Job) -> None:
    """Raises ConfigError for what can't be cross-validated, or written as `predictions` says."""
    cfg = job.config
    predictions.check(cfg)
    if str(cfg.objective["_target_"]).startswith(UNLABELLED):
        learns = f"objective={cfg.names.objective} learns without labels, by which folds are measured"
        raise ConfigError(f"train.folds={cfg.train.folds}: {learns}; leave it null")
    if cfg.train.processes > 1:
        raise ConfigError(
            f"train.folds={cfg.train.folds}: its runs are of one process each, and {cfg.train.processes} were started"
        )


def _planned(job: Job, out: Console, train: Train) -> dict[str, Any]:
    """The plan of the first run, and what all of them cost."""
    first = replace(resolve([*overrides(job, 1), "dry_run=true"]), of_many=True)
    plan: dict[str, Any] = train(first, out, None)["plan"]
    total = job.config.train.folds
    cost = {key: total * plan[key] for key in ("seconds", "bytes")}
    shown = {
        "folds": f"{total}, of which the first is planned above; each has another part of the data as its test split",
        "time": f"about {duration(cost['seconds'])} of training",
        "disk": f"{cost['bytes'] / 2**20:,.1f} MiB of checkpoints",
        "written": "nothing",
    }
    out.block("cost of all folds", shown)
    return {**plan, "facts": {**plan["facts"], "folds": str(total)}, **cost}


def _begun(job: Job, out: Console, base: Path, before: dict[str, Any]) -> Plan:
    """Build the first run, say what it is, and find out what all share. before: what is there of this, cut."""
    opened: Opened = {}
    pins = list(before.get("pins") or [])
    first = replace(resolve(overrides(job, 1, pins), opened), of_many=True)
    built = build(first, out)
    _check_ancestors(first, built)
    pins = pins or _pins(first, built)
    fresh = first.checkpoint is None or first.config.finetune.weights == "fresh"
    source = _source(first)
    pinned = resolve(overrides(job, 1, pins), opened)
    parts = parts_of(pinned, built.inputs.fingerprint, same.content(source), fresh)
    shown = {part: digest(content) for part, content in parts.items()}
    if before.get("parts") not in (None, shown):
        what = what_changed(before["parts"], shown, "cross-validation")
        built.notes.append(f"{what}; runs of before do not count")
    messages.header(built, out, base)
    total = job.config.train.folds
    out.say(f"cross-validation: this is the first of {total} folds; each tests another part of the data")
    return Plan(folds(job, as_a_whole(parts), pins), shown, pins, first, source)


def _source(first: Job) -> Source:
    """The data of the first run, as they are now."""
    cfg = first.config
    labelled = "label" in components.needs(cfg.objective, cfg.trusted)
    return components.source(cfg.dataset, expected(first), cfg.trusted, labelled=labelled, model=cfg.model)


def _moved(plan: Plan) -> list[str]:
    """What to say of data that are others now than when the folds began, of which each had another part."""
    now, then = _source(plan.first), plan.source
    if (now.fingerprint(), same.content(now)) == (then.fingerprint(), same.content(then)):
        return []
    return ["the data changed while the folds were trained, so they may not be parts of the same; run it again"]


def _check_ancestors(first: Job, built: Run) -> None:
    """Raises DataError where the weights that all start from were trained on what some fold tests: the first tests none
    of what it trains on itself, and the others do."""
    source, replay = built.inputs.source, built.inputs.replay
    if first.config.split_overlap == "allow" or not isinstance(source, DividedSource):
        return
    later = ["train", *(["val"] if isinstance(source.val, float) else [])]
    for each in {start.path: start for start in (built.inputs.start, replay and replay.checkpoint) if start}.values():
        for split in later:
            try:
                membership.check(source, split, each, allowed=False)
            except DataError as error:
                raise DataError(f"a later fold tests what the first one has as {split}: {error}") from error


def _pins(first: Job, built: Run) -> list[str]:
    """What was measured to be fastest holds for all folds: a choice by the clock may be another in the next."""
    asked = {"precision": first.config.precision, "train.layout": first.config.train.layout}
    found = {"precision": built.cfg.precision, "train.layout": built.cfg.train.layout}
    pins = [f"{key}={found[key]}" for key, value in asked.items() if value == "auto"]
    return [*pins, *accumulation.pinned(first.config, built.cfg)]


def _train(out: Console, missing: list[Fold], first: Job, records: dict[Fold, dict[str, Any]], base: Path) -> None:
    """Run what is missing, a line a run. Raises Interrupted where one of them was, and CheckpointError where one
    started from something else than the first was to."""
    began, running = time.perf_counter(), run_all(missing, base, 1)
    with closing(running):
        for done, (fold, status) in enumerate(running, 1):
            if status["exit_code"] in STOPPED:
                raise Interrupted("stopped", status["exit_code"])
            if (start := first.checkpoint) and same.has_other_start(start.sha256, fold.folder(base)):
                disown(fold, base)
                raise CheckpointError(
                    f"ckpt={first.config.ckpt}: changed while the folds were trained; name one that stays as it is (a "
                    "finished run, or a copy), and start it again"
                )
            records[fold] = record(fold, fold.folder(base), status, reused=False)
            left = (time.perf_counter() - began) / done * (len(missing) - done)
            ending.progress(out, records[fold], left)
