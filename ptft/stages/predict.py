"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ptft.builders.predictor import Predictor
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import WEIGHTS, Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import EACH, Columns, Objective, Spec
from ptft.data import readers
from ptft.data.files import decoded
from ptft.data.readers import Row
from ptft.errors import ConfigError, DataError, counted
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.table_file import cell, check_ending, write_columns
from ptft.runtime import json_lines
from ptft.runtime.device import device_name, versions
from ptft.stages import messages

SHOWN = 10
STDIN = "-"
"""What `input` is called where texts are piped."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. What can't be read is said, and its row is empty; if nothing can be read, DataError."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    target = _output(cfg, folder)
    check_spec(checkpoint)
    spec = checkpoint.spec
    items = _items(cfg, spec) if spec and checkpoint.has_task else []
    _refuse_overwriting(cfg, checkpoint, items)
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
    _say_unreadable(out, unreadable)
    for remark, names in remarks.items():
        out.say(f"of {len(names):,} of {len(items):,} items {remark}, e.g. {names[0]}", "yellow")
    if len(unreadable) == len(items):
        raise DataError(
            f"{_typed_input(cfg)}: none of the {counted(len(items), 'items')} can be read; the first: {unreadable[0]}"
        )
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


def _say_unreadable(out: Console, messages: list[str]) -> None:
    for message in messages[:SHOWN]:
        out.say(f"left out, its row is empty: {message}", "yellow")
    if len(messages) > SHOWN:
        out.say(f"left out, their rows are empty: {len(messages) - SHOWN:,} more", "yellow")


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
    if (cfg.text is None and cfg.input != STDIN) or "text" in answers or not all(texts):
        return answers
    return {"text": texts, **{name: values for name, values in answers.items() if name != "path"}}


def _typed_input(cfg: Config) -> str:
    return f"text={cfg.text}" if cfg.text is not None else f"input={cfg.input}"


def _items(cfg: Config, spec: Spec) -> Sequence[Any]:
    """What is to be answered. Raises ConfigError where nothing is named, or two things; DataError where nothing is."""
    if (cfg.input is None) == (cfg.text is None):
        raise ConfigError('stage=predict: type one of input=FILES (- reads stdin) and text="…"')
    typed = cfg.text is not None or cfg.input == STDIN
    if typed and cfg.whole:
        raise ConfigError(f"whole=true: is for files, not for {_typed_input(cfg)}")
    if typed:
        items = readers.typed(spec, _piped if cfg.text is None else lambda: [("text", cfg.text)], _typed_input(cfg))
    else:
        items = readers.find(spec, str(cfg.input), bool(cfg.whole))
    if not items:
        file = typed or os.path.isfile(str(cfg.input))
        what = "holds nothing to answer" if file else f"no {spec.modality} files there"
        raise DataError(f"{_typed_input(cfg)}: {what}" + ("" if typed else "; name a file, a folder or a glob"))
    return items


def _piped() -> list[tuple[str, str]]:
    """The lines of stdin, each with its number."""
    if sys.stdin is None:
        raise DataError(f"input={STDIN}: stdin is closed")
    try:
        raw = sys.stdin.buffer.read()
    except OSError as error:
        raise DataError(f"input={STDIN}: can't be read ({error.strerror})") from error
    text = decoded(raw, "stdin")
    return [(f"stdin:{number}", line) for number, line in enumerate(text.split("\n"), 1)]


def _output(cfg: Config, folder: RunFolder | None) -> Path | None:
    """Where the answers go; None in a dry run. Raises ConfigError for a file whose ending says no format."""
    if not cfg.output:
        return folder.path / "predictions.csv" if folder else None
    target = Path(os.path.expanduser(str(cfg.output))).absolute()
    if target.suffix in WEIGHTS or target.name in ("status.json", "summary.json", "metrics.jsonl", "run.log"):
        raise ConfigError(f"output={cfg.output}: holds weights or belongs to a run; name another file")
    check_ending(target, f"output={cfg.output}")
    return target


def _refuse_overwriting(cfg: Config, checkpoint: Checkpoint, items: Sequence[Any]) -> None:
    """Raises ConfigError for an output that is read."""
    target = Path(os.path.expanduser(str(cfg.output))).absolute() if cfg.output else None
    if target is None or not target.exists():
        return
    names = dict.fromkeys(
        name for item in items for name in (str(item), str(item).rpartition(":")[0])
    )  # of a line, too
    if any(_same_file(target, name) for name in [str(cfg.input), checkpoint.path, *names]):
        raise ConfigError(f"output={cfg.output}: is read in this run and would be overwritten; name another file")


def _same_file(target: Path, name: str) -> bool:
    try:
        return target.samefile(os.path.expanduser(name))
    except (OSError, ValueError):  # no path
        return False


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
    title = "predictions" if count <= SHOWN else f"the first {SHOWN} predictions"
    shown = [name for name in answers if not name.startswith(EACH)]
    out.table(title, shown, [[cell(answers[name][i], 4) for name in shown] for i in range(min(count, SHOWN))])
    done = {"items": f"{count - unreadable:,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if counts:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in counts.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, following.command(cfg, checkpoint.path))
