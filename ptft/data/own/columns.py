"""Which columns of a table hold the texts and the labels, where nobody says it and only one reading is possible."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ptft.data.files import nfc
from ptft.data.labels import number
from ptft.data.own.separator import SEPARATED, SEPARATORS
from ptft.data.own.text_record import Column
from ptft.data.records import JSON, RowError, cells_of, objects_of, text_of
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import DataError, shortened

AUTO = "auto"
"""A column that is to be found."""
ROWS = 2000
"""So many rows of a file are looked at."""
CLASSES = 100
"""A column of more different values is no obvious label."""


SPLIT = "split"
"""What the column is called that says which split a row belongs to."""


class FoundColumns(NamedTuple):
    """The columns of texts and label, whether the first line is a header (None: where columns have names), and what is
    to be said of it ("" where nothing was found that was not typed).
    """

    text: Column | Sequence[Column]
    label: Column | None
    header: bool | None
    note: str


def find(
    file: Path,
    text: Column | Sequence[Column],
    label: Column | None,
    header: bool | None,
    others: Sequence[Column] = (),
    sets: bool = False,
) -> FoundColumns:
    """As `choose`, of the columns of a file; with `sets` a label may be a list."""
    columns = _columns(file, [*others, *_typed(text, label)], header, sets)
    return choose(file, columns, text, label, header, others)


def choose(
    where: Path | str,
    columns: Mapping[Column, Sequence[str]],
    text: Column | Sequence[Column],
    label: Column | None,
    header: bool | None = None,
    others: Sequence[Column] = (),
) -> FoundColumns:
    """The columns with those that are AUTO found: called text and label, else by what is in them; `others` are neither.

    columns: the first values of each. Raises DataError naming what to type where several may be meant.
    """
    typed = _typed(text, label)
    if not columns or any(name not in columns for name in typed):  # of which reading the file tells
        return FoundColumns("text" if text == AUTO else text, "label" if label == AUTO else label, header, "")
    columns = {name: values for name, values in columns.items() if name not in others}
    chosen = _chosen(columns, "text", likely_texts(columns), label) if text == AUTO else text
    kind = _chosen(columns, "label", likely_labels(columns), chosen) if label == AUTO else label
    if text == AUTO and chosen is None and (kind is None) == (label is None):
        chosen = _other(columns, kind)
    if label == AUTO and kind is None and isinstance(chosen, str | int):
        kind = _other(columns, chosen)
    if chosen is None or (kind is None and label is not None):
        raise DataError(
            _what_to_type(where, columns, text if chosen is None else chosen, label if kind is None else kind)
        )
    if (text != AUTO or chosen == "text") and (label != AUTO or kind == "label"):
        return FoundColumns(chosen, kind, header, "")
    keys = f"{typed_as('text', chosen)} {typed_as('label', kind)}"
    example = "" if isinstance(next(iter(columns)), str) or header else "; the first line is an example"
    return FoundColumns(
        chosen, kind, header, f"the columns of {Path(where).name} are found by what is in them: {keys}{example}"
    )


def _typed(text: Column | Sequence[Column], label: Column | None) -> list[Column]:
    names = [*([text] if isinstance(text, str | int) else text), label]
    return [name for name in names if name is not None and name != AUTO]


def split_column(file: Path, typed: str | None, taken: Sequence[Column], header: bool | None) -> tuple[str | None, str]:
    """The column that says the split of each row, and its first different values, to be shown.

    typed: its name; AUTO: the one called split, unless it is `taken` by another key or none of its values is the name
    of a split. None where there is none.
    """
    if file.suffix.lower() in JSON or not any(isinstance(name, int) for name in taken):
        columns = _columns(file, [name for name in taken if name != AUTO], header)
    elif header:
        rows = [cells for _, cells in islice(cells_of(file), ROWS) if not isinstance(cells, RowError)] or [[]]
        columns = dict(zip(map(nfc, rows[0]), _values(rows[1:], len(rows[0])), strict=True))
    else:
        return None, ""
    name = next((name for name in columns if str(name).lower() == SPLIT), None) if typed == AUTO else typed
    if not isinstance(name, str) or name in taken:
        return None, ""
    values = list(dict.fromkeys(columns.get(name, ())))
    if typed == AUTO and not any(value.lower() in SPLIT_NAMES for value in values):
        return None, ""
    return name, ", ".join(values[:4])


def _chosen(
    columns: Mapping[Column, Sequence[str]],
    usual: str,
    may_be: Sequence[Column],
    other: Column | Sequence[Column] | None,
) -> Column | None:
    """The column of the usual name, else the only one that may be it and is not the `other`; None: several, or none."""
    return usual if usual in columns else _only([name for name in may_be if name != other])


def _other(columns: Mapping[Column, Sequence[str]], taken: Column | None) -> Column | None:
    """The only column that is not `taken`."""
    return _only([name for name in columns if name != taken])


def _columns(
    file: Path, typed: Sequence[Column], header: bool | None, lists: bool = False
) -> Mapping[Column, list[str]]:
    """Column -> its first values; they have numbers where the first line is no header. lists: whether these count."""
    if file.suffix.lower() in JSON:
        return _of_objects(file, lists)
    rows = [cells for _, cells in islice(cells_of(file), ROWS) if not isinstance(cells, RowError)]
    if not rows or any(isinstance(name, int) for name in typed):
        return {} if not rows else dict(enumerate(_values(rows[1 if header else 0 :], len(rows[0]))))
    names = [nfc(cell.strip()) for cell in rows[0]]
    values = _values(rows[1:], len(names))
    named = header or {*typed, "text", "label"} & {*names} or (header is None and not _is_row(names, values))
    if named and len(set(names)) == len(names):
        return dict(zip(names, values, strict=True))
    return dict(enumerate(_values(rows[1 if named else 0 :], len(names))))


def _values(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The values of every column, without empty ones."""
    even = [row for row in rows if len(row) == width]
    return [[cell for row in even if (cell := row[place].strip())] for place in range(width)]


