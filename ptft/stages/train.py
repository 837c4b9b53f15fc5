"""Pretraining and finetuning: one stage, which differs only in where the weights start and what is asked of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ptft.builders import components, membership, probe
from ptft.builders.inputs import eval_loader
from ptft.builders.parts import spread
from ptft.builders.run import Run, build
from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint import sharded
from ptft.checkpoint.load import held_by
from ptft.checkpoint.transfer import check_finite
from ptft.config.resolve import Job
from ptft.errors import DataError
from ptft.loggers.braille import LiveCurves
from ptft.loggers.console import Console, ConsoleLogger
from ptft.loggers.jsonl import JsonlLogger, cut_metrics, stored_rows
from ptft.loggers.logger import Loggers
from ptft.runs.folder import RunFolder
from ptft.runs.registry import part_of
from ptft.runtime.device import versions
from ptft.runtime.signals import on_signal
from ptft.stages import cut, left_out, messages, predictions
from ptft.stages.folds import kept, stage
from ptft.stages.measure import intervals
from ptft.stages.measure import panel as panels
from ptft.stages.summary import Metrics, draw_curves, flops, summarise, write, write_safetensors
from ptft.train.found import Found
from ptft.train.loop import evaluate, fit, train_step
from ptft.train.watch import FiniteCheck


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Train and leave checkpoints, metrics and a summary in `folder`; in a dry run, which has none, show the plan.

    Of several processes the first has the folder, and the others compute with it. Returns what `status.json` adds to
    the status, or the plan. Raises the typed errors of ptft.
    """
    if job.config.train.folds is not None:
        return stage.run(job, out, folder, run)
    predictions.check(job.config)
    components.check_loggers(job.config.logger, job.config.trusted)
    probe.check(job.config, folder.path if folder else None)
    built = build(job, out)
    panel = panels.Panel(built, out)
    messages.header(built, out, folder.path if folder else None)
    if job.config.dry_run:
        return {"plan": messages.plan(built, out, _one_step(built))}
    writer = checkpoint_file.CheckpointWriter()
    if folder:
        panel.begin(folder.path)
    if job.config.resume:
        _restore(built, out, folder)
    else:
        if folder:
            membership.write(folder.path, built.inputs.source, built.inputs.splits)
        _save(built, folder, writer, better=False)
    live, start = _live(built, out, folder), built.training.progress.step
    with contextlib.closing(_loggers(built, out, folder, live)) as loggers:
        try:
            train = _train(built, out, loggers, folder, writer, live)
        finally:
            writer.wait()
            if folder:
                folder.moved = built.training.progress.step > start
                folder.began = built.training.progress.step > 0 or built.training.stop is not None
        if built.training.stop:
            return cut.ended(built, job, out, folder)
        return {"metrics": _finish(built, job, out, loggers, folder, train, panel)}


def _live(r: Run, out: Console, folder: RunFolder | None) -> LiveCurves | None:
    """Curves below the bar, with those of a run that continues; none where another logger shows them."""
    if r.cfg.logger or folder is None or not out.live:
        return None
    return LiveCurves(r.training.monitor["metric"].split("/")[-1], stored_rows(folder.path / "metrics.jsonl"))


def _loggers(r: Run, out: Console, folder: RunFolder | None, live: LiveCurves | None) -> Loggers:
    t = r.training
    if folder is None:
        return Loggers()
    monitor = t.monitor["metric"].split("/")[-1]
    console_logger = ConsoleLogger(out, t.total, dataclasses.asdict(t.progress), monitor)
    whole = part_of(folder.path)
    chosen = components.loggers(
        r.cfg.logger,
        r.cfg.trusted,
        folder=folder.path,
        config=r.cfg.plain(),
        step=t.progress.step,
        name=f"{whole.name}/{folder.path.name}" if whole else folder.path.name,
        group=whole.name if whole else None,
        warn=partial(out.say, style="yellow"),
    )
    shown = [console_logger, live] if live else [console_logger]
    return Loggers(JsonlLogger(folder.path, out), *shown, others=chosen)


def _one_step(r: Run) -> float:
    """Seconds of a step, the mean over the run's phases; of each the second of two, for the first one also warms up."""
    t, mean = r.training, 0.0
    assert t.phases
    batch = next(t.loader.epoch())
    if r.execution.probe:
        began = time.perf_counter()
        evaluate(t.objective, t.loader, t.autocast, stopped=lambda: True)
        return time.perf_counter() - began
    for start, end in t.phases.spans():
        t.progress.step = max(t.progress.step, math.ceil(start * (t.total or 0)))
        for _ in range(2):
            began = time.perf_counter()
            train_step(t, batch, FiniteCheck(t))
        mean += (end - start) * (time.perf_counter() - began)
    return mean


def _restore(r: Run, out: Console, folder: RunFolder | None) -> None:
    """Continue exactly: weights, optimizer, averages, generators, position. Rows newer than the checkpoint are cut."""
    start = r.inputs.start
    assert start
    assert start.training
    check_finite(r.objective.state_dict(), start.weights, start.path)
    if not r.inputs.is_known_by(start.meta.get("fingerprint")):
        raise DataError(
            f"{start.path}: the dataset changed since this was saved (its fingerprint differs); "
            "start a new run with ckpt="
        )
    state = sharded.restored(start.training, start.path, r.training.parameters[0])
    with held_by(start.path):
        r.training.load_state_dict(start.weights, state)
    if said := spread.changed((start.config or {}).get("train", {}), r.cfg.train):
        out.say(said, "yellow")
    p = r.training.progress
    if folder:
        cut_metrics(folder.path / "metrics.jsonl", p.step)
    out.say(
        f"continues at step {p.step}: epoch {p.epoch}, batch {p.batch}; "
        f"the schedule follows a budget of {r.training.total or '?'} steps"
    )


