"""The runs of a cross-validation, and what of one is kept once it has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptft.config.overrides import quote
from ptft.config.resolve import Job
from ptft.runs.folder import read_json
from ptft.stages.compare.design import digest, merged

OWN = ("stage", "hydra", "dry_run", "resume")
"""Keys, and what is below them, that are the command's and not its runs'."""


@dataclass(frozen=True)
class Fold:
    """One run: the `number`th (from 1) of so many."""

    number: int
    total: int
    overrides: list[str] = field(compare=False)
    identity: str = ""
    """Equal for runs that would give the same result."""

    def folder(self, base: Path) -> Path:
        return base / "cells" / f"fold{self.number}"

    def description(self) -> dict[str, Any]:
        return {"fold": self.number, "of": self.total, "identity": self.identity}


def overrides(job: Job, number: int, pins: Sequence[str] = ()) -> list[str]:
    """What the run of a fold is composed from: what was typed, a checkpoint as the file that it means now.

    pins: overrides that were found out and hold for all.
    """
    cfg, typed = job.config, job.overrides
    kept = [
        quote(f"ckpt={cfg.ckpt}") if key == "ckpt" and cfg.ckpt is not None else text
        for text, key in zip(typed.texts, typed.keys, strict=True)
        if key.split(".")[0].split("/")[0] not in OWN
    ]
    start = [quote(f"ckpt={cfg.ckpt}")] if cfg.get("ckpt") is not None and "ckpt" not in typed.typed else []
    own = ["train.folds=null", f"dataset.fold={number}/{cfg.train.folds}"]
    return merged([f"stage={cfg.names.stage}"], kept, start, pins, own)


def folds(job: Job, parts: Sequence[Any], pins: Sequence[str]) -> list[Fold]:
    """All runs. parts: what the runs consist of, beside their number."""
    total = job.config.train.folds
    return [
        Fold(number, total, overrides(job, number, pins), digest([parts, number, total]))
        for number in range(1, total + 1)
    ]


def record(fold: Fold, folder: Path, status: Mapping[str, Any], *, reused: bool) -> dict[str, Any]:
    """What is kept of a run: its metrics and cost (`seconds` of training, and what it `took` in all); or why it
    failed. reused: whether it was there already."""
    entry = {
        **fold.description(),
        "status": status["status"],
        "message": status.get("message", ""),
        "folder": str(folder),
        "reused": reused,
    }
    if status["status"] != "finished":
        return entry
    summary = read_json(folder / "summary.json")
    cost = {key: summary.get(key) for key in ("steps", "samples", "seconds")} | {"took": status.get("seconds")}
    data = summary.get("data") or {}
    return {**entry, "metrics": summary["metrics"], "best": summary["best"], "examples": data.get("examples"), **cost}
