"""The console of a run: rich tables and a progress bar on a terminal, plain lines elsewhere, and run.log always."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column
from rich.table import Table as RichTable

from ptft.loggers import layout
from ptft.loggers.bar import Bar
from ptft.loggers.braille import LiveCurves
from ptft.loggers.logger import Logger
from ptft.metrics.properties import is_share
from ptft.runtime import json_lines
from ptft.runtime.terminal import Writer, decimal, safe, visible

RESULT = "green"
"""The style of the block that says what came out."""
WARNINGS = ("yellow", "red")
"""The styles of what went wrong, which is said with `--json` too, on standard error."""
SHOWN = ("loss", "accuracy")
"""Metrics with a column of their own in the table of epochs; the others go to metrics.jsonl and the summary."""


class Console:
    """The terminal and `run.log` of one run; without a folder only the terminal.

    What can't be written there, or only in part, is lost: neither a terminal that is gone nor a full disk ends a run.
    Control characters are shown and not obeyed.

    quiet: nothing goes to the terminal, or with `bar` nothing but the bar of a training. brief: nothing but the result
    does, in plain lines. With NO_COLOR set there are no styles at all.
    """

    def __init__(
        self, folder: Path | None = None, *, quiet: bool = False, bar: bool = False, brief: bool = False
    ) -> None:
        self.options = {"quiet": quiet, "bar": bar, "brief": brief}
        output = cast("IO[str]", safe(sys.stdout))
        colors: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        self.terminal = RichConsole(
            file=output, highlight=False, emoji=False, soft_wrap=True, quiet=quiet, color_system=colors
        )
        draws = self.terminal.is_terminal and os.environ.get("TERM") != "dumb"
        self.brief, self.warns_only = brief, json_lines.enabled()
        draws = draws and not self.warns_only
        self.live = draws and not (quiet or brief)
        beside = RichConsole(file=output, emoji=False, color_system=colors) if draws and bar else None
        self.bar_on = beside or (self.terminal if self.live else None)
        self.path = folder / "run.log" if folder else None
        self.file = Writer(None)
        self.incomplete = False
        self.bar: Bar | None = None
        if self.path:
            try:
                self.file = Writer(self.path.open("a", encoding="utf-8"))
            except OSError as error:
                self._without_log(error)

    def close(self) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        """A line (or several) into run.log only."""
        self.file.write(visible(text) + "\n")
        self.file.flush()
        if self.file.failed and not self.incomplete:
            self._without_log(self.file.failed)

    def _without_log(self, error: Exception) -> None:
        self.incomplete = True
        self._print(f"{self.path}: can't be written ({getattr(error, 'strerror', error)}); the run goes on without it")

    def _print(self, text: str, style: str = "", *, result: bool = False) -> None:
        if (self.brief and not result) or (self.warns_only and style not in WARNINGS):
            return
        shown = escape(visible(text))
        self.terminal.print(f"[{style}]{shown}[/]" if style else shown)

    def say(self, text: str, style: str = "", *, result: bool = False) -> None:
        """A line on the terminal and in run.log. result: whether it is what was asked for, shown also if brief."""
        self.write(text)
        self._print(text, style, result=result)

    def note(self, text: str) -> None:
        """As `say`, for sentences: on a terminal in lines of whole words."""
        self.write(text)
        self._print(layout.wrapped(text, self.terminal.width) if self.live else text)

    def coloured(self, begin: str, parts: Sequence[tuple[str, str]], plain: str) -> None:
        """Parts of a line, each with a style, after a beginning without one; `plain` where there are no colours."""
        self.write(begin + plain)
        if self.live and self.terminal.color_system:
            self.terminal.print(layout.markup([(begin, ""), *parts]))
        else:
            self._print(begin + plain)

    def block(self, title: str, rows: Mapping[str, str], style: str = "cyan") -> None:
        """A panel of names and values on a terminal, a line for each elsewhere; that of a result is green."""
        title, rows = visible(title), {name: visible(value, lines=False) for name, value in rows.items()}
        width = max([10, *map(len, rows)])
        lines = [f"{name:<{width}} {value}" for name, value in rows.items() if value]
        self.write("\n".join([title, *lines]))
        if self.live:
            grid = RichTable.grid("", Column(overflow="fold"), padding=(0, 2))
            for name, value in rows.items():
                if value:
                    grid.add_row(f"[dim]{escape(name)}[/]", escape(value))
            self.terminal.print(
                Panel(
                    grid,
                    title=f"[bold]{escape(title)}[/]",
                    title_align="left",
                    border_style=style,
                    expand=False,
                )
            )
        else:
            for line in [title, *(f"  {line}" for line in lines)]:
                self._print(line, result=style == RESULT)

    def plan(self, title: str, rows: Mapping[str, str], notes: Sequence[str] = (), **details: Any) -> None:
        """What is going to be done: a block and notes; with `--json` an object that says `details` besides."""
        self.block(title, rows)
        for note in notes:
            self.note(note)
        lines = {name: value for name, value in rows.items() if value}
        json_lines.emit("plan", **{**lines, **details, "notes": list(notes)})

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, result: bool = False) -> None:
        """A table: drawn on a terminal, aligned plain columns elsewhere."""
        title = visible(title)
        header, *rows = ([visible(str(cell), lines=False) for cell in row] for row in [header, *rows])
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in [header, *rows]]
        self.write("\n".join([title, *lines]))
        if self.live and not layout.drawable([header, *rows], self.terminal.width):
            width = self.terminal.width
            self._print(f"{layout.wrapped(title, width)}\n{layout.records(header, rows, width)}")
        elif self.live:
            drawn = RichTable(title=escape(title), title_justify="left", title_style="bold", header_style="dim")
            for name in header:
                drawn.add_column(escape(name), justify="right")
            for row in rows:
                drawn.add_row(*map(escape, row))
            self.terminal.print(drawn)
        else:
            for line in [title, *lines]:
                self._print(line.rstrip(), result=result)

    @contextlib.contextmanager
    def training(self, total: int | None, done: int, curves: LiveCurves | None = None) -> Iterator[None]:
        """Inside, a terminal shows a bar of a training of `total` steps, `done` of them done, and curves below it."""
        self.bar = Bar(self.bar_on, total, done, curves if self.live else None) if self.bar_on else None
        try:
            yield
        finally:
            if self.bar:
                self.bar.stop()
                self.bar = None

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[Any]:
        """Yields `progress(done, total)` for work before training, shown when it takes longer than a moment."""
        began, shown = time.perf_counter(), None
        bar = Progress(
            TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), console=self.terminal, transient=True
        )

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if not self.live or (shown is None and time.perf_counter() - began < 0.5):
                return
            if shown is None:
                bar.start()
                shown = bar.add_task("", total=total)
            bar.update(shown, completed=done)

        try:
            yield progress
        finally:
            if shown is not None:
                bar.stop()


class ConsoleLogger(Logger):
    """Logger of a training on the console: the bar or a line a log, and a row of the table of epochs an evaluation.

    Lines become rarer the longer it trains; metrics.jsonl has every row.

    total: optimizer steps of the run, None where only time limits it.
    progress: `step`, `samples` and `seconds` where the training begins, not 0 where a run continues.
    monitor: name of the metric that decides which evaluation is the best.
    """

    def __init__(self, console: Console, total: int | None, progress: Mapping[str, Any], monitor: str) -> None:
        self.console, self.total, self.monitor = console, total, monitor
        self.latest: int = progress["step"]
        self.samples: int = progress["samples"]
        self.seconds: float = progress["seconds"]
        self.columns: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.warned: set[str] = set()
        self.trains, self.evaluates = layout.Rarer(), layout.Rarer()
        self.said_rarer = False

    def step(self, step: int) -> None:
        self.latest = step
        if self.console.bar:
            self.console.bar.step(step)

    def log(self, row: Mapping[str, Any]) -> None:
        """The bar's text, or a plain line; nothing of the test split, which the end of the run shows."""
        if row["split"] != "train" or not (self.console.live or self._due(self.trains)):
            return
        shown = [*_numbers(row, SHOWN), f"{self._rate(row):,.0f} examples/s"]
        numbers = "  ".join(shown)
        if self.console.bar:
            self.console.bar.show(numbers if self.console.terminal.width >= layout.NARROW else shown[0])
        if not self.console.live:
            total = f"/{self.total}" if self.total else ""
            self.console.say(f"step {row['step']}{total}  epoch {row['epoch']}  train {numbers}  lr {row['lr']:.3g}")

    def _due(self, lines: layout.Rarer) -> bool:
        """Whether the next line of a kind is due; that some are left out is said with the first one that is."""
        due = lines.due()
        if not due and not self.said_rarer:
            self.said_rarer = True
            self.console.note("lines become rarer from here on; metrics.jsonl has every one")
        return due

    def _rate(self, row: Mapping[str, Any]) -> float:
        """Examples a second since the last row."""
        rate = (row["samples"] - self.samples) / max(row["seconds"] - self.seconds, 1e-9)
        self.samples, self.seconds = row["samples"], row["seconds"]
        return float(rate)

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        """A row of the table of epochs on a terminal, a line elsewhere."""
        if row is not None and not math.isfinite(row.get(self.monitor, math.nan)):
            self.console.say(f"val {self.monitor} is not finite at step {row['step']}: never the best", "yellow")
        if not self.columns:
            self._begin_table(train, row or {})
        if not self._due(self.evaluates):
            return
        if self.console.live:
            self._add_to_table(train, row or {}, best)
        elif row is not None:
            numbers = "  ".join([*_numbers(row, self.columns), *(["(best)"] if best else [])])
            self.console.say(f"step {row['step']}  epoch {row['epoch']}  val {numbers}")

    def _begin_table(self, train: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Its columns, as many as the terminal has room for; metrics.jsonl has them all."""
        shown = [*SHOWN, *([self.monitor] if self.monitor not in SHOWN else [])]
        self.columns = [name for name in shown if name in {**train, **row}]
        self.cells = layout.cells_of(self.columns, row, self.console.terminal.width)
        if self.console.live:
            self.console.say(layout.head(self.cells), "dim")

    def _add_to_table(self, train: Mapping[str, float], val: Mapping[str, Any], best: bool) -> None:
        metrics = {"train": train, "val": val}
        cells = [layout.cell(metrics[split].get(name), layout.cell_width(split, name)) for split, name in self.cells]
        self.console.say(f"{self.latest:>8} {val.get('epoch', ''):>6}{''.join(cells)}{layout.BEST if best else ''}")

    def warn(self, text: str) -> None:
        """What an evaluation found wrong, once, however often it is found."""
        if text not in self.warned:
            self.warned.add(text)
            self.console.say(f"step {self.latest}: {text}", "yellow")


def _numbers(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{name} {decimal(row[name])}" for name in names if name in row]


def duration(seconds: float) -> str:
    """1.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def number(name: str, value: float) -> str:
    """A metric as it is shown: shares in percent, everything else with four decimals."""
    return f"{name} {100 * value:.2f} %" if is_share(name) else f"{name} {decimal(value)}"
