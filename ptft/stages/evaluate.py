"""Measure a checkpoint on a split of its own dataset, or on all of another one that has no more classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Examples, Source
from ptft.data.source import DividedSource
from ptft.errors import DataError
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, peak_memory
from ptft.runtime.together.alone import current
from ptft.stages import left_out, messages, predictions
from ptft.stages.measure import against, calibrated, columns, intervals, robustness, shown, slices
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Measured, Subject, other, subject
from ptft.stages.provenance import provenance
from ptft.stages.summary import write_tables

Besides = dict[str, dict[str, Any]]
"""What was asked for beside the metrics: `against`, `slices`, `corruptions`."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Metrics of the checkpoint on one split with their intervals, the tables of its objective, and what is asked for
    besides: another checkpoint's, how calibrated it is."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    predictions.check(cfg)
    model = subject(job)
    split = _split(cfg, model.source)
    examples = model.read(split, out)
    rival = None if cfg.against is None else other(job, cfg.against)
    theirs = rival and rival.read(split, out)
    if rival:
        against.same_question(model, rival, cfg.against)
        model.source.notes = tuple(dict.fromkeys([*model.source.notes, *rival.source.notes]))
    corruptions = robustness.asked(model, examples)
    units = columns.units(model, split, examples)
    pair = rival and theirs and (units, columns.units(rival, split, theirs))
    parts = None if cfg.evaluate.by is None else slices.slices(slices.values(model, split, examples))
    _header(model, out, folder, f"{len(examples):,} {split}")
    if cfg.dry_run:
        return {}
    before = _calibrated(model, split, examples, out) if cfg.evaluate.calibrate else None
    gathered = predictions.gather(cfg, model.objective, model.source, split, examples)
    measured = model.measure(examples, gathered)
    predictions.join(gathered)
    corrupted = robustness.measure(model, examples, corruptions)
    opposed = rival.measure(theirs) if rival and theirs else None
    left_out.gather({split: examples})
    left_out.say({split: examples}, out)
    current().end()
    if folder is None:
        return {}
    write_tables(folder.path, split, measured.tables)
    for name, table in measured.tables.items():
        shown.table(out, f"{name}, {split}", table)
    predictions.write(cfg, gathered, folder.path, split, out, shown=True)
    predictions.remember(cfg, gathered, folder.path, split, model.source.spec, out)
    plan = _plan(cfg)
    sure = plan and intervals.of(model.objective, examples, measured.found, units, measured.metrics, plan)
    calibration = _calibration(model, split, measured, before, units, plan, folder)
    paired = plan or Resampling(seed=cfg.seed)
    besides: Besides = {}
    if rival and theirs and opposed and pair:
        besides["against"] = against.compared(model, (examples, theirs), (measured, opposed), rival, pair, paired)
    if parts:
        besides["slices"] = slices.of(model, examples, measured, units, parts, paired)
    if corrupted:
        besides["corruptions"] = robustness.of(model, examples, corrupted, units, paired)
    certain = intervals.summary(split, sure, plan) if sure and plan else {}
    _write(model, folder, split, measured, examples, {**certain, **calibration, **_by_split(split, besides)})
    messages.report(cfg, out, folder.path)
    out.block("evaluate done", shown.results(split, measured.metrics, sure, plan), "green")
    for note in sure.notes if sure else []:
        out.note(note)
    if calibration:
        shown.say_calibration(out, calibration["calibration"][split])
    _say(out, split, measured.metrics, besides, paired)
    best = folder.checkpoints / "best.pt" if before else checkpoint.path
    messages.ending(out, folder.path, following.command(cfg, best, checkpoint.spec))
    return {"metrics": {split: measured.metrics}}


def _by_split(split: str, besides: Besides) -> dict[str, Any]:
    """As `summary.json` has them: what another checkpoint is compared by is of one split anyway."""
    return {name: found if name == "against" else {split: found} for name, found in besides.items()}


