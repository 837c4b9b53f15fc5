"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ptft.builders.inputs import step_examples
from ptft.builders.restore import restored, trained_in, trained_with
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import Batch, Objective, Spec
from ptft.data import readers
from ptft.data.loader import on_device
from ptft.data.readers import Row
from ptft.errors import ConfigError, DataError, StorageError
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, find_device, tf32, versions
from ptft.runtime.paths import short
from ptft.runtime.precision import autocast, place
from ptft.stages import messages

BATCH = 64
SHOWN = 10


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. Unreadable files are said and left out; if none can be read, DataError."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    device = find_device(cfg.device)
    chosen = trained_in(cfg, checkpoint, device)
    tf32(cfg.train.tf32, device)
    objective = place(restored(cfg, checkpoint).to(device), chosen).eval()
    if type(objective).predict is Objective.predict:
        raise ConfigError(
            f"ckpt={cfg.ckpt}: objective={cfg.names.objective} has no answer for new files; finetune it first"
        )
    spec = checkpoint.spec
    assert spec
    items = readers.find(spec, str(cfg.input), bool(cfg.whole))
    if not items:
        raise DataError(f"input={cfg.input}: no {spec.modality} files there; name a file, a folder or a glob")
    header = {
        "model": f"{cfg.names.model}, {cfg.names.objective}",
        "input": f"{len(items):,} items, read as {messages.shape_of(spec)}",
        "device": device_name(device, chosen),
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    out.block("ptft predict", header)
    if folder is None:
        return {}
    found: list[tuple[Any, Row]] = []
    unreadable: list[str] = []
    options = {**cfg.generate.plain(), "seed": cfg.seed}
    with out.reading("predicting") as progress, torch.inference_mode(), autocast(chosen.precision, device)():
        for readable, batch, failed in _batches(items, spec, step_examples(trained_with(job))):
            moved = next(on_device(iter([batch]), device)) if readable else {}
            found += zip(readable, objective.predict(moved, **options) if readable else [], strict=True)
            unreadable += failed
            progress(len(found) + len(unreadable), len(items))
    rows = readers.finish(spec, found)
    for message in unreadable[:SHOWN]:
        out.say(f"left out: {message}", "yellow")
    if not rows:
        raise DataError(f"input={cfg.input}: none of the {len(items)} items can be read; the first: {unreadable[0]}")
    target = Path(os.path.expanduser(str(cfg.output))).absolute() if cfg.output else folder.path / "predictions.csv"
    _write(target, rows)
    _close(cfg, out, folder, checkpoint, rows, len(unreadable), target)
    return {}


def _close(
    cfg: Config, out: Console, folder: RunFolder, checkpoint: Checkpoint, rows: list[Row], unreadable: int, target: Path
) -> None:
    """The summary, the first rows, and the last lines."""
    counts = Counter(row["class"] for row in rows if "class" in row)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": len(rows),
        "unreadable": unreadable,
        **({"classes": counts} if counts else {}),
        "output": str(target),
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    title = "predictions" if len(rows) <= SHOWN else f"the first {SHOWN} predictions"
    out.table(title, list(rows[0]), [[_shown(value, 4) for value in row.values()] for row in rows[:SHOWN]])
    done = {"items": f"{len(rows):,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if counts:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in counts.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, messages.next_command(cfg, short(checkpoint.path)))


def _shown(value: str | float, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _batches(items: Sequence[Any], spec: Spec, rows: int) -> Iterator[tuple[list[Any], Batch, list[str]]]:
    """Readable items, their batch and messages about unreadable items, BATCH at a time, read in threads.

    A batch is no larger than `rows` of its longest item.
    """
    module = readers.of(spec)

    def read(item: Any) -> Tensor | DataError:
        try:
            return module.read(item, spec)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            found = list(pool.map(read, part))
            good = [(item, value) for item, value in zip(part, found, strict=True) if isinstance(value, Tensor)]
            failed = [str(error) for error in found if isinstance(error, DataError)]
            ends = [*_ends([len(value) for _, value in good], rows), len(good)]
            for begin, end in itertools.pairwise([0, *ends]):
                batch = module.collate([value for _, value in good[begin:end]], spec) if end > begin else {}
                batch["index"] = torch.arange(start + begin, start + end)
                yield [item for item, _ in good[begin:end]], batch, failed if end == len(good) else []


def _ends(lengths: Sequence[int], rows: int) -> list[int]:
    """Where to cut items of these lengths, in their order, so that padded batches hold no more than `rows` longest."""
    most, ends, begin, longest = rows * max(lengths, default=0), [], 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > begin and longest * (i + 1 - begin) > most:
            ends.append(i)
            begin, longest = i, length
    return ends


def _write(target: Path, rows: list[Row]) -> None:
    """As CSV, or as one JSON object a line where the name ends with .jsonl."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", newline="", encoding="utf-8") as file:
            if target.suffix == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            else:
                _write_csv(file, rows)
    except OSError as error:
        raise StorageError(f"{target}: can't be written ({error.strerror}); choose another output") from error


def _write_csv(file: IO[str], rows: list[Row]) -> None:
    writer = csv.writer(file)
    writer.writerow(rows[0])
    writer.writerows([_shown(value, 6) for value in row.values()] for row in rows)
