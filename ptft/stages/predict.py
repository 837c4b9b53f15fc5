"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ptft.builders.inputs import step_examples
from ptft.builders.restore import restored, trained_in, trained_with
from ptft.checkpoint.load import WEIGHTS, Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Batch, Objective, Spec
from ptft.data import readers
from ptft.data.readers import Row
from ptft.errors import ConfigError, DataError, StorageError
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, find_device, tf32, versions
from ptft.runtime.paths import short
from ptft.runtime.precision import autocast, place
from ptft.runtime.prefetch import on_device
from ptft.runtime.system import finite
from ptft.stages import messages

BATCH = 64
SHOWN = 10


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. What can't be read is said, and its row is empty; if nothing can be read, DataError."""
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
    target = _target(cfg, folder, checkpoint, items)
    if not items:
        what = "holds nothing to answer" if os.path.isfile(str(cfg.input)) else f"no {spec.modality} files there"
        raise DataError(f"input={cfg.input}: {what}; name a file, a folder or a glob")
    header = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}",
        "input": f"{len(items):,} items, read as {messages.input_of(spec) or messages.shape_of(spec)}",
        "device": device_name(device, chosen),
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    out.block("ptft predict", header)
    for note in getattr(items, "notes", ()):
        out.say(note)
    if folder is None:
        return {}
    found: list[tuple[Any, Row | None]] = []
    unreadable: list[str] = []
    options = {**cfg.generate.plain(), "seed": cfg.seed}
    with out.reading("predicting") as progress, torch.inference_mode(), autocast(chosen.precision, device)():
        for part, batch, errors in _batches(items, spec, step_examples(trained_with(job))):
            some = len(errors) < len(part)
            answers = iter(objective.predict(next(on_device(iter([batch]), device)), **options) if some else [])
            found += [(item, None if i in errors else next(answers)) for i, item in enumerate(part)]
            unreadable += map(str, errors.values())
            progress(len(found), len(items))
    _say_unreadable(out, unreadable)
    if len(unreadable) == len(items):
        raise DataError(f"input={cfg.input}: none of the {len(items)} items can be read; the first: {unreadable[0]}")
    assert target
    rows = _rows(spec, found)
    _write(target, rows)
    _close(cfg, out, folder, checkpoint, rows, len(unreadable), target)
    return {}


def _say_unreadable(out: Console, messages: list[str]) -> None:
    for message in messages[:SHOWN]:
        out.say(f"left out, its row is empty: {message}", "yellow")
    if len(messages) > SHOWN:
        out.say(f"left out, their rows are empty: {len(messages) - SHOWN:,} more", "yellow")


def _rows(spec: Spec, found: Sequence[tuple[Any, Row | None]]) -> list[Row]:
    """A row for each answer, in order; where there is none it has a path only, and None in the other columns."""
    rows: list[Row] = []
    for answered, group in groupby(found, lambda pair: pair[1] is not None):
        pairs = list(group)
        if answered:
            rows += readers.finish(spec, [(item, row) for item, row in pairs if row is not None])
        else:
            rows += [{"path": str(item)} for item, _ in pairs]
    names = max(rows, key=len)
    return [{name: row.get(name) for name in names} for row in rows]


def _target(cfg: Config, folder: RunFolder | None, checkpoint: Checkpoint, items: Sequence[Any]) -> Path | None:
    """Where the answers go; None in a dry run. Raises ConfigError for a file that is read, or that a run left there."""
    if not cfg.output:
        return folder.path / "predictions.csv" if folder else None
    target = Path(os.path.expanduser(str(cfg.output))).absolute()
    if not target.exists():
        return target
    names = dict.fromkeys(
        name for item in items for name in (str(item), str(item).rpartition(":")[0])
    )  # of a line, too
    if any(_is(target, name) for name in [str(cfg.input), checkpoint.path, *names]):
        raise ConfigError(f"output={cfg.output}: is read in this run and would be overwritten; name another file")
    if target.suffix in WEIGHTS or target.name in ("status.json", "summary.json", "metrics.jsonl", "run.log"):
        raise ConfigError(f"output={cfg.output}: holds weights or belongs to a run; name another file")
    return target


def _is(target: Path, name: str) -> bool:
    try:
        return target.samefile(os.path.expanduser(name))
    except (OSError, ValueError):  # no path
        return False


def _close(
    cfg: Config, out: Console, folder: RunFolder, checkpoint: Checkpoint, rows: list[Row], unreadable: int, target: Path
) -> None:
    """The summary, the first rows, and the last lines."""
    counts = Counter(row["class"] for row in rows if row.get("class") is not None)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": len(rows) - unreadable,
        "unreadable": unreadable,
        **({"classes": counts} if counts else {}),
        "output": str(target),
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    title = "predictions" if len(rows) <= SHOWN else f"the first {SHOWN} predictions"
    out.table(title, list(rows[0]), [[_shown(value, 4) for value in row.values()] for row in rows[:SHOWN]])
    done = {"items": f"{len(rows) - unreadable:,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if counts:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in counts.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, messages.next_command(cfg, short(checkpoint.path)))


def _shown(value: str | float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _batches(
    items: Sequence[Any], spec: Spec, rows: int
) -> Iterator[tuple[Sequence[Any], Batch, dict[int, DataError]]]:
    """Items, the batch of those that can be read, and why the others (by their place) can't; read in threads.

    BATCH of them at the most, and no more than `rows` of the longest.
    """
    module = readers.of(spec)

    def read(item: Any) -> Tensor | DataError:
        try:
            return item.error if isinstance(item, readers.Unreadable) else module.read(item, spec)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            found = list(pool.map(read, part))
            lengths = [len(value) if isinstance(value, Tensor) else 0 for value in found]
            for begin, end in itertools.pairwise([0, *_ends(lengths, rows), len(part)]):
                values = [value for value in found[begin:end] if isinstance(value, Tensor)]
                batch = module.collate(values, spec) if values else {}
                batch["index"] = torch.arange(start + begin, start + begin + len(values))
                errors = {i: value for i, value in enumerate(found[begin:end]) if isinstance(value, DataError)}
                yield part[begin:end], batch, errors


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
    """As CSV, or as one JSON object a line where the name ends with .jsonl; aside first, so that it is always whole."""
    special = target.exists() and not target.is_file()  # /dev/stdout, say
    aside = target if special else target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            if target.suffix == ".jsonl":
                file.writelines(json.dumps(finite(row), ensure_ascii=False) + "\n" for row in rows)
            else:
                _write_csv(file, rows)
        if not special:
            os.replace(aside, target)
    except OSError as error:
        if not special:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        raise StorageError(f"{target}: can't be written ({error.strerror}); choose another output") from error


def _write_csv(file: IO[str], rows: list[Row]) -> None:
    writer = csv.writer(file)
    writer.writerow(rows[0])
    writer.writerows([_shown(value, 6) for value in row.values()] for row in rows)