def _write(
    model: Subject, folder: RunFolder, split: str, measured: Measured, examples: Examples, more: Mapping[str, Any]
) -> None:
    """summary.json."""
    cfg = model.cfg
    summary = {
        **{key: cfg.names[key] for key in ("stage", "dataset", "objective")},
        "model": model_name(cfg),
        "status": "finished",
        "split": split,
        "device": str(model.device),
        "precision": model.format.precision,
        "samples": len(examples) - len(examples.unreadable),
        "unreadable": left_out.counted({split: examples}),
        "metrics": {split: measured.metrics},
        **more,
        "peak_memory_bytes": peak_memory(model.device),
        "parent": model.checkpoint.parent,
        **provenance(model.job, folder.path),
    }
    write_json(folder.path / "summary.json", summary)


def _say(out: Console, split: str, metrics: dict[str, float], besides: Besides, plan: Resampling) -> None:
    if "slices" in besides:
        slices.say(out, split, besides["slices"], plan)
    if "corruptions" in besides:
        robustness.say(out, split, metrics, besides["corruptions"])
    if "against" in besides:
        against.say(out, split, metrics, besides["against"], plan)


def _calibrated(model: Subject, split: str, examples: Examples, out: Console) -> dict[str, Any] | None:
    """Fit a temperature; how calibrated it was before."""
    before = calibrated.of(model.objective, model.measure(examples).found, model.source.spec.classes)
    calibrated.fit(model, split, out)
    return before


def _calibration(
    model: Subject,
    split: str,
    measured: Measured,
    before: dict[str, Any] | None,
    units: Units,
    plan: Resampling | None,
    folder: RunFolder,
) -> dict[str, Any]:
    """What `summary.json` says of it; `calibration_SPLIT.json` and where it was fitted the checkpoint are written."""
    assert model.checkpoint.spec
    now = calibrated.of(model.objective, measured.found, model.checkpoint.spec.classes)
    if now is None:
        return {}
    if plan:
        now["intervals"] = calibrated.intervals(measured.found, units, plan)
    if before:
        now["before"] = before
        calibrated.keep(model, folder.checkpoints / "best.pt")
    calibrated.write(folder.path, split, now)
    brief = {key: value for key, value in now.items() if key not in ("bins", "by_label", "before")}
    was = {key: before[key] for key in ("ece", "brier", "nll", "temperature")} if before else None
    kept = {"checkpoints": {"best": "checkpoints/best.pt"}} if before else {}
    return {"calibration": {split: {**brief, **({"before": was} if was else {})}}, **kept}


def _plan(cfg: Config) -> Resampling | None:
    """How intervals are found; None where they are not wanted."""
    options = cfg.evaluate
    return None if options.intervals is None else Resampling(options.intervals, options.resamples, cfg.seed)


def _split(cfg: Config, source: Source) -> str:
    names = [cfg.split] if cfg.split else ["test", "val"]
    for split in names:
        if source.split(split) is not None:
            return str(split)
    said = source.left_out if isinstance(source, DividedSource) else {}
    why = [said[split] for split in names if split in said]
    raise DataError(
        f"the dataset {cfg.names.dataset} has no {' and no '.join(names)} split{f' ({why[0]})' if why else ''}; "
        "type split=train, val or test"
    )


def _header(model: Subject, out: Console, folder: RunFolder | None, sizes: str) -> None:
    cfg, source, checkpoint = model.cfg, model.source, model.checkpoint
    rows = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}",
        "data": f"{cfg.names.dataset}: {sizes}; {messages.examples_of(source.spec)}",
        "input": messages.input_of(source.spec),
        "device": device_name(model.device, model.format, cfg.train.processes),
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    notes = list(filter(None, [checkpoint.latest, *source.notes]))
    out.plan("ptft evaluate", rows, notes, **messages.plan_details(cfg, folder.path if folder else None))
