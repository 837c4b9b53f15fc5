"""What separates the columns of a CSV file: a comma, or what else every line has as often as the first."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from pathlib import Path

from ptft.data.files import MARKS, unified

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
SEPARATED = "columns are separated by {}, though not in all lines; save it with commas, or with tabs as .tsv"
ROWS = 20
"""So many rows are looked at."""
SEP_LINE = re.compile(r'"?sep=([,;\t|])"?\n', re.IGNORECASE)
BEGINNING = 2**14
"""Characters that they are looked for in."""
MOST = 3 / 4
"""The share of rows that must be as wide as the first, where no comma is in that."""


def separator(text: str) -> str:
    """The one that all the first rows of a file have as often as the first row; a comma where that is not the only
    reading. Where no comma is in the first row, one that most rows have as often.
    """
    return _readings(text)[0]


def of_file(file: Path) -> str:
    """That of a file; a comma where it is none or can't be read."""
    return separator(_beginning(file))


def notes(file: Path) -> tuple[str, ...]:
    """What to say of a CSV file that has no commas between its columns, or may be read in two ways."""
    first, *others = _readings(_beginning(file))
    if first != ",":
        return (f"columns are separated by {SEPARATORS[first]}",)
    sentences = (
        f"{file.name} may have {SEPARATORS[mark]} between its columns; it is read with commas" for mark in others
    )
    return tuple(sentences)


def has_sep_line(text: str) -> bool:
    """Whether the first line says what separates the columns, as Excel reads it: sep=; and no row."""
    return SEP_LINE.match(text) is not None


def _readings(text: str) -> list[str]:
    """The separator, and what else may be one."""
    if match := SEP_LINE.match(text):
        return [match[1]]
    widths = {mark: _widths(text, mark) for mark in (",", *SEPARATORS)}
    even = [mark for mark, counts in widths.items() if len(counts) > 1 and counts[0] > 1 and len(set(counts)) == 1]
    if even:
        return even if "," in even or len(even) == 1 else [","]
    if widths[","][:1] != [1]:
        return [","]
    mostly = [
        mark
        for mark, counts in widths.items()
        if len(counts) > 2 and counts[0] > 1 and counts[1:].count(counts[0]) >= MOST * (len(counts) - 1)
    ]
    return mostly if len(mostly) == 1 else [","]


def _widths(text: str, mark: str) -> list[int]:
    """How many cells each of the first rows has; rows that are empty, and the last one of a part, do not count."""
    plain = text[:BEGINNING].replace("\0", " ")  # which Python 3.10 reads in no CSV
    rows = csv.reader(io.StringIO(plain), delimiter=mark)
    widths = [len(row) for row in islice(rows, ROWS) if row]
    return widths[:-1] if len(text) > BEGINNING and len(widths) < ROWS else widths


def _beginning(file: Path) -> str:
    """Enough of a CSV file's text; of another file, or one that can't be read, nothing."""
    if file.suffix.lower() in (".tsv", ".json", ".jsonl", ".ndjson"):
        return ""
    try:
        with file.open("rb") as opened:
            raw = opened.read(4 * BEGINNING + 8)
    except OSError:
        return ""
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
    return unified(raw.decode(encoding, "ignore"))
