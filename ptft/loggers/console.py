"""What a run says: rich progress and tables on a terminal, plain lines elsewhere; run.log and metrics.jsonl always."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

SHARES = ("accuracy", "top5", "macro_f1", "precision", "recall", "f1", "exact_match", "knn")
SHOWN = ("loss", "accuracy")
"""Metrics with a column of their own in the table of epochs; the others go to metrics.jsonl and the summary."""


class Terminal(Console):
    """A console that goes on when nobody reads it any more (`ptft … | head`), where rich would end the process."""

    def on_broken_pipe(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


class Report:
    """The terminal, `run.log` and `metrics.jsonl` of one run; without a folder only the terminal.

    quiet: nothing goes to the terminal.
    """

    def __init__(self, folder: Path | None = None, *, quiet: bool = False) -> None:
        self.folder = folder
        if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")
        self.console = Terminal(highlight=False, soft_wrap=True, quiet=quiet)
        self.live = not quiet and self.console.is_terminal and os.environ.get("TERM") != "dumb"
        self.log = open(folder / "run.log", "a", encoding="utf-8") if folder else None  # noqa: SIM115  # open for the run
        self.metrics: IO[str] | None = None
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.rate = Rate()
        self.columns: list[str] = []
        self.monitored = ""
        self.total: int | None = None
        self.step = 0
        self.metrics_lost = False
        self.warnings: set[str] = set()
        self.last_train: dict[str, float] = {}

    def close(self) -> None:
        self.stop_bar()
        for file in (self.log, self.metrics):
            if file:
                file.close()

    def write(self, text: str) -> None:
        """A line (or several) into run.log only."""
        if self.log:
            with contextlib.suppress(OSError):
                self.log.write(text + "\n")
                self.log.flush()

    def say(self, text: str, style: str = "") -> None:
        """A line on the terminal and in run.log."""
        self.write(text)
        self.console.print(f"[{style}]{escape(text)}[/]" if style else escape(text))

    def block(self, title: str, rows: Mapping[str, str], style: str = "cyan") -> None:
        """A panel of names and values on a terminal, a line for each elsewhere."""
        lines = [f"{name:<10} {value}" for name, value in rows.items() if value]
        self.write("\n".join([title, *lines]))
        if self.live:
            grid = RichTable.grid(padding=(0, 2))
            for name, value in rows.items():
                if value:
                    grid.add_row(f"[dim]{escape(name)}[/]", escape(value))
            self.console.print(
                Panel(grid, title=f"[bold]{escape(title)}[/]", title_align="left", border_style=style, expand=False)
            )
        else:
            for line in [title, *(f"  {line}" for line in lines)]:
                self.console.print(escape(line))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table: drawn on a terminal, aligned plain columns elsewhere."""
        widths = [max(len(str(cell)) for cell in column) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [header, *rows]
        ]
        self.write("\n".join([title, *lines]))
        if self.live:
            drawn = RichTable(title=escape(title), title_justify="left", title_style="bold", header_style="dim")
            for name in header:
                drawn.add_column(escape(name), justify="right")
            for row in rows:
                drawn.add_row(*(escape(str(cell)) for cell in row))
            self.console.print(drawn)
        else:
            for line in [title, *lines]:
                self.console.print(escape(line.rstrip()))

    # training

    def start(self, total: int | None, progress: Mapping[str, Any], monitor: str) -> None:
        """Begin the bar of a training of `total` optimizer steps that stands at `progress`."""
        self.total, self.monitored, self.step = total, monitor, progress["step"]
        self.rate.update(progress["samples"], progress["seconds"])
        if not self.live:
            return
        text = TextColumn("{task.fields[said]}")
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            text,
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=total, completed=self.step, said="")
        self.bar.start()

    def stop_bar(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def stepped(self, step: int) -> None:
        """Called after every step; the bar redraws itself a few times a second at the most."""
        self.step = step
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step)

    def trained(self, row: dict[str, Any]) -> None:
        """A log of training: a line of metrics.jsonl, and the bar's text or a plain line."""
        rate = self.rate.update(row["samples"], row["seconds"])
        self.record({key: value for key, value in row.items() if key != "samples"})
        said = "  ".join([*_numbers(row, SHOWN), f"{rate:,.0f} examples/s"])
        if self.bar and self.task is not None:
            self.bar.update(self.task, said=said)
        elif not self.live:
            of = f"/{self.total}" if self.total else ""
            self.say(f"step {row['step']}{of}  epoch {row['epoch']}  train {said}  lr {row['lr']:.3g}")

    def evaluated(self, train: dict[str, float], row: dict[str, Any] | None, best: bool) -> None:
        """A row of the table of epochs."""
        self.last_train = train
        if row is not None:
            self.record(row)
            if not math.isfinite(row.get(self.monitored, math.nan)):
                self.say(f"val {self.monitored} is not finite at step {row['step']}: never the best", "yellow")
        if not self.columns:
            shown = [*SHOWN, *([self.monitored] if self.monitored not in SHOWN else [])]
            self.columns = [name for name in shown if name in train or (row and name in row)]
            if self.live:
                head = [f"{split + ' ' + name:>16}" for split in ("train", "val") for name in self.columns]
                self.say(f"{'step':>8} {'epoch':>6} {''.join(head)}", "dim")
        found = row or {}
        if self.live:
            cells = [_cell(values.get(name)) for values in (train, found) for name in self.columns]
            mark = "  best" if best else ""
            epoch = found.get("epoch", "")
            self.say(f"{self.step:>8} {epoch:>6} {''.join(cells)}{mark}")
        elif row is not None:
            said = "  ".join([*_numbers(row, self.columns), *(["(best)"] if best else [])])
            self.say(f"step {row['step']}  epoch {row['epoch']}  val {said}")

    def warned(self, text: str) -> None:
        """Something that an evaluation found wrong; once, however often it is found."""
        if text not in self.warnings:
            self.warnings.add(text)
            self.say(f"step {self.step}: {text}", "yellow")

    def record(self, row: dict[str, Any]) -> None:
        """Append one object to metrics.jsonl; NaN and infinity become null. A full disk is said once, and on."""
        if self.folder is None or self.metrics_lost:
            return
        safe = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }
        path = self.folder / "metrics.jsonl"
        try:
            self.metrics = self.metrics or path.open("a", encoding="utf-8")
            self.metrics.write(json.dumps(safe) + "\n")
            self.metrics.flush()
        except OSError as error:
            self.metrics_lost = True
            self.say(f"{path}: can't be written ({error.strerror}); the run goes on without it", "yellow")

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[Any]:
        """Yields `progress(done, total)` for work before training, shown when it takes longer than a moment."""
        began, shown = time.perf_counter(), None
        bar = Progress(
            TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), console=self.console, transient=True
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


class Rate:
    """Examples per second between the last two calls."""

    def __init__(self) -> None:
        self.samples, self.seconds = 0, 0.0

    def update(self, samples: int, seconds: float) -> float:
        rate = (samples - self.samples) / max(seconds - self.seconds, 1e-9)
        self.samples, self.seconds = samples, seconds
        return rate


def _numbers(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{name} {row[name]:.4f}" for name in names if name in row]


def _cell(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.4f}':>16}"


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
    return f"{name} {100 * value:.2f} %" if name in SHARES else f"{name} {value:.4f}"
