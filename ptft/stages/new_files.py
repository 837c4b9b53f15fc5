"""New files: what `stage=predict` and `stage=embed` read (`input=`, `text=`), and where they write (`output=`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.builders.predictor import Predictor, remarked
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import WEIGHTS, Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Columns, Spec
from ptft.data import readers
from ptft.data.files import decoded
from ptft.errors import ConfigError, DataError, counted
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.runtime.device import device_name
from ptft.stages import messages

SHOWN = 10
STDIN = "-"
"""What `input` is called where texts are piped."""


def opened(
    job: Job, folder: RunFolder | None, usual: str, check: Callable[[Path, str], None]
) -> tuple[Path | None, Sequence[Any], Predictor]:
    """Where to write (as `output` has it), what to read, and whom to ask. Raises what these raise."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    target = output(cfg, folder, usual, check)
    check_spec(checkpoint)
    found = items(cfg, checkpoint.spec) if checkpoint.spec and checkpoint.has_task else []
    refuse_overwriting(cfg, checkpoint, found)
    return target, found, Predictor(job)


def plan(job: Job, out: Console, folder: RunFolder | None, items: Sequence[Any], of: Predictor, what: str) -> None:
    """The header: who is asked for `what`, and on what."""
    cfg, spec = job.config, of.spec
    rows = {
        "model": f"{model_name(cfg)}, {what}",
        "input": f"{counted(len(items), 'items')}, read as {messages.input_of(spec) or messages.shape_of(spec)}",
        "device": device_name(of.device, of.compute_format),
        "start": of.checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    details = messages.plan_details(cfg, folder.path if folder else None)
    out.plan(f"ptft {cfg.names.stage}", rows, getattr(items, "notes", ()), **details)


def items(cfg: Config, spec: Spec) -> Sequence[Any]:
    """What is to be answered. Raises ConfigError where nothing is named, or two things; DataError where nothing is."""
    if (cfg.input is None) == (cfg.text is None):
        raise ConfigError(f'stage={cfg.names.stage}: type one of input=FILES (- reads stdin) and text="…"')
    typed = cfg.text is not None or cfg.input == STDIN
    if typed and cfg.whole:
        raise ConfigError(f"whole=true: is for files, not for {typed_input(cfg)}")
    if typed:
        items = readers.typed(spec, _piped if cfg.text is None else lambda: [("text", cfg.text)], typed_input(cfg))
    else:
        items = readers.find(spec, str(cfg.input), bool(cfg.whole))
    if not items:
        file = typed or os.path.isfile(str(cfg.input))
        what = "holds nothing to answer" if file else f"no {spec.modality} files there"
        raise DataError(f"{typed_input(cfg)}: {what}" + ("" if typed else "; name a file, a folder or a glob"))
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


def typed_input(cfg: Config) -> str:
    return f"text={cfg.text}" if cfg.text is not None else f"input={cfg.input}"


def output(cfg: Config, folder: RunFolder | None, usual: str, check: Callable[[Path, str], None]) -> Path | None:
    """Where the answers go, `usual` in the run's folder where nothing is typed; None in a dry run.

    check: raises ConfigError for a file whose ending says no format; it gets the file, and the key with its value.
    """
    if not cfg.output:
        return folder.path / usual if folder else None
    target = Path(os.path.expanduser(str(cfg.output))).absolute()
    if target.suffix in WEIGHTS or target.name in ("status.json", "summary.json", "metrics.jsonl", "run.log"):
        raise ConfigError(f"output={cfg.output}: holds weights or belongs to a run; name another file")
    check(target, f"output={cfg.output}")
    return target


def refuse_overwriting(cfg: Config, checkpoint: Checkpoint, items: Sequence[Any]) -> None:
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


def say_what_was_read(
    cfg: Config, out: Console, unreadable: list[str], remarks: Mapping[str, Sequence[str]], count: int
) -> None:
    """What is to be said of some of `count` items, and which can't be read. Raises DataError where nothing can."""
    for line in remarked(remarks, count):
        out.say(line, "yellow")
    for message in unreadable[:SHOWN]:
        out.say(f"left out, its row is empty: {message}", "yellow")
    if len(unreadable) > SHOWN:
        out.say(f"left out, their rows are empty: {len(unreadable) - SHOWN:,} more", "yellow")
    if len(unreadable) == count:
        none = f"none of the {counted(count, 'items')} can be read; the first: {unreadable[0]}"
        raise DataError(f"{typed_input(cfg)}: {none}")


def joined(out: Console, answers: Columns, passed: Sequence[Mapping[str, Any]]) -> Columns:
    """The path, what is handed on, the answers. What is handed on and called as an answer gets another name."""
    table, renamed = _joined(answers, passed)
    if renamed:
        first, columns = next(iter(renamed)), counted(len(renamed), "columns")
        out.say(f"{columns} of the input called as one of the output: {first} is {renamed[first]} there")
    return table


def _joined(answers: Columns, passed: Sequence[Mapping[str, Any]]) -> tuple[Columns, dict[str, str]]:
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