def _of_objects(file: Path, lists: bool) -> dict[Column, list[str]]:
    columns: dict[Column, list[str]] = {}
    for line, fields in islice(objects_of(file), ROWS):
        if isinstance(fields, RowError):
            continue
        for name, value in fields.items():
            if lists and isinstance(value, list):
                columns.setdefault(nfc(name), []).append(str(value))
            elif not isinstance(value, list | dict) and (text := text_of(fields, name, f"{file}:{line}")):
                columns.setdefault(nfc(name), []).append(text)
    return columns


def _is_row(first: Sequence[str], values: Sequence[Sequence[str]]) -> bool:
    """Whether a first line is one like the others: what stands in it is a number, or one of few that come again."""
    alike = any(_is_label(column) and cell in column for cell, column in zip(first, values, strict=True))
    return alike or any(
        number(cell) is not None and None not in map(number, column) for cell, column in zip(first, values, strict=True)
    )


def likely_texts(columns: Mapping[Column, Sequence[str]]) -> list[Column]:
    """Those of several words a value, most of which are different."""
    return [
        name
        for name, values in columns.items()
        if values
        and 2 * len(set(values)) > len(values)
        and sum(len(value.split()) for value in values) >= 2 * len(values)
    ]


def likely_labels(columns: Mapping[Column, Sequence[str]]) -> list[Column]:
    return [name for name, values in columns.items() if _is_label(values)]


def _is_label(values: Sequence[str]) -> bool:
    """Whether there are few different ones, which come again."""
    kinds = len(set(values))
    return 2 <= kinds <= min(CLASSES, len(values) // 2)


def _only(names: Sequence[Column]) -> Column | None:
    return names[0] if len(names) == 1 else None


def _what_to_type(
    file: Path | str, columns: Mapping[Column, Sequence[str]], text: Column | Sequence[Column], label: Column | None
) -> str:
    """What to type where columns can't be told apart, with those that may be meant."""
    texts = [name for name in likely_texts(columns) if name != label]
    labels = [name for name in likely_labels(columns) if name != text]
    missing = [key for key, name in (("text", text), ("label", label)) if name == AUTO]
    candidates = {"text": texts, "label": labels}
    unclear = "; ".join(
        f"{_either(candidates[key])} may each be the {key}" if candidates[key] else f"no column is clearly the {key}"
        for key in missing
    )
    names = list(columns)
    if len(names) == 1 and (apart := next((noun for mark, noun in SEPARATORS.items() if mark in str(names[0])), "")):
        return f"{file}:1: {SEPARATED.format(apart)}"
    first = text if text != AUTO else (texts or [name for name in names if name != label] or names)[0]
    left = [name for name in names if name != first]
    second = label if label != AUTO else next(iter([name for name in labels if name != first] or left), None)
    listed = shortened(map(str, names), 8)
    return f"{file}: {unclear} ({listed}); type them, e.g. {typed_as('text', first)} {typed_as('label', second)}"


def _either(names: Sequence[Column]) -> str:
    return shortened(map(repr, names), 6) if len(names) > 6 else " and ".join(map(repr, names))


def typed_as(key: str, name: Column | Sequence[Column] | None) -> str:
    """`dataset.KEY=NAME` as it can be pasted."""
    if isinstance(name, str | int) or name is None:
        shown = "null" if name is None else _value(name)
    else:
        shown = f"[{','.join(map(_value, name))}]"
    return shlex.quote(f"dataset.{key}={shown}") if re.search(r"[^\w.=]", shown) else f"dataset.{key}={shown}"


def _value(name: Column) -> str:
    plain = isinstance(name, int) or (re.fullmatch(r"[^\W\d][\w ]*", name) and name.lower() not in WORDS)
    return str(name) if plain else '"' + str(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


WORDS = frozenset({"null", "true", "false", "inf", "nan", "yes", "no", "on", "off", AUTO})
"""What is no name unless it stands in quotes."""
