"""Pretraining and finetuning: one stage, which differs only in where the weights start and what is asked of them."""

from __future__ import annotations

import dataclasses
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ptft import announce, checkpoint
from ptft.assemble import Run, assemble, eval_loader, plain
from ptft.core import Table
from ptft.data.loader import worker_failure
from ptft.errors import DataError, Interrupted
from ptft.interrupt import CODES, on_signal
from ptft.loop import Watch, evaluate, fit, train_step
from ptft.report import Report, cut_metrics
from ptft.runs import RunFolder, write_json
from ptft.summary import Metrics, summarise, versions


def run(cfg: DictConfig, out: Report, folder: RunFolder | None) -> dict[str, Any]:
    """Train and leave checkpoints, metrics and a summary in `folder`; without one (`dry_run`) show the plan.

    Returns what `status.json` adds to the status. Raises the typed errors of ptft.
    """
    built = assemble(cfg, out)
    announce.header(built, out, folder.path if folder else None)
    if folder is None:
        announce.plan(built, out, _one_step(built))
        return {}
    writer = checkpoint.Writer()
    if cfg.resume:
        _restore(built, out, folder)
    else:
        _save(built, folder, writer, better=False)
    try:
        _train(built, out, folder, writer)
    finally:
        writer.wait()
    if built.training.stop:
        raise _interrupted(built, folder)
    return {"metrics": _finish(built, out, folder)}


def _one_step(r: Run) -> float:
    """Seconds of a step, the second of two: the first one also warms up."""
    t = r.training
    batch = next(t.loader.epoch())
    for _ in range(2):
        began = time.perf_counter()
        train_step(t, batch, Watch(t))
    return time.perf_counter() - began


def _restore(r: Run, out: Report, folder: RunFolder) -> None:
    """Continue exactly: weights, optimizer, averages, generators, position. Rows newer than the checkpoint are cut."""
    assert r.origin
    assert r.origin.training
    if r.origin.meta["fingerprint"] != r.fingerprint:
        raise DataError(
            f"{r.origin.path}: the dataset changed since this was saved (its fingerprint differs); "
            "start a new run with ckpt="
        )
    r.training.load_state_dict(r.origin.weights, r.origin.training)
    p = r.training.progress
    cut_metrics(folder.path / "metrics.jsonl", p.step)
    out.say(
        f"continues at step {p.step}: epoch {p.epoch}, batch {p.batch}; "
        f"the schedule follows a budget of {r.training.total or '?'} steps"
    )


def _train(r: Run, out: Report, folder: RunFolder, writer: checkpoint.Writer) -> None:
    t = r.training

    def stop(name: str) -> None:
        t.stop = name

    out.start(t.total, dataclasses.asdict(t.progress), t.monitor["metric"].split("/")[-1])
    try:
        with on_signal(stop):
            fit(t, out, lambda better: _save(r, folder, writer, better=better))
    except RuntimeError as error:
        raise worker_failure(error) or error from error
    out.stop_bar()
    if skipped := len(getattr(t.loader, "skipped", ())):
        out.say(f"{skipped} unreadable files were left out of the batches (dataset.on_error=skip)", "yellow")


def _save(r: Run, folder: RunFolder, writer: checkpoint.Writer, *, better: bool) -> None:
    """best.pt where this is the best so far, then last.pt; both hold the result's weights, last.pt all the rest too."""
    t, best, last = r.training, folder.checkpoints / "best.pt", folder.checkpoints / "last.pt"
    content = {
        "config": plain(r.cfg),
        "spec": r.objective.describe(r.source.spec).to_dict(),
        "weights": t.weights(),
        "progress": dataclasses.asdict(t.progress),
        "fingerprint": r.fingerprint,
        "parent": r.parent,
        "transfer": r.transfer,
        "versions": versions(),
    }
    whole = {**content, "training": t.state_dict()}
    jobs = [partial(checkpoint.write, best, content)] if better else []
    jobs.append(partial(checkpoint.write, last, whole))
    writer.submit(*jobs, *([partial(checkpoint.link, last, best)] if t.val is None else []))


def _interrupted(r: Run, folder: RunFolder) -> Interrupted:
    signal = r.training.stop
    assert signal
    write_json(folder.path / "summary.json", summarise(r, "interrupted", {}))
    command = f"ptft resume={announce.short(folder.path)}"
    return Interrupted(
        f"{signal} at step {r.training.progress.step}; the state is saved, continue with: {command}", CODES[signal]
    )


def _finish(r: Run, out: Report, folder: RunFolder) -> Metrics:
    """Measure the best weights on the held-out splits, write the summary, say the result."""
    t, best = r.training, folder.checkpoints / "best.pt"
    if not best.exists():
        out.say(f"no evaluation gave {t.monitor['metric']}, so best.pt is last.pt", "yellow")
        checkpoint.link(folder.checkpoints / "last.pt", best)
    t.objective.load_state_dict(checkpoint.read(best)[0]["weights"])
    metrics: Metrics = {"train": out.last_train}
    for split in ("val", "test"):
        if split in r.splits:
            metrics[split], tables = evaluate(t.objective, eval_loader(r.cfg, r.splits[split], r.device), t.autocast)
            write_tables(folder.path, split, tables)
    if "test" in metrics:
        row = {
            "step": t.progress.best_step or t.progress.step,
            "epoch": t.progress.epoch,
            "split": "test",
            **metrics["test"],
        }
        out.record({**row, "seconds": round(t.progress.seconds, 3)})
    summary = summarise(r, "finished", metrics)
    write_json(folder.path / "summary.json", summary)
    announce.closing(r, out, folder.path, summary)
    return metrics


def write_tables(folder: Path, split: str, tables: dict[str, Table]) -> None:
    """`confusion_test.json` and the like: names of rows and columns, and the values."""
    for name, table in tables.items():
        content = {"rows": table.rows, "columns": table.columns, "values": table.values}
        (folder / f"{name}_{split}.json").write_text(json.dumps(content), encoding="utf-8")
