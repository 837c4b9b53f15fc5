"""Classes for new files, as a CSV. Needs nothing but the checkpoint, which holds model, input shape and class names."""

from __future__ import annotations

import csv
import importlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from omegaconf import DictConfig

from ptft import announce, build, kernels, speed
from ptft.core import Objective, Spec
from ptft.errors import DataError, StorageError
from ptft.origin import Origin, load
from ptft.report import Report
from ptft.runs import RunFolder, write_json
from ptft.stages.evaluate import restored, trained_in
from ptft.summary import versions

BATCH = 64
SHOWN = 10
Row = tuple[str, str, float]
"""path, class, probability"""


def run(cfg: DictConfig, out: Report, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. Unreadable files are said and left out; if none can be read, DataError."""
    origin = load(cfg.ckpt)
    device = build.device(cfg.device)
    chosen = trained_in(cfg, origin, device)
    speed.tf32(cfg.train.tf32, device)
    objective = kernels.place(restored(cfg, origin).to(device), chosen).eval()
    spec = origin.spec
    assert spec
    modality = importlib.import_module(f"ptft.data.{spec.modality}")
    paths = modality.find(str(cfg.input))
    if not paths:
        raise DataError(f"input={cfg.input}: no {spec.modality} files there; name a file, a folder or a glob")
    header = {
        "model": f"{cfg.names.model}, {cfg.names.objective}",
        "input": f"{len(paths):,} files, read as {announce.shape_of(spec)}",
        "device": announce.device_name(device, chosen),
        "start": origin.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    out.block("ptft predict", header)
    if folder is None:
        return {}
    rows, unreadable = [], []
    with out.reading("predicting") as progress, torch.inference_mode(), kernels.autocast(chosen.precision, device)():
        for names, inputs, failed in _batches(paths, modality, spec):
            rows += _predicted(objective, spec, names, inputs.to(device)) if names else []
            unreadable += failed
            progress(len(rows) + len(unreadable), len(paths))
    for message in unreadable[:SHOWN]:
        out.say(f"left out: {message}", "yellow")
    if not rows:
        raise DataError(f"input={cfg.input}: none of the {len(paths)} files can be read; the first: {unreadable[0]}")
    target = Path(os.path.expanduser(str(cfg.output))).absolute() if cfg.output else folder.path / "predictions.csv"
    _write(target, rows)
    _close(cfg, out, folder, origin, rows, len(unreadable), target)
    return {}


def _predicted(objective: Objective, spec: Spec, names: list[str], inputs: torch.Tensor) -> list[Row]:
    found = objective.predict({"input": inputs})
    labels, shares = found["label"].tolist(), found["probability"].tolist()
    return [(name, spec.classes[label], share) for name, label, share in zip(names, labels, shares, strict=True)]


def _close(
    cfg: DictConfig, out: Report, folder: RunFolder, origin: Origin, rows: list[Row], unreadable: int, target: Path
) -> None:
    """The summary, the first rows, and the last lines."""
    counts = Counter(name for _, name, _ in rows)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": len(rows),
        "unreadable": unreadable,
        "classes": counts,
        "output": str(target),
        "parent": origin.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    title = "predictions" if len(rows) <= SHOWN else f"the first {SHOWN} predictions"
    shown = [[name, label, f"{share:.4f}"] for name, label, share in rows[:SHOWN]]
    out.table(title, ["path", "class", "probability"], shown)
    done = {
        "files": f"{len(rows):,} predicted, {unreadable:,} unreadable",
        "classes": ", ".join(f"{name} {count}" for name, count in counts.most_common(10)),
        "written": str(target),
    }
    out.block("predict done", done, "green")
    announce.ending(out, folder.path, f"ptft stage=evaluate ckpt={announce.short(origin.path)}")


def _batches(
    paths: list[Path], modality: ModuleType, spec: Spec
) -> Iterator[tuple[list[str], torch.Tensor, list[str]]]:
    """Names, inputs (uint8, stacked) and messages about unreadable files, a batch at a time, decoded in threads."""

    def read(path: Path) -> torch.Tensor | DataError:
        try:
            tensor: torch.Tensor = modality.read(path, spec)
        except DataError as error:
            return error
        return tensor

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            found = list(pool.map(read, part))
            good = [(str(path), item) for path, item in zip(part, found, strict=True) if isinstance(item, torch.Tensor)]
            inputs = torch.stack([item for _, item in good]) if good else torch.empty(0)
            yield [name for name, _ in good], inputs, [str(item) for item in found if isinstance(item, DataError)]


def _write(target: Path, rows: list[Row]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "class", "probability"])
            writer.writerows((name, label, f"{share:.6f}") for name, label, share in rows)
    except OSError as error:
        raise StorageError(f"{target}: can't be written ({error.strerror}); choose another output") from error
