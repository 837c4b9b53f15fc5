"""What parts the columns of a CSV file, where it is no comma."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ptft.errors import DataError

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
SEPARATED = "columns are separated by {}; save it with commas, or with tabs as .tsv"
_LINE = re.compile(r'(?i)"?sep=(.)"?\n')
"""The line that Excel takes and writes in front of a CSV file."""


def after_separator(text: str, file: Path) -> str:
    """The text of a CSV file with an empty line in place of `sep=,`. Raises DataError for another separator."""
    told = _LINE.match(text)
    if told is None:
        return text
    if told[1] != ",":
        raise DataError(f"{file}:1: {SEPARATED.format(SEPARATORS.get(told[1], repr(told[1])))}")
    return text[told.end() - 1 :]


def check_separator(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Raises DataError for the first rows of a file that have one cell each, in which another mark parts as many."""
    for mark in SEPARATORS if len(rows) > 1 and all(len(row) == 1 for row in rows) else ():
        counts = {row[0].count(mark) for row in rows}
        if len(counts) == 1 and counts != {0}:
            raise DataError(f"{file}:1: {SEPARATED.format(SEPARATORS[mark])}")
