"""What a checkpoint's objective answers for new files: classes, continuations … Needs nothing but the checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import EACH, Objective
from ptft.data.answers import forms
from ptft.data.answers.forms import Drawing
from ptft.data.readers import Row
from ptft.errors import ConfigError
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.table_file import cell, check_ending, rows_of, write_parts
from ptft.runtime.device import versions
from ptft.runtime.system import writing
from ptft.runtime.together.alone import current
from ptft.stages import messages
from ptft.stages.asking import answers, begun, new_files
from ptft.stages.asking.answers import Answers, Given

GIVEN = {"top": "classes", "score": "boxes", "times": "times of words"}
"""Keys of `predict` that an objective may heed, and what it gives then."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, predict, write. What can't be read is said, and its row is empty; if nothing can be read, DataError.

    What was answered before it is cut is kept beside the output, and goes on from there. Raises Interrupted.
    """
    cfg = job.config
    usual = "predictions.csv" if cfg.predict.format == forms.ROWS else "predictions.json"
    target, items, predictor = new_files.opened(job, folder, usual, check_ending)
    predictor.require_answers()
    _check_generates(job, predictor.objective)
    options = _options(cfg, predictor.objective)
    form = forms.form(predictor.spec, str(cfg.predict.format))
    drawing = forms.drawing(predictor.spec, cfg.draw)
    _check_form(cfg, target)
    if folder is None and not cfg.dry_run:
        answers.help_out(predictor, items, options)
        return {}
    if folder is None or target is None:
        if target:
            new_files.refuse_existing(cfg, target)
        new_files.plan(job, out, folder, items, predictor, cfg.names.objective)
        return {}
    about = begun.about(job, target, items, predictor, options)
    if begun.complete(cfg, folder, about):
        current().same(None)
        out.say(f"{target}: complete; overwrite=true begins again", result=True)
        return {}
    if drawing and not cfg.overwrite and (there := folder_of(target, cfg.draw)).exists():
        raise ConfigError(f"{there}: is there already; overwrite=true draws into it, or choose another output")
    with Answers(begun.opened(cfg, target, folder, about), predictor.spec) as kept:
        said = [f"continued after {kept.done:,} of them, which are answered"] if kept.done else []
        new_files.plan(job, out, folder, items, predictor, cfg.names.objective, said)
        try:
            with out.reading("predicting") as progress:
                for done in kept.go_on(predictor, items, options):
                    progress(done, len(items))
        except KeyboardInterrupt as error:
            raise begun.cut(job, folder, len(items) - kept.done, len(items), error) from error
        if kept.unread.count == len(items):
            kept.remove()
        new_files.say_what_was_read(cfg, out, kept.unread, kept.remarks, len(items))
        called = new_files.called(out, kept.passed, kept.names)
        parts, kinds = kept.table(called), kept.kinds(called)
        write_parts(target, kinds, map(form, parts) if form else parts, "choose another output", called.values())
        pictures = drawn(kept, target, cfg.draw, drawing) if drawing else None
        _close(cfg, out, folder, predictor.checkpoint, kept, target, pictures)
        kept.remove()
    return {}


def _options(cfg: Config, objective: Objective) -> dict[str, Any]:
    """How many classes to give, and from which score on, where it is typed; all boxes where others are to judge them.

    Raises ConfigError for an objective that names none.
    """
    typed = {key: value for key in GIVEN if (value := cfg.predict[key]) is not None and value is not False}
    for key, value in typed.items():
        if key not in inspect.signature(type(objective).predict).parameters:
            shown = str(value).lower()
            raise ConfigError(f"predict.{key}={shown}: objective={cfg.names.objective} gives no {GIVEN[key]}")
    return typed if typed or cfg.predict.format == forms.ROWS else {"score": 0.0}


def _check_form(cfg: Config, target: Path | None) -> None:
    """Raises ConfigError where a form that is one of JSON is to be written as something else."""
    if cfg.predict.format != forms.ROWS and cfg.output and target and target.suffix != ".json":
        raise ConfigError(f"output={cfg.output}: predict.format={cfg.predict.format} is written as .json")


def _check_generates(job: Job, objective: Objective) -> None:
    """Raises ConfigError for keys of `generate` that were typed where nothing is: the objective names none of them."""
    typed = [key for key in job.overrides.keys if key.startswith("generate.")]
    parameters = inspect.signature(type(objective).predict).parameters
    if typed and not any(key in parameters for key in job.config.generate):
        raise ConfigError(f"{typed[0]}: objective={job.config.names.objective} writes no texts on; drop it")


def _as_typed(cfg: Config, rows: Sequence[Given]) -> list[Row]:
    """The answers as they are shown: beside a text that was typed or piped stands the text, and no place of it."""
    texts = [passed.get("text") for _, passed in rows]
    typed = (cfg.text is not None or cfg.input == new_files.STDIN) and all(texts)
    if not typed or any("text" in row for row, _ in rows):
        return [row for row, _ in rows]
    shown = [{name: value for name, value in row.items() if name != "path"} for row, _ in rows]
    return [{"text": text, **row} for text, row in zip(texts, shown, strict=True)]


def folder_of(target: Path, draw: bool | str) -> Path:
    """Where pictures of the answers in a table lie."""
    return target.with_name(f"{target.stem}_{draw if draw == forms.PICTURES else 'drawn'}")


def drawn(kept: Answers, target: Path, draw: bool | str, drawing: Drawing) -> Path:
    """A picture of each item with its answers, in a folder beside the table, which is returned. Raises StorageError.

    Answers alone are called as their items are, others and those of a name that is there already have a number before.
    """
    folder, numbered = folder_of(target, draw), draw != forms.PICTURES
    with writing(folder, "choose another output"):
        folder.mkdir(exist_ok=True)
    number, names = 0, set[str]()
    for columns in kept.table({}, told=False):
        for path, rows in groupby(rows_of(columns), lambda row: row["path"]):
            number += 1
            if (picture := drawing(str(path), list(rows))) is not None:
                stem = Path(str(path)).stem
                file = folder / (f"{number:06d}-{stem}.png" if numbered or stem in names else f"{stem}.png")
                names.add(stem)
                with writing(file, "choose another output"):
                    file.write_bytes(picture)
    return folder


def _close(
    cfg: Config,
    out: Console,
    folder: RunFolder,
    checkpoint: Checkpoint,
    kept: Answers,
    target: Path,
    pictures: Path | None,
) -> None:
    """The summary, the first rows, and the last lines."""
    unreadable, files = kept.unread.count, kept.answered
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": files,
        "unreadable": unreadable,
        **({"classes": kept.classes} if kept.classes else {}),
        "output": str(target),
        **({"drawn": str(pictures)} if pictures else {}),
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    title = "predictions" if kept.rows <= new_files.SHOWN else f"the first {new_files.SHOWN} predictions"
    rows = _as_typed(cfg, kept.first)
    hidden = forms.unshown(kept.spec)
    shown = [name for name in dict.fromkeys(chain.from_iterable(rows)) if not name.startswith((EACH, *hidden))]
    out.table(title, shown, [[cell(row.get(name), 4) for name in shown] for row in rows])
    done = {"items": f"{files:,} predicted, {unreadable:,} unreadable", "written": str(target)}
    if pictures:
        done["drawn"] = str(pictures)
    if kept.classes:
        done["classes"] = ", ".join(f"{name} {count}" for name, count in kept.classes.most_common(10))
    out.block("predict done", done, "green")
    messages.ending(out, folder.path, following.measure(cfg, checkpoint))
