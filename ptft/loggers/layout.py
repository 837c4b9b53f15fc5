"""Text in the columns of a terminal: the table of epochs, notes, tables that are wider than it.

And which lines of a long log are left out, so that a night's is read in a minute.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from rich.markup import escape

from ptft.loggers.logger import POSITION
from ptft.runtime.terminal import decimal, visible

BEST = "  best"
NARROW, WIDE = 80, 120
"""Columns below which, and from which on, a bar has another length."""

Cells = list[tuple[str, str]]
"""Split and metric of each column of the table of epochs."""


def cells_of(monitored: Sequence[str], row: Mapping[str, object], width: int) -> Cells:
    """The columns that the terminal has room for: of the validation split first, of training, then further metrics.

    monitored: the metrics of both splits, what decides last. row: of the validation split, with all its metrics.
    """
    val = [("val", name) for name in monitored]
    while len(val) > 1 and not _fits(val, width):
        val.pop(0)
    train: Cells = []
    for name in monitored:
        if _fits([*train, ("train", name), *val], width):
            train.append(("train", name))
    for name in row:
        cell = ("val", name)
        if name not in (*monitored, *POSITION, "lr") and _fits([*train, *val, cell], width):
            val.append(cell)
    return [*train, *val]


def _fits(cells: Cells, width: int) -> bool:
    return len(head(cells)) + len(BEST) <= width


def head(cells: Sequence[tuple[str, str]]) -> str:
    """The first line of the table of epochs."""
    names = [f"{f'{split} {name}':>{cell_width(split, name)}}" for split, name in cells]
    return f"{'step':>8} {'epoch':>6}{''.join(names)}"


def cell_width(split: str, name: str) -> int:
    return 2 + max(len(f"{split} {name}"), 8)


def cell(value: float | None, width: int) -> str:
    return f"{'' if value is None else decimal(value):>{width}}"


def wrapped(text: str, width: int) -> str:
    """A note in lines of whole words, those after the first indented as the first word's neighbour is, or by two."""
    columns = re.match(r"\S+ {2,}", text)
    indent = len(columns[0]) if columns and len(columns[0]) <= width // 3 else 2
    lines = [
        textwrap.wrap(
            line,
            max(width, 20),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
            replace_whitespace=False,
        )
        for line in text.split("\n")
    ]
    return "\n".join("\n".join(line) for line in lines)


def drawable(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a drawn table of these rows, the first its header, shows every word whole."""
    least = [
        max((len(word) for cell in column for word in cell.split()), default=0) for column in zip(*rows, strict=True)
    ]
    return sum(least) + 3 * len(least) + 1 <= width


def records(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """A table that does not fit: each row as `name value` pairs, the first of them on the line where the row begins."""
    lines = []
    for row in rows:
        pairs = [f"{name} {value}".strip() for name, value in zip(header, row, strict=True) if value]
        form = textwrap.TextWrapper(max(width, 20), "", "  ", break_long_words=False, break_on_hyphens=False)
        lines.append(form.fill(", ".join(pairs)))
    return "\n".join(lines)


def markup(parts: Sequence[tuple[str, str]]) -> str:
    """Texts, each in a style of rich's where it has one, as rich writes it; nothing in a text is a style."""
    shown = [(escape(visible(text)), style) for text, style in parts]
    return "".join(f"[{style}]{text}[/]" if style else text for text, style in shown)


class Rarer:
    """Whether a line of its kind is due: the longer it has gone on, the longer it is to the next one.

    With `APART` = 50 all of the first fifty or so are, of a night's log some hundred lines.
    """

    APART = 50
    """The time that has passed is so many times the time between two lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = self.last = clock()

    def due(self) -> bool:
        now = self.clock()
        if now - self.last < (now - self.began) / self.APART:
            return False
        self.last = now
        return True
