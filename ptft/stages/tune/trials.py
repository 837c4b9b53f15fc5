"""The runs of a search: what is typed for each, where it lies, and what it came to."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptft.config.overrides import Overrides, quote
from ptft.config.resolve import Job
from ptft.errors import Interrupted, StorageError
from ptft.launch.cells import finished
from ptft.launch.job import run_or_continue
from ptft.launch.pool import STOPPED
from ptft.loggers.jsonl import stored_rows
from ptft.runs.folder import read_json
from ptft.stages.tune.search import FAILED, OPEN, WHOLE, Rung, Trial
from ptft.stages.tune.space import typed

OWN = ("stage", "tune", "hydra", "dry_run", "resume", "seed", "quiet")
"""What is typed for the search and not for its runs; `seed` is said to each."""
BRIEF = ("predictions=none", "train.safetensors=false", "report=false")
"""What runs are told of which only the metrics are kept."""


@dataclass(frozen=True)
class Cell:
    """One run."""

    name: str
    overrides: list[str] = field(compare=False)
    identity: str
    """Equal for runs that would give the same result."""

    def folder(self, base: Path) -> Path:
        return base / "cells" / self.name

    def description(self) -> dict[str, Any]:
        return {"name": self.name, "identity": self.identity}


@dataclass(frozen=True)
class Base:
    """What all runs share. common: their overrides; identity: a digest of all that decides what comes of them."""

    common: list[str]
    seed: int
    identity: str = ""

    def cell(self, name: str, settings: Mapping[str, Any], seed: int, more: Sequence[str] = ()) -> Cell:
        words = merged([*self.common, *more, f"seed={seed}", *typed(settings)])
        return Cell(name, words, digest([self.identity, dict(settings), seed]))

    def trial(self, trial: Trial) -> Cell:
        return self.cell(f"trial-{trial.number:03}", trial.settings, self.seed)

    def again(self, who: str, settings: Mapping[str, Any], seed: int) -> Cell:
        """One that tells whether settings are better beyond chance."""
        return self.cell(f"confirm-{who}-seed{seed}", settings, seed, BRIEF)


def base(job: Job) -> Base:
    """What was typed and counts for every run, with a checkpoint as the file that it means now."""
    cfg, kept = job.config, [f"stage={job.config.tune.stage}"]
    for text, key in zip(job.overrides.texts, job.overrides.keys, strict=True):
        if key.split(".")[0].split("/")[0] not in OWN:
            kept.append(quote(f"ckpt={cfg.ckpt}") if key == "ckpt" and cfg.ckpt is not None else text)
    return Base(kept, cfg.seed)


def merged(texts: Sequence[str]) -> list[str]:
    """Overrides of which a later one takes the place of an earlier one of the same key."""
    parsed = Overrides.parse(texts)
    return list(dict(zip(parsed.keys, parsed.texts, strict=True)).values())


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def ran(cell: Cell, base: Path, share: float | None = None) -> dict[str, Any]:
    """The status of a run that was begun, continued, or is there already; with `share` to that part of its budget.

    Raises Interrupted where a signal ended it, StorageError where the disk did: both are not the run's own fault.
    """
    if finished(cell, base, elsewhere=False):
        return {**read_json(cell.folder(base) / "status.json"), "status": "finished", "exit_code": 0}
    pause = [] if share is None else [f"train.pause={share:g}"]
    status = run_or_continue([*cell.overrides, *pause], cell.description(), cell.folder(base))
    if status["exit_code"] in STOPPED:
        raise Interrupted("stopped", status["exit_code"])
    if status["exit_code"] == StorageError.exit_code:
        raise StorageError(status["message"])
    return status


def note(trial: Trial, status: Mapping[str, Any], folder: Path, monitor: Mapping[str, str], rungs: int) -> None:
    """Write into the trial what came of its run. monitor: by what all are judged; rungs: how many one has in all."""
    trial.folder, trial.message = str(folder), str(status.get("message", ""))
    trial.seconds = round(trial.seconds + float(status.get("seconds") or 0), 3)
    if status.get("paused"):
        paused = status["paused"]
        trial.of = paused["of"]
        _add(trial, Rung(paused["step"], paused["value"], paused["loss"]), monitor, 1)
    elif status["exit_code"] == 0:
        value = measured(folder, monitor)
        trial.status, trial.metrics, trial.message = WHOLE, value["metrics"], ""
        trial.of = value["step"]
        _add(trial, Rung(value["step"], value["value"], value["loss"]), monitor, rungs - len(trial.rungs))
    else:
        trial.status = FAILED


def _add(trial: Trial, rung: Rung, monitor: Mapping[str, str], times: int) -> None:
    """The rung, and where its run came to its end early those that it did not see."""
    if rung.value is None or not math.isfinite(rung.value):
        trial.status, trial.message = FAILED, f"{monitor['metric']} is {rung.value}"
        return
    trial.rungs += [rung] * times
    trial.status = WHOLE if trial.status == WHOLE else OPEN


def measured(folder: Path, monitor: Mapping[str, str]) -> dict[str, Any]:
    """What a finished run came to: `value` of what it is judged by, `loss` there, `metrics`, its last `step`."""
    summary = read_json(folder / "summary.json")
    best = summary["best"]
    if {key: best[key] for key in ("metric", "mode")} != dict(monitor):
        return {"value": None, "loss": None, "metrics": {}, "step": summary["steps"]}
    rows = [row for row in stored_rows(folder / "metrics.jsonl") if row.get("split") == "val"]
    loss = next((row.get("loss") for row in reversed(rows) if row.get("step") == best["step"]), None)
    return {"value": best["value"], "loss": loss, "metrics": summary["metrics"], "step": summary["steps"]}


def drop_checkpoints(folder: str | Path) -> None:
    """Those of a run that is not continued and not the result; what it measured stays."""
    shutil.rmtree(Path(folder) / "checkpoints", ignore_errors=True)
