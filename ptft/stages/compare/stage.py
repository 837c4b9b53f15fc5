"""The stage itself: did pretraining help, and by how much? It runs the cells and gives the answer."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from ptft.config.config import Config
from ptft.config.resolve import Job, Opened
from ptft.errors import CheckpointError, ConfigError, Interrupted, counted
from ptft.launch.cells import disown, finished, remember, run_all
from ptft.launch.pool import STOPPED
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runtime.device import versions
from ptft.stages.compare import data, forecast, messages, preflight, results, same
from ptft.stages.compare.closing import close
from ptft.stages.compare.design import Cell, Design, cells, planned, read_design
from ptft.stages.messages import to_resume

Records = dict[Cell, dict[str, Any]]
PINNED = ("precision=", "train.layout=", "train.accumulate=")
"""How overrides begin that say what was found once, for all runs."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Run what is missing of the comparison, then write and say what it found; without a folder only try the arms.

    Returns what `status.json` adds to the status. Raises the typed errors of ptft before anything trains, and
    Interrupted, with the command that goes on, where a signal ends it.
    """
    began, cfg = time.perf_counter(), job.config
    opened: Opened = {}
    asked = read_design(cfg, job.overrides)
    forecast.check(cfg, asked)
    learned = data.read_data(asked, opened)
    asked, notes = data.possible(asked, learned, "compare.per_class" in job.overrides.typed)
    design, trials = _pinned(asked, cfg, folder)
    arms = preflight.arms(design, learned, opened)
    design = design.starting({name: arm.ckpt for name, arm in arms.items()})
    no_val = "" if all(arm.val for arm in arms.values()) else "there is no validation split to choose it on"
    design = design.around({name: arm.lr for name, arm in arms.items()}, no_val)
    base, ids = folder.path if folder else None, {name: arm.identity for name, arm in arms.items()}
    notes += [f"{name}: {sentence}" for name, arm in arms.items() for sentence in arm.unused]
    notes += preflight.changed(read_json(base / "compare.json").get("arms") if base else None, arms)
    every = planned(design, ids)
    reused = {cell: place for cell in every if (place := finished(cell, base, elsewhere=cfg.compare.reuse))}
    missing = [cell for cell in every if cell not in reused]
    _try(design, missing, trials)
    notes += preflight.impatient(design, dict.fromkeys(cell.arm for cell in missing))
    if len(design.seeds) < results.LEAST_SEEDS:
        few = f"{counted(len(design.seeds), 'seeds')} will not say whether pretraining helped"
        notes.append(f"compare.seeds: {few}; that takes at least {results.LEAST_SEEDS}")
    messages.header(out, job, design, len(every), len(reused), base, notes)
    if base is None:
        return {"plan": messages.cost(out, trials, missing)}
    description = _description(cfg, design, arms)
    write_json(base / "compare.json", {"status": "running", **description})
    records: Records = {}
    try:
        every = cells(design, ids)
        _gather(out, cfg, design, every, records, base, arms)
        if design.tunes:
            every = cells(design, ids, results.rates(design, list(records.values())))
            _gather(out, cfg, design, every, records, base, arms)
    except KeyboardInterrupt as error:
        all_of_them = len(planned(design, ids))
        left = f"{all_of_them - len(records)} of {all_of_them} runs are left; what was trained is kept"
        command = to_resume(job, base)
        raise Interrupted(f"{left}, continue with: {command}", getattr(error, "exit_code", STOPPED[0])) from error
    noted = _remembered(asked, records, arms)
    description["seconds"] = time.perf_counter() - began
    return close(out, cfg, base, design, [records[c] for c in every], description, noted)


def _remembered(design: Design, records: Records, arms: dict[str, preflight.Arm]) -> list[str]:
    """Have other comparisons find its runs, unless what they learned from changed meanwhile, which is said."""
    other = [] if all(each["reused"] for each in records.values()) else preflight.moved(design, arms)
    for cell, each in records.items():
        if each["status"] == "finished" and cell.arm not in other:
            remember(cell, Path(each["folder"]))
    if not other:
        return []
    listed = ", ".join(other)
    return [f"{listed}: the data changed while the comparison ran: its runs may not be of the same ones; run it again"]


def _pinned(design: Design, cfg: Config, folder: RunFolder | None) -> tuple[Design, dict[str, preflight.Trial]]:
    """One precision and layout for every run, what the baseline was measured to be fastest in, and the parts of a batch
    that fit for all arms, unless they are typed."""
    if "auto" not in (cfg.precision, cfg.train.layout, cfg.train.accumulate):
        return design, {}
    before = read_json(folder.path / "compare.json").get("pins") if folder else None
    if before:
        return design.pinned(before), {}
    open_parts = cfg.train.accumulate == "auto"
    if open_parts and cfg.compare.processes > 1:
        raise ConfigError(
            f"compare.processes={cfg.compare.processes} and train.batch_size=auto: what fits is found for one run at a "
            "time; type a number of parts, e.g. train.accumulate=2, or compare.processes=1"
        )
    trials = {name: preflight.attempt(design, name) for name in (design.arms if open_parts else [design.baseline])}
    most = max(trial.parts for trial in trials.values())
    return design.pinned([*trials[design.baseline].pins, *([f"train.accumulate={most}"] if open_parts else [])]), trials


def _try(design: Design, missing: list[Cell], trials: dict[str, preflight.Trial]) -> None:
    """Try every arm that has something to run before any of them does."""
    for name in dict.fromkeys(cell.arm for cell in missing):
        trials[name] = trials.get(name) or preflight.attempt(design, name)
    if trials:
        preflight.same_measure(trials)


def _gather(
    out: Console,
    cfg: Config,
    design: Design,
    every: list[Cell],
    records: Records,
    base: Path,
    arms: dict[str, preflight.Arm],
) -> None:
    """Add the records of these runs: of those that are there already, and of the others once they are trained."""
    others = [cell for cell in every if cell not in records]
    for cell in others:
        if place := finished(cell, base, elsewhere=cfg.compare.reuse):
            records[cell] = results.record(cell, place, {"status": "finished"}, reused=True)
    missing = [cell for cell in others if cell not in records]
    _train(out, design, missing, records, base, cfg.compare.processes, arms)


def _train(
    out: Console,
    design: Design,
    missing: list[Cell],
    records: Records,
    base: Path,
    processes: int,
    arms: dict[str, preflight.Arm],
) -> None:
    """Run what is missing, a line a run. Raises Interrupted where one of them was, and CheckpointError where one
    started from something else than its arm did at first."""
    began, running = time.perf_counter(), run_all(missing, base, processes)
    with closing(running):
        for done, (cell, status) in enumerate(running, 1):
            if status["exit_code"] in STOPPED:
                raise Interrupted("stopped", status["exit_code"])
            if said := same.other_start(cell.arm, arms[cell.arm].ckpt, arms[cell.arm].sha256, cell.folder(base)):
                disown(cell, base)
                raise CheckpointError(said)
            records[cell] = results.record(cell, cell.folder(base), status, reused=False)
            if design.keep == "best" and status["exit_code"] == 0:
                (cell.folder(base) / "checkpoints" / "last.pt").unlink(missing_ok=True)
            left = (time.perf_counter() - began) / done * (len(missing) - done)
            purpose = " to choose rates" if design.tunes and cell.seed == design.seeds[0] else ""
            messages.progress(out, cell, records[cell], f"run {done} of {len(missing)}{purpose}", left)


def _description(cfg: Config, design: Design, arms: dict[str, preflight.Arm]) -> dict[str, Any]:
    """What a comparison is, before it has any result."""
    names = {key: cfg.names[key] for key in ("stage", "model", "dataset", "objective")}
    pins = [text for text in design.arms[design.baseline] if text.startswith(PINNED)]
    shown = {name: {"overrides": design.arms[name], **vars(arm)} for name, arm in arms.items()}
    plan = {"baseline": design.baseline, "key": design.key, "amounts": design.amounts, "seeds": design.seeds}
    tune = {name: design.rates_of(name) for name in design.arms} if design.tunes else design.rates
    return {**names, **plan, "tune": tune, "pins": pins, "arms": shown, "versions": versions()}
