"""What is known of the runs below `outputs/`, as rows of plain values: found, filtered and sorted without torch."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ptft.errors import ConfigError, suggest
from ptft.metrics.properties import less_is_better
from ptft.runs.folder import read_json
from ptft.runs.registry import runs_below, short_name, state
from ptft.runtime.terminal import decimal


@dataclass(frozen=True)
class Listed:
    """A run: its folder, what its status and its summary say. configuration: reads the one that lies in a folder."""

    folder: Path
    status: Mapping[str, Any]
    configuration: Callable[[Path], Mapping[str, Any]]

    @cached_property
    def summary(self) -> dict[str, Any]:
        return read_json(self.folder / "summary.json")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return self.configuration(self.folder)

    @cached_property
    def row(self) -> dict[str, Any]:
        """What every run has, None where it is not known; metrics by `split/name`."""
        names = self.summary or self.config.get("names") or {}
        metrics = self.summary.get("metrics") or self.status.get("metrics") or {}
        best = self.summary.get("best") or {}
        stamp = str(self.status.get("time") or "")
        folds = f", {count} folds" if (count := (self.summary.get("folds") or {}).get("count")) else ""
        return {
            "run": short_name(self.folder),
            "status": state(self.folder, self.status),
            "stage": self.status.get("stage"),
            "model": names.get("model"),
            "dataset": names.get("dataset"),
            "objective": names.get("objective"),
            "seed": self.summary["seed"] if "seed" in self.summary else self.config.get("seed"),
            "steps": self.summary.get("steps"),
            "seconds": self.summary.get("seconds", self.status.get("seconds")),
            "best": f"{best['metric']} {decimal(best['value'])}{folds}"
            if isinstance(best.get("value"), float)
            else None,
            "when": stamp[:16].replace("T", " ") or time.strftime("%Y-%m-%d %H:%M"),
            "folder": str(self.folder),
            "message": self.status.get("message"),
            **{f"{split}/{name}": value for split, values in metrics.items() for name, value in values.items()},
        }

    def value(self, key: str) -> Any:
        """Of a column, a metric, or a key of the configuration; KeyError where the run has none such."""
        if key in self.row:
            return self.row[key]
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise KeyError(key)
            node = node[part]
        return node


def listed(base: Path, configuration: Callable[[Path], Mapping[str, Any]]) -> list[Listed]:
    """Every run below `base`, newest first."""
    return [Listed(folder, status, configuration) for folder, status in runs_below(base)]


def matching(runs: Sequence[Listed], filters: Mapping[str, str]) -> list[Listed]:
    """Those whose values are the ones that were typed; `*` stands for any characters. Raises ConfigError."""
    for key in filters:
        check_key(runs, key)
    first = sorted(filters, key=lambda key: bool(runs) and key not in runs[0].row)  # what is known without its settings
    return [run for run in runs if all(_matches(run, key, filters[key]) for key in first)]


def _matches(run: Listed, key: str, typed: str) -> bool:
    value = get(run, key)
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(typed) == value
        except ValueError:
            return fnmatch.fnmatchcase(text, typed)
    return fnmatch.fnmatchcase(text, typed)


def get(run: Listed, key: str) -> Any:
    """None where the run has no such value."""
    try:
        return run.value(key)
    except KeyError:
        return None


def check_key(runs: Sequence[Listed], key: str) -> None:
    """Raises ConfigError for a key that none of the runs has."""
    for run in runs:
        try:
            run.value(key)
            return
        except KeyError:
            continue
    if runs:
        names = dict.fromkeys(name for run in runs for name in run.row)
        raise ConfigError(f"{key}: no run has it{suggest(key, names)} (columns: {', '.join(names)}, and any key)")


def ordered(runs: Sequence[Listed], key: str) -> list[Listed]:
    """The best first where it is a metric, else the least; a `-` before the key turns it round; what has none last."""
    name = key.removeprefix("-")
    check_key(runs, name)
    measured = [run for run in runs if get(run, name) is not None]
    rest = [run for run in runs if get(run, name) is None]
    falls = "/" in name and not _less_is_better(measured, name)
    ranked = sorted(measured, key=lambda run: _rank(get(run, name)), reverse=falls != key.startswith("-"))
    return [*ranked, *rest]


def _less_is_better(runs: Sequence[Listed], name: str) -> bool:
    """As the runs say that were judged by it, on any split; else as its name tells."""
    metric = name.rsplit("/", 1)[1]
    judged = (run.summary.get("best") or {} for run in runs)
    modes = [best.get("mode") for best in judged if str(best.get("metric")).rsplit("/", 1)[-1] == metric]
    return modes[0] == "min" if modes else less_is_better(metric)


def _rank(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, float(value), "") if number else (1, 0.0, str(value))
