"""`mistakes_SPLIT.json`: of an evaluation the rows that are worth a look, with what of each can be seen or heard.

The most wrong, and some of each cell of the confusion matrix. Made while the examples are at hand, for pages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.runtime.system import finite, write_text

WORST = 24
A_CELL = 3
"""Examples of each pair of a true and a predicted class."""
CELLS = 60
"""So many pairs, the most frequent."""
LEFT_OUT = "p_"
"""How columns begin that hold the probability of one class."""

Columns = Mapping[str, Sequence[Any]]


def write(
    folder: Path, split: str, columns: Columns, wrong: Sequence[int], previews: Callable[[list[int]], list[str | None]]
) -> None:
    """wrong: the rows that are mistakes, the worst first. previews: of rows, what of each can be seen or heard.

    Raises StorageError.
    """
    cells = _cells(columns, wrong)
    chosen = list(dict.fromkeys([*wrong[:WORST], *(row for rows in cells.values() for row in rows)]))
    at = {row: k for k, row in enumerate(chosen)}
    names = [name for name in columns if not name.startswith(LEFT_OUT)]
    content = {
        "split": split,
        "mistakes": len(wrong),
        "columns": names,
        "rows": [[finite(columns[name][row]) for name in names] for row in chosen],
        "previews": previews(chosen) if chosen else [],
        "worst": [at[row] for row in wrong[:WORST]],
        "cells": [[true, predicted, [at[row] for row in rows]] for (true, predicted), rows in cells.items()],
    }
    write_text(folder / f"mistakes_{split}.json", json.dumps(content))


def _cells(columns: Columns, wrong: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """Pairs of classes, the most frequent first, each with its worst rows; none where answers are no classes."""
    if not {"true", "predicted"} <= columns.keys():
        return {}
    by_pair: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in wrong:
        pair = columns["true"][row], columns["predicted"][row]
        if not (isinstance(pair[0], str) and isinstance(pair[1], str)):
            return {}
        by_pair[pair].append(row)
    frequent = sorted(by_pair.items(), key=lambda item: -len(item[1]))[:CELLS]
    return {pair: rows[:A_CELL] for pair, rows in frequent}
