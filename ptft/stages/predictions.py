"""What an evaluation found for each example: gathered while it measures, written, and the most wrong shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ptft.builders import membership
from ptft.config.config import Config
from ptft.core import EACH, Batch, Columns, Examples, Objective, Source, Spec, Step
from ptft.errors import StorageError, first_line
from ptft.export.report import mistakes
from ptft.export.report.previews import of_rows
from ptft.loggers import pictures
from ptft.loggers.console import Console
from ptft.runs.table_file import cell, check_parquet, write_columns
from ptft.runtime.together.alone import current

MOST_WRONG = 5
PICTURED = 16
"""So many of the worst answers loggers are told."""
WIDEST = 40
"""Characters of a cell on the terminal."""


def check(cfg: Config) -> None:
    """Raises ConfigError where the rows could not be written as `predictions` says."""
    if cfg.predictions == "parquet":
        check_parquet("predictions=parquet")


class Predictions:
    """The rows of one evaluation. Call it with each batch and its Step, then `columns`."""

    def __init__(
        self,
        objective: Objective,
        examples: Examples,
        names: Callable[[], list[str]],
        shown: Callable[[], dict[str, list[str]]],
    ) -> None:
        """names: what to call the examples, shown: columns that show what they are; asked once they were measured."""
        self.objective, self.examples, self.names, self.shown = objective, examples, names, shown
        self.found: Columns = {}
        self.known: Columns | None = None
        self.indices: list[int] = []
        """Of each row of `columns`, where its example is in the split."""

    def __call__(self, batch: Batch, step: Step) -> None:
        columns = self.objective.rows(batch, step.outputs)
        if columns:
            for name, values in {"index": batch["index"].tolist(), **columns}.items():
                self.found.setdefault(name, []).extend(values)

    def columns(self) -> Columns:
        """The table in the order of the examples, `item` first; without columns where they have no answers."""
        if self.known is None:
            self.known = self._columns() if self.found else {}
        return self.known

    def _columns(self) -> Columns:
        columns = self.examples.table(self.found)
        index = columns["index"]
        order = sorted(range(len(index)), key=index.__getitem__)
        self.indices = [index[i] for i in order]
        if "item" not in columns:
            names = self.names()
            each = {name: columns.pop(name) for name in list(columns) if name.startswith(EACH)}
            more = {name: [values[i] for i in index] for name, values in self.shown().items()}
            columns = {"item": [names[i] for i in index], **columns, **more, **each}
        rest = ("item", *(name for name in columns if name not in ("index", "item")))
        return {name: [columns[name][i] for i in order] for name in rest}


def gather(cfg: Config, objective: Objective, source: Source, split: str, examples: Examples) -> Predictions | None:
    """What `evaluate` is to tell of each batch of a split; None where nothing is asked for."""
    if cfg.predictions == "none":
        return None
    names = partial(membership.names, source, split, examples)
    return Predictions(objective, examples, names, partial(membership.shown, source, split, examples))


def join(gathered: Predictions | None) -> None:
    """Of several processes the first one gets the rows of all."""
    if gathered is None:
        return
    parts = current().gathered(gathered.found)
    names = next((part for part in parts if part), {})
    gathered.found = {name: [value for part in parts for value in part.get(name, [])] for name in names}


def write(cfg: Config, gathered: Predictions | None, folder: Path, split: str, out: Console, *, shown: bool) -> None:
    """`predictions_SPLIT.csv` (or .parquet), and where it is `shown` the worst mistakes on the terminal.

    A disk that is full costs the rows and not the run.
    """
    columns = gathered.columns() if gathered else {}
    if not columns:
        return
    file = folder / f"predictions_{split}.{cfg.predictions}"
    try:
        write_columns(file, columns, "choose another hydra.run.dir")
    except StorageError as error:
        out.say(f"{error}; the run goes on without it", "yellow")
        return
    if shown:
        show(columns, file.name, split, out)


def remember(cfg: Config, gathered: Predictions | None, folder: Path, split: str, spec: Spec, out: Console) -> None:
    """`mistakes_SPLIT.json`: what pages show of the most wrong answers; it is not worth a run, whatever it meets."""
    columns = gathered.columns() if gathered and cfg.report else {}
    if not gathered or not columns:
        return
    wrong = _worst(columns, _mistakes(columns), len(columns["loss"]))

    def previews(rows: list[int]) -> list[str | None]:
        return of_rows(gathered.examples, spec, [gathered.indices[row] for row in rows])

    try:
        mistakes.write(folder, split, columns, wrong, previews)
    except Exception as error:
        out.say(f"mistakes_{split}.json: can't be made ({first_line(error)}); the run goes on without it", "yellow")


def worst(gathered: Predictions | None) -> tuple[Columns, list[Any] | None] | None:
    """The worst answers and, where there are some, pictures of the examples; None where there are no answers."""
    columns = gathered.columns() if gathered else {}
    if not gathered or not columns or not (chosen := _worst(columns, _mistakes(columns), PICTURED)):
        return None
    shown = pictures.of_examples(gathered.examples, [gathered.indices[i] for i in chosen])
    return {name: [values[i] for i in chosen] for name, values in columns.items()}, shown


def _worst(columns: Columns, wrong: list[int], most: int) -> list[int]:
    """Of these rows those with the greatest loss, one that is not a number first."""
    losses = columns["loss"]
    measured = [i for i in wrong if losses[i] is not None]
    return sorted(measured, key=lambda i: -losses[i] if losses[i] == losses[i] else float("-inf"))[:most]


def show(columns: Columns, name: str, split: str, out: Console) -> None:
    """The most wrong of a table, which is in the file `name`."""
    wrong = _mistakes(columns)
    if not wrong:
        out.say(f"no mistakes in {split}; all answers are in {name}")
    worst = _worst(columns, wrong, MOST_WRONG)
    shown = [column for column in columns if not column.startswith(EACH)]
    rows = [[_short(cell(columns[column][i], 4)) for column in shown] for i in worst]
    if rows:
        out.table(f"most wrong in {split}, all in {name}", shown, rows)


def _mistakes(columns: Columns) -> list[int]:
    """The rows that are wrong; of numbers all that are not exact."""
    if "exact_match" in columns:  # of several right answers the row has one
        return [i for i, exact in enumerate(columns["exact_match"]) if not exact]
    if "true" not in columns or "predicted" not in columns:
        return list(range(len(columns["loss"])))
    pairs = zip(columns["true"], columns["predicted"], strict=True)
    return [i for i, (true, predicted) in enumerate(pairs) if true != predicted]


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
