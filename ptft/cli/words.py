"""What the commands that run nothing share: flags, a run by its name, tables in the width of the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptft.errors import CheckpointError, ConfigError, suggest
from ptft.loggers import layout
from ptft.runs.registry import OUTPUTS, folders_below, named
from ptft.runtime.terminal import say


def flags_of(words: list[str], takes: Mapping[str, bool], usage: str) -> tuple[dict[str, str], list[str]]:
    """Flags with their values, and the other words. takes: whether a flag has one. Raises ConfigError."""
    flags: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            rest.append(word)
        elif name not in takes or (equals and not takes[name]):
            raise ConfigError(f"{word}: there is no such flag{suggest(name, takes)}; {usage}")
        else:
            flags[name] = value if equals or not takes[name] else next(left, "")
            if takes[name] and not flags[name]:
                raise ConfigError(f"{name}: needs a value; {usage}")
    return flags, rest


def folder_of(name: str, latest: bool = False) -> Path:
    """What a user calls a run or a path; `latest`, where that may be said, is the newest. Raises CheckpointError."""
    path = Path(os.path.expanduser(name))
    if latest and name == "latest" and not os.path.lexists(path) and (folders := folders_below(OUTPUTS)):
        return folders[0]
    folder = path if os.path.lexists(path) else named(name, "run")
    if folder is None:
        raise CheckpointError(f"{name}: there is no such folder, and no run below {OUTPUTS.absolute()} is called so")
    return folder


def fits(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the columns stand side by side in so many characters."""
    widths = _widths(rows)
    return sum(widths) + 2 * len(widths) - 2 <= width


def table(rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, the first row their names; where a terminal has no room for them, a paragraph a row."""
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and not fits(rows, columns):
        say(layout.records(rows[0], rows[1:], columns))
        return
    widths = _widths(rows)
    say("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
