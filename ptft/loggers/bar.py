"""The progress bar of a training on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from ptft.loggers.layout import NARROW, WIDE


class Above(Progress):
    """A progress bar above something else."""

    below: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below


class Bar:
    """A progress bar of optimizer steps with a line of numbers beside it; it redraws a few times a second at most.

    As long as the terminal has room for; a narrow one shows no time that is left. below: what is shown below it.
    """

    def __init__(
        self, terminal: RichConsole, total: int | None, done: int, below: RenderableType | None = None
    ) -> None:
        narrow, wide = terminal.width < NARROW, terminal.width >= WIDE
        self.progress = Above(
            SpinnerColumn(),
            BarColumn(bar_width=6 if narrow else terminal.width // 3 if wide else 24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            *([] if narrow else [TimeRemainingColumn()]),
            console=terminal,
            transient=True,
        )
        self.progress.below = below
        self.task = self.progress.add_task("", total=total, completed=done, numbers="")
        self.progress.start()

    def stop(self) -> None:
        self.progress.stop()

    def step(self, step: int) -> None:
        self.progress.update(self.task, completed=step)

    def show(self, numbers: str) -> None:
        self.progress.update(self.task, numbers=numbers)
