"""The numbers of a run, as `summary.json` holds them, and what is left beside: weights for others, a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.builders.run import Run
from ptft.checkpoint import exported
from ptft.config.config import model_name
from ptft.config.resolve import Job
from ptft.core import Spec, Table
from ptft.errors import StorageError, first_line
from ptft.loggers import curves
from ptft.loggers.console import Console
from ptft.loggers.jsonl import write_table
from ptft.runs import references
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import peak_memory
from ptft.stages import left_out
from ptft.stages.provenance import provenance
from ptft.train.flops import flops_per_example

Metrics = dict[str, dict[str, float]]
"""Split -> name -> value."""


def flops(r: Run, folder: RunFolder | None) -> int:
    """Floating point operations of the whole run, once its processes compute for themselves again; 0 without a folder.

    Where weights are cut all processes come by here.
    """
    cut = r.training.group.cut
    r.training.group.end()
    if folder is None and not cut:
        return 0
    return flops_per_example(r.objective, r.inputs.splits["train"], r.device) * r.training.progress.samples


def summarise(r: Run, job: Job, folder: Path, status: str, metrics: Metrics, flops: int) -> dict[str, Any]:
    """Plain data; every key is there at an interruption too. Of tensors it has counts, `transfer.json` the names."""
    t, names, p = r.training, r.cfg.names, r.training.progress
    return {
        "stage": names.stage,
        "status": status,
        "model": model_name(r.cfg),
        "dataset": names.dataset,
        "objective": names.objective,
        "input": described(r.inputs.source.spec),
        "seed": r.cfg.seed,
        "device": str(r.device),
        "precision": r.execution.compute_format.precision,
        "layout": r.execution.compute_format.layout,
        "steps": p.step,
        "epochs": p.epoch,
        "samples": p.samples,
        "seconds": round(p.seconds, 3),
        "data_seconds": round(p.waited, 3),
        "samples_per_second": round(p.samples / p.seconds, 1) if p.seconds else None,
        "peak_memory_bytes": peak_memory(r.device),
        "parameters": sum(q.numel() for q in t.objective.parameters()),
        "trainable_parameters": sum(q.numel() for q in t.parameters),
        "flops": flops,
        "metrics": metrics,
        "best": {**t.monitor, "value": p.best, "step": p.best_step if p.best is not None else p.step},
        "checkpoints": {"best": "checkpoints/best.pt", "last": "checkpoints/last.pt"},
        "parent": r.parent,
        "refers": (refers := _refers(r)),
        "refers_sha256": references.digests(refers),
        "transfer": _counts(r.transfer),
        "data": {
            "fingerprint": r.inputs.fingerprint,
            "examples": {split: len(examples) for split, examples in r.inputs.splits.items()},
        },
        "unreadable": left_out.counted(r.inputs.splits),
        **provenance(job, folder),
    }


def _refers(r: Run) -> dict[str, Any]:
    """The other runs and checkpoints that it needs where it goes on, by the keys that name them."""
    named = {key: references.value_of(r.cfg, key) for key in references.KEYS}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in named.items() if value}


def write(folder: Path, summary: Mapping[str, Any], r: Run) -> None:
    """summary.json, and transfer.json where weights were handed over. Raises StorageError."""
    if r.transfer:
        write_json(folder / "transfer.json", r.transfer)
    write_json(folder / "summary.json", summary)


def _counts(transfer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if transfer is None:
        return None
    return {kind: {**group, "tensors": len(group["tensors"])} for kind, group in transfer.items()}


def described(spec: Spec) -> dict[str, Any] | None:
    """How examples became inputs: shape, mean and std. None where the Spec has no mean to normalise by."""
    return {**spec.shape, "mean": list(spec.mean), "std": list(spec.std)} if spec.mean else None


def write_tables(folder: Path, split: str, tables: dict[str, Table]) -> None:
    """A file each, as `write_table` names it."""
    for name, table in tables.items():
        write_table(folder, name, split, *table)


def write_safetensors(out: Console, folder: RunFolder, content: dict[str, Any], digest: str, metrics: Metrics) -> None:
    """best.safetensors and best.json: the content of best.pt as others read it; no room for them ends no run."""
    best = folder.checkpoints / "best.pt"
    says = {**exported.described(content, digest, str(best), str(folder.path)), "metrics": metrics}
    try:
        exported.write(best.with_suffix(exported.SUFFIX), best.with_suffix(".json"), content, says, "free some space")
    except StorageError as error:
        for half in (best.with_suffix(exported.SUFFIX), best.with_suffix(".json")):
            half.unlink(missing_ok=True)
        out.say(f"{error}; the run goes on without it, and best.pt holds the same", "yellow")


def draw_curves(r: Run, out: Console, folder: RunFolder) -> None:
    """curves.png; a picture is not worth a run, whatever its drawing meets."""
    try:
        curves.write(folder.path, r.training.monitor["metric"])
    except Exception as error:
        out.say(f"curves.png: can't be drawn ({first_line(error)}); the run goes on without it", "yellow")
