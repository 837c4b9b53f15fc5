"""New files: what `stage=predict` and `stage=embed` read (`input=`, `text=`), and where they write (`output=`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from ptft.builders.predictor import Predictor
from ptft.builders.reading import Remarks
from ptft.builders.restore import check_spec, spec_alone
from ptft.checkpoint.load import WEIGHTS, Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Spec
from ptft.data import readers
from ptft.data.files import decoded
from ptft.errors import ConfigError, DataError, counted
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.runtime.device import device_name
from ptft.runtime.together.alone import current
from ptft.stages import messages
from ptft.stages.asking import compared, in_turn

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
    spec = checkpoint.spec if checkpoint.has_task else None if cfg.objective else spec_alone(cfg, checkpoint)
    found = items(cfg, compared.spec_read(cfg, spec)) if spec else []
    refuse_overwriting(cfg, checkpoint, found)
    in_turn.same_work(checkpoint.sha256, found)
    return target, found, compared.predictor(job)


def plan(
    job: Job,
    out: Console,
    folder: RunFolder | None,
    items: Sequence[Any],
    of: Predictor,
    what: str,
    notes: Sequence[str] = (),
) -> None:
    """The header: who is asked for `what`, and on what; notes: lines below it."""
    cfg, spec = job.config, of.spec
    rows = {
        "model": f"{model_name(cfg)}, {what}",
        "input": f"{counted(len(items), 'items')}, read as {messages.input_of(spec) or messages.shape_of(spec)}",
        "device": device_name(of.device, of.compute_format, cfg.train.processes),
        "start": of.checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    details = messages.plan_details(cfg, folder.path if folder else None)
    out.plan(f"ptft {cfg.names.stage}", rows, [*getattr(items, "notes", ()), *notes], **details)


def items(cfg: Config, spec: Spec) -> Sequence[Any]:
    """What is to be answered. Raises ConfigError where nothing is named, or two things; DataError where nothing is."""
    if (cfg.input is None) == (cfg.text is None):
        raise ConfigError(f'stage={cfg.names.stage}: type one of input=FILES (- reads stdin) and text="…"')
    typed = cfg.text is not None or cfg.input == STDIN
    if typed and (cfg.whole or cfg.input_text is not None):
        key = "whole=true" if cfg.whole else f"input_text={cfg.input_text}"
        raise ConfigError(f"{key}: is for files, not for {typed_input(cfg)}")
    if typed:
        items = readers.typed(spec, _piped if cfg.text is None else lambda: [("text", cfg.text)], typed_input(cfg))
    else:
        named = cfg.input_text if isinstance(cfg.input_text, list | tuple) else [cfg.input_text]
        items = readers.find(spec, str(cfg.input), bool(cfg.whole), [] if cfg.input_text is None else named)
    if not items:
        file = typed or os.path.isfile(str(cfg.input))
        what = "holds nothing to answer" if file else f"no {spec.modality} files there"
        raise DataError(f"{typed_input(cfg)}: {what}" + ("" if typed else "; name a file, a folder or a glob"))
    return items


def _piped() -> list[tuple[str, str]]:
    """The lines of stdin, each with its number; the first process reads them for all."""
    return current().same(_read_stdin() if current().main else [])


def _read_stdin() -> list[tuple[str, str]]:
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


def refuse_existing(cfg: Config, target: Path) -> None:
    """Raises ConfigError for an output that exists and may not be replaced."""
    if target.is_file() and not cfg.overwrite:
        raise ConfigError(f"output={cfg.output or target}: exists; overwrite=true replaces it, or name another file")


def refuse_overwriting(cfg: Config, checkpoint: Checkpoint, items: Sequence[Any]) -> None:
    """Raises ConfigError for an output that is read."""
    target = Path(os.path.expanduser(str(cfg.output))).absolute() if cfg.output else None
    if target is None or not target.exists():
        return
    files = (name for name, _ in groupby(name for item in items for name in _files(str(item))))
    if any(_same_file(target, name) for name in chain([str(cfg.input), checkpoint.path], files)):
        raise ConfigError(f"output={cfg.output}: is read in this run and would be overwritten; name another file")


def _files(name: str) -> tuple[str, ...]:
    """The file that an item is, or the one that it is a line of."""
    file, _, line = name.rpartition(":")
    return (file,) if line.isdigit() and not os.path.lexists(name) else (name,)


def _same_file(target: Path, name: str) -> bool:
    try:
        return target.samefile(os.path.expanduser(name))
    except (OSError, ValueError):  # no path
        return False


@dataclass
class Unread:
    """How many items can't be read, and why the first of them can't."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, messages: Sequence[str]) -> None:
        self.count += len(messages)
        self.first += messages[: SHOWN - len(self.first)]


def say_what_was_read(cfg: Config, out: Console, unread: Unread, remarks: Remarks, count: int) -> None:
    """What is to be said of some of `count` items, and which can't be read. Raises DataError where nothing can."""
    for line in remarks.lines(count):
        out.say(line, "yellow")
    for message in unread.first:
        out.say(f"left out, its row is empty: {message}", "yellow")
    if unread.count > SHOWN:
        out.say(f"left out, their rows are empty: {unread.count - SHOWN:,} more", "yellow")
    if unread.count == count:
        none = f"none of the {counted(count, 'items')} can be read; the first: {unread.first[0]}"
        raise DataError(f"{typed_input(cfg)}: {none}")


def called(out: Console, names: Iterable[str], answers: Collection[str]) -> dict[str, str]:
    """What is handed on, by name -> what it is called beside the answers, which have their names."""
    names = list(names)
    called: dict[str, str] = {}
    for name in names:
        new = name
        while new in answers or (new != name and new in (*names, *called.values())):
            new = f"input_{new}"
        called[name] = new
    if renamed := [name for name in names if called[name] != name]:
        columns = counted(len(renamed), "columns")
        out.say(f"{columns} of the input called as one of the output: {renamed[0]} is {called[renamed[0]]} there")
    return called
