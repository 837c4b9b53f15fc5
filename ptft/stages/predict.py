"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import EACH, Columns, Objective, Spec
from ptft.data import readers
from ptft.data.readers import Row
from ptft.errors import ConfigError
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.table_file import cell, check_ending, write_columns
from ptft.runtime import json_lines
from ptft.runtime.device import versions
from ptft.stages import messages, new_files


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. What can't be read is said, and its row is empty; if nothing can be read, DataError."""
    cfg = job.config
    target, items, predictor = new_files.opened(job, folder, "predictions.csv", check_ending)
    predictor.require_answers()
    new_files.plan(job, out, folder, items, predictor, cfg.names.objective)
    if folder is None:
        return {}
    predicted: list[tuple[Any, Row | None]] = []
    unreadable, remarks = list[str](), dict[str, list[str]]()
    _check_generates(job, predictor.objective)
    with out.reading("predicting") as progress:
        for item, row, error in predictor.answers(items, remarks, **_top(cfg, predictor.objective)):
            predicted.append((item, row))
            unreadable += [str(error)] if error else []
            progress(len(predicted), len(items))
    new_files.say_what_was_read(cfg, out, unreadable, remarks, len(items))
    assert target
    answers, passed = _columns(predictor.spec, predicted)
    table = new_files.joined(out, answers, passed)
    write_columns(target, table, "choose another output", exact=table.keys() - answers.keys())
    if json_lines.enabled():
        for cells in zip(*table.values(), strict=True):
            json_lines.emit("prediction", row=dict(zip(table, cells, strict=True)))
    _close(cfg, out, folder, predictor.checkpoint, _as_typed(cfg, answers, passed), len(unreadable), target)
    return {}


def _columns(spec: Spec, predicted: Sequence[tuple[Any, Row | None]]) -> tuple[Columns, list[dict[str, Any]]]:
    """The answers, a row each in order, and what is handed on of each row; without an answer there is a path only."""
    rows: list[Row] = []
    passed: list[dict[str, Any]] = []
    for answered, group in groupby(predicted, lambda pair: pair[1] is not None):
        pairs = list(group)
        if answered:
            rows += readers.finish(spec, [(item, row) for item, row in pairs if row is not None])
        else:
            rows += [{"path": str(item)} for item, _ in pairs]
        passed += [readers.passed(spec, item) for item, _ in pairs]
    names = max(rows, key=len)
    return {name: [row.get(name) for row in rows] for name in names}, passed


def _top(cfg: Config, objective: Objective) -> dict[str, int]:
    """How many classes to give, where it is typed. Raises ConfigError for an objective that names none."""
    if cfg.predict.top is None:
        return {}
    if "top" not in inspect.signature(type(objective).predict).parameters:
        raise ConfigError(f"predict.top={cfg.predict.top}: objective={cfg.names.objective} gives no classes")
    return {"top": int(cfg.predict.top)}


def _check_generates(job: Job, objective: Objective) -> None:
    """Raises ConfigError for keys of `generate` that were typed where nothing is: the objective names none of them."""
    typed = [key for key in job.overrides.keys if key.startswith("generate.")]
    parameters = inspect.signature(type(objective).predict).parameters
    if typed and not any(key in parameters for key in job.config.generate):
        raise ConfigError(f"{typed[0]}: objective={job.config.names.objective} writes no texts on; drop it")


def _as_typed(cfg: Config, answers: Columns, passed: Sequence[dict[str, Any]]) -> Columns:
    """The answers as they are shown: beside a text that was typed or piped stands the text, and no place of it."""
    texts = [fields.get("text") for fields in passed]
    if (cfg.text is None and cfg.input != new_files.STDIN) or "text" in answers or not all(texts):
        return answers
    return {"text": texts, **{name: values for name, values in answers.items() if name != "path"}}


def _close(
    cfg: Config,
    out: Console,
    folder: RunFolder,
    checkpoint: Checkpoint,
    answers: Columns,
    unreadable: int,
    target: Path,
) -> None:
    """The summary, the first rows, and the last lines."""
    counts = Counter(name for name in answers.get("class", []) if name is not None)
    count = len(next(iter(answers.values())))
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": count - unreadable,
        "unreadable": unreadable,
        **({"classes": counts} if counts else {}),
        "output": str(target),
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    title = "predictions" if count <= new_files.SHOWN else f"the first {new_files.SHOWN} predictions"
    shown = [name for name in answers if not name.startswith(EACH)]
    out.table(title, shown, [[cell(answers[name][i], 4) for name in shown] for i in range(min(count, new_files.SHOWN))])
    done = {"items": f"{count - unreadable:,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if counts:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in counts.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, following.command(cfg, checkpoint.path))
