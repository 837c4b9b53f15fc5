"""Logger: the base class of all that the training loop tells what it does; and several of them as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptft.errors import first_line

POSITION = ("step", "epoch", "split", "seconds", "samples")
"""Entries of a row that say when it was, and are no metrics."""


def curves_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a row as curves are called: `lr`, the others `SPLIT/NAME`."""
    metrics = {name: value for name, value in row.items() if name not in POSITION}
    return {name if name == "lr" else f"{row['split']}/{name}": value for name, value in metrics.items()}


def plain_options(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The configuration as one level of keys: `optimizer.lr`. Without names, loggers and nulls; lists as text."""
    options: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            options |= {} if not prefix and key in ("names", "logger") else plain_options(value, f"{prefix}{key}.")
        elif value is not None:
            options[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return options


class Logger:
    """Told what a training does; each method does nothing unless a logger has a use for it.

    A row is plain data: `step`, `epoch`, `split`, `seconds` of training so far, and metrics by name.

    One of the group `logger` is built where a training begins or continues. Of these, its `__init__` is passed those
    that it takes: `folder` (a Path, the run's), `config` (plain dicts, of the run), `step` (where the training begins;
    not 0 where a run continues), `name` (of the run), `group` (of the sweep or comparison that it is part of, or None),
    `key` (what it is called in the group `logger`) and `warn` (says a line to the user).
    """

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raises ConfigError where it can't work as chosen (its package is missing); called before data are read."""

    def step(self, step: int) -> None:
        """Called after every optimizer step with how many there were; must not wait for the device."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Metrics of the training split since the last log, with `lr` and `samples`; at the end, of the test split."""

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        """An evaluation: metrics of training since the last one, and the row of the validation split, if there is one.

        best: whether it is the best so far.
        """

    def warn(self, text: str) -> None:
        """What an evaluation found wrong; the same text may come again."""

    def table(
        self, name: str, split: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        """A matrix of the evaluation of a split at the end, e.g. "confusion", with names of rows and columns."""

    def answers(self, split: str, columns: Mapping[str, Sequence[Any]], images: Sequence[Any] | None) -> None:
        """The worst answers of a split at the end, as `predictions_SPLIT.csv` has them.

        columns: by name, one value an answer. images: PIL images of the examples, None where they are none.
        """

    def finished(self, summary: Mapping[str, Any]) -> None:
        """The run's end, with what `summary.json` holds; not called where a run fails or is interrupted."""

    def close(self) -> None:
        """Called once, when the run ends or fails."""


class Loggers(Logger):
    """Several loggers as one: each is told everything, in order.

    others: of those that the user chose, a service may be gone or a disk be full; one that fails is told no more, and
    the run goes on without it. What it raised is a warning to all that are left.
    """

    def __init__(self, *loggers: Logger, others: Sequence[Logger] = ()) -> None:
        self.loggers, self.others = [*loggers, *others], list(others)

    def step(self, step: int) -> None:
        self._tell(lambda logger: logger.step(step))

    def log(self, row: Mapping[str, Any]) -> None:
        self._tell(lambda logger: logger.log(row))

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        self._tell(lambda logger: logger.evaluated(train, row, best))

    def warn(self, text: str) -> None:
        self._tell(lambda logger: logger.warn(text))

    def table(
        self, name: str, split: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        self._tell(lambda logger: logger.table(name, split, rows, columns, values))

    def answers(self, split: str, columns: Mapping[str, Sequence[Any]], images: Sequence[Any] | None) -> None:
        self._tell(lambda logger: logger.answers(split, columns, images))

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._tell(lambda logger: logger.finished(summary))

    def close(self) -> None:
        self._tell(lambda logger: logger.close())

    def _tell(self, what: Callable[[Logger], None]) -> None:
        for logger in self.loggers:
            try:
                what(logger)
            except Exception as error:
                if logger not in self.others:
                    raise
                self._without(logger, error)

    def _without(self, logger: Logger, error: Exception) -> None:
        self.loggers = [other for other in self.loggers if other is not logger]
        reason = f"{type(error).__name__}: {first_line(error)}"
        self.warn(f"{type(logger).__name__} failed ({reason}); the run goes on without it")
