"""Asked: what `stage=predict` and `stage=embed` are to read (`input=`, `text=`) and where they write it (`output=`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ptft.checkpoint.load import WEIGHTS, Checkpoint
from ptft.config.config import Config
from ptft.core import Spec
from ptft.data import readers
from ptft.data.files import decoded
from ptft.errors import ConfigError, DataError, counted
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder

SHOWN = 10
STDIN = "-"
"""What `input` is called where texts are piped."""


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


def say_unreadable(cfg: Config, out: Console, messages: list[str], count: int) -> None:
    """What of `count` items can't be read, the first of it. Raises DataError where nothing can."""
    for message in messages[:SHOWN]:
        out.say(f"left out, its row is empty: {message}", "yellow")
    if len(messages) > SHOWN:
        out.say(f"left out, their rows are empty: {len(messages) - SHOWN:,} more", "yellow")
    if len(messages) == count:
        none = f"none of the {counted(count, 'items')} can be read; the first: {messages[0]}"
        raise DataError(f"{typed_input(cfg)}: {none}")
