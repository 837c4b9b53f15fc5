"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ptft.builders.predictor import Predictor
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import EACH, Columns, Objective, Spec
from ptft.data import readers
from ptft.data.readers import Row
from ptft.errors import ConfigError, counted
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.table_file import cell, check_ending, write_columns
from ptft.runtime import json_lines
from ptft.runtime.device import device_name, versions
from ptft.stages import asked, messages


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. What can't be read is said, and its row is empty; if nothing can be read, DataError."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    target = asked.output(cfg, folder, "predictions.csv", check_ending)
    check_spec(checkpoint)
    spec = checkpoint.spec
    items = asked.items(cfg, spec) if spec and checkpoint.has_task else []
    asked.refuse_overwriting(cfg, checkpoint, items)
    predictor = Predictor(job)
    predictor.require_answers()
    spec = predictor.spec
    header = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}",
        "input": f"{counted(len(items), 'items')}, read as {messages.input_of(spec) or messages.shape_of(spec)}",
        "device": device_name(predictor.device, predictor.compute_format),
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    details = messages.plan_details(cfg, folder.path if folder else None)
    out.plan("ptft predict", header, getattr(items, "notes", ()), **details)
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
    for remark, names in remarks.items():
        out.say(f"of {len(names):,} of {len(items):,} items {remark}, e.g. {names[0]}", "yellow")
    asked.say_unreadable(cfg, out, unreadable, len(items))
    assert target
    answers, passed = _columns(spec, predicted)
    table, renamed = _joined(answers, passed)
    if renamed:
        first, columns = next(iter(renamed)), counted(len(renamed), "columns")
        out.say(f"{columns} of the input called as one of the output: {first} is {renamed[first]} there")
    write_columns(target, table, "choose another output", exact=table.keys() - answers.keys())
    if json_lines.enabled():
        for cells in zip(*table.values(), strict=True):
            json_lines.emit("prediction", row=dict(zip(table, cells, strict=True)))
    _close(cfg, out, folder, checkpoint, _as_typed(cfg, answers, passed), len(unreadable), target)
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


def _joined(answers: Columns, passed: Sequence[dict[str, Any]]) -> tuple[Columns, dict[str, str]]:
    """The path, what is handed on, the answers; and which names of what is handed on had to be others."""
    names = list(dict.fromkeys(name for fields in passed for name in fields))
    renamed: dict[str, str] = {}
    for name in names:
        new = name
        while new in answers or (new != name and new in (*names, *renamed.values())):
            new = f"input_{new}"
        if new != name:
            renamed[name] = new
    handed_on = {renamed.get(name, name): [fields.get(name) for fields in passed] for name in names}
    return {"path": answers["path"], **handed_on, **answers}, renamed


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
    if (cfg.text is None and cfg.input != asked.STDIN) or "text" in answers or not all(texts):
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
    title = "predictions" if count <= asked.SHOWN else f"the first {asked.SHOWN} predictions"
    shown = [name for name in answers if not name.startswith(EACH)]
    out.table(title, shown, [[cell(answers[name][i], 4) for name in shown] for i in range(min(count, asked.SHOWN))])
    done = {"items": f"{count - unreadable:,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if counts:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in counts.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, following.command(cfg, checkpoint.path))