def _train(
    r: Run,
    out: Console,
    loggers: Loggers,
    folder: RunFolder | None,
    writer: checkpoint_file.CheckpointWriter,
    live: LiveCurves | None,
) -> dict[str, float]:
    """The metrics of training between the last two evaluations."""
    t = r.training
    with out.training(t.total, t.progress.step, live), on_signal(t.ask):
        return fit(t, loggers, lambda better: _save(r, folder, writer, better=better))


def _save(r: Run, folder: RunFolder | None, writer: checkpoint_file.CheckpointWriter, *, better: bool) -> None:
    """best.pt where this is the best so far, then last.pt; both hold the result's weights, last.pt all the rest too.

    Of several processes the first writes, and the others tell it where their generators stand, and what they have of
    the weights where these are cut.
    """
    t = r.training
    generators = t.generators()
    if folder is None and not t.group.cut:
        return
    weights, state = t.weights(), t.state_dict(generators, _apart(r, folder, writer))
    if folder is None:
        return
    best, last = folder.checkpoints / "best.pt", folder.checkpoints / "last.pt"
    content = {
        "config": r.cfg.plain(),
        "spec": r.objective.describe(r.inputs.source.spec).to_dict(),
        "weights": weights,
        "progress": dataclasses.asdict(t.progress),
        "fingerprint": r.inputs.fingerprint,
        "parent": r.parent,
        "transfer": r.transfer,
        "trained_on": r.trained_on,
        "code": r.code,
        "versions": versions(),
    }
    whole = {**content, "training": state}
    jobs: list[Callable[[], object]] = [partial(checkpoint_file.write, best, content)] if better else []
    jobs.append(partial(checkpoint_file.write, last, whole))
    jobs += [partial(checkpoint_file.link, last, best)] if t.val is None else []
    writer.submit(*jobs, partial(sharded.clear, folder.checkpoints, sharded.folder_of(state)))


def _apart(
    r: Run, folder: RunFolder | None, writer: checkpoint_file.CheckpointWriter
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What takes out of a state what each process writes by itself: nothing, but with `train.save=parts`.

    The save before it is done then, as it ends by removing all parts but its own.
    """
    if not r.training.group.cut or r.cfg.train.save != "parts":
        return dict
    writer.wait()
    place = sharded.free(folder.checkpoints, r.training.progress.step) if folder else None
    return partial(sharded.save, place=Path(r.training.group.same(str(place))))


def _best(r: Run, out: Console, folder: RunFolder) -> tuple[dict[str, Any], str]:
    """The content of best.pt, and its digest."""
    best = folder.checkpoints / "best.pt"
    if not best.exists():
        out.say(f"no evaluation gave {r.training.monitor['metric']}, so best.pt is last.pt", "yellow")
        checkpoint_file.link(folder.checkpoints / "last.pt", best)
    return checkpoint_file.read(best)


def _finish(
    r: Run,
    job: Job,
    out: Console,
    loggers: Loggers,
    folder: RunFolder | None,
    train: dict[str, float],
    panel: panels.Panel,
) -> Metrics:
    """Measure the best weights on the held-out splits, write the summary, say the result."""
    t = r.training
    content, digest = _best(r, out, folder) if folder else ({}, "")
    t.load_weights(content.get("weights"))
    metrics: Metrics = {"train": train}
    sure: dict[str, Any] = {}
    for split in ("val", "test"):
        if split in r.inputs.splits:
            examples = r.inputs.splits[split]
            gathered = predictions.gather(r.cfg, t.objective, r.inputs.source, split, examples)
            batches = eval_loader(r.cfg, examples, r.device, shared=True)
            found = Found() if split == "test" or "test" not in r.inputs.splits else None
            metrics[split], tables = evaluate(t.objective, batches, t.autocast, keep=gathered, found=found)
            predictions.join(gathered)
            if folder is None:
                continue
            predictions.write(r.cfg, gathered, folder.path, split, out, shown=found is not None)
            if found is not None:
                source = r.inputs.source
                sure = intervals.of_run(t.objective, source, split, examples, found, metrics[split], r.cfg.seed)
                if r.cfg.dataset.get("fold"):
                    kept.write(folder.path, source, examples, found, out)
                predictions.remember(r.cfg, gathered, folder.path, split, source.spec, out)
            if loggers.others and (worst := predictions.worst(gathered)):
                loggers.answers(split, *worst)
            for name, table in tables.items():
                loggers.table(name, split, *table)
    left_out.of_training(r, out, folder)
    count = flops(r, folder)
    if folder is None:
        return metrics
    if "test" in metrics:
        where = content["progress"]  # of the weights that were measured
        row = {"step": where["step"], "epoch": where["epoch"], "split": "test", **metrics["test"]}
        loggers.log({**row, "seconds": round(where["seconds"], 3)})
    served = panel.end()
    summary = {**summarise(r, job, folder.path, "finished", metrics, count), **sure, **served}
    write(folder.path, summary, r)
    if r.cfg.train.safetensors:
        write_safetensors(out, folder, content, digest, metrics)
    draw_curves(r, out, folder)
    messages.report(r.cfg, out, folder.path)
    loggers.finished(summary)
    panels.say(out, served)
    messages.closing(r, out, folder.path, summary)
    return metrics
