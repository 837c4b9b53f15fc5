"""Explanations as people see them: pictures, coloured words, and lines on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ptft.core import Spec
from ptft.data.marked import marks
from ptft.export.report import explanation
from ptft.loggers.console import Console
from ptft.runtime.system import writing
from ptft.runtime.terminal import decimal
from ptft.stages.explain.one import Begun

PICTURES = "explanations"
"""The folder of pictures and sounds, in that of the run."""
SHOWN = 5
"""So many inputs have lines of their own on the terminal."""
REMEDY = "choose another hydra.run.dir"
NOTHING = "means nothing here"
STRONG, SOME = 0.5, 0.15
"""From which share of the strongest word on a word is coloured fully, and at all."""


def draw(folder: Path, name: str, found: Begun, row: dict[str, Any], spec: Spec) -> None:
    """The input, and what each method marks in it; the files, relative to the folder, are added to its row."""
    shows = marks.of(spec)
    with writing(folder / PICTURES, REMEDY):
        (folder / PICTURES).mkdir(exist_ok=True)
        files = shows.draw(folder / PICTURES / name, found.raw, found.x, None, spec)
        row["files"] = _relative(files, folder)
        for entry in row["explanations"]:
            stem = folder / PICTURES / f"{name}-{entry['method']}"
            files = shows.draw(stem, found.raw, found.x, found.maps[entry["method"]].values, spec)
            entry["files"] = _relative(files, folder)
            if "words" in row["units"]:
                entry["text"] = " ".join(_plain(*pair) for pair in _pairs(row, entry))


def _relative(files: Mapping[str, Path], folder: Path) -> dict[str, str]:
    return {kind: path.relative_to(folder).as_posix() for kind, path in files.items()}


def _pairs(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Each word with its value as a share of the strongest one's."""
    whole = max(map(abs, entry["values"]), default=0.0) or 1.0
    return [(word, value / whole) for word, value in zip(row["units"]["words"], entry["values"], strict=True)]


def _plain(word: str, share: float) -> str:
    """The word, with its share where it counts: `great[+1.0]`."""
    return f"{word}[{share:+.1f}]" if abs(share) >= SOME else word


def _style(share: float) -> str:
    if abs(share) < SOME:
        return ""
    colour = "red" if share > 0 else "blue"
    return f"bold white on {colour}" if abs(share) >= STRONG else colour


def tell(out: Console, told: Sequence[Mapping[str, Any]]) -> None:
    """The first inputs: what was answered, what speaks for it, what was learned from."""
    for row in told[:SHOWN]:
        other = explanation.other(row)
        out.say(f"{row['item']}: {explanation.answer(row)}{f'; explained is {other}' if other else ''}")
        for entry in row["explanations"]:
            name = f"  {entry['method'].replace('_', ' '):<20} "
            if not entry["means_something"]:
                out.say(f"{name}{NOTHING}: {entry['reasons'][0]}", "yellow")
            elif "text" in entry:
                parts = [(f"{word} ", _style(share)) for word, share in _pairs(row, entry)]
                out.coloured(name, parts, entry["text"])
            else:
                out.say(f"{name}{', '.join(entry['files'].values())}")
        for source, near in row.get("neighbours", {}).items():
            each = ", ".join(f"{one['label'] or one['item']} ({one['similarity']:.2f})" for one in near)
            out.say(f"  {'near in ' + source:<20} {each}")


def methods(told: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each method that explained something: the means over its inputs, of gaps the median."""
    found: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for row in told:
        for entry in row["explanations"]:
            found.setdefault(entry["method"], []).append((row, entry))
    return {name: _means(pairs) for name, pairs in found.items()}


def _means(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    entries = [entry for _, entry in pairs]
    tried = sum(entry["randomised"]["of"] for entry in entries)
    passed = sum(entry["randomised"]["means_something"] for entry in entries)
    return {
        "inputs": len(entries),
        "means_something": sum(entry["means_something"] for entry in entries),
        "area": fmean(entry["deletion"]["area"] for entry in entries),
        "random_area": fmean(row["random"]["area"] for row, _ in pairs),
        "correlation": _of(fmean, [entry["randomised"]["correlation"] for entry in entries]),
        "gap": _of(median, [entry["gap"] for entry in entries]),
        "randomised": passed / tried if tried else None,
    }


def _of(middle: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return middle(given) if given else None


def table(out: Console, found: Mapping[str, Mapping[str, Any]]) -> None:
    """A row a method: whether it means anything, and the figures that this is read from."""
    head = ["method", "means something", "deletion", "random", "like random weights", "gap"]
    rows = [
        [
            name.replace("_", " "),
            f"{means['means_something']} of {means['inputs']}",
            *(decimal(means[key]) if means[key] is not None else "" for key in ("area", "random_area", "correlation")),
            "" if means["gap"] is None else f"{100 * means['gap']:.1f} %",
        ]
        for name, means in found.items()
    ]
    out.table(
        "explanations; deletion: the mean belief while what is marked is taken away, the lower the better", head, rows
    )
