"""How the labels of an example are written: names in a cell with a separator, a list, or a column of 0 and 1 for each.

Inside ptft they are one text, the names with JOINT between them; without a name it is empty.
"""

from __future__ import annotations

import ast
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ptft.data.files import nfc
from ptft.data.records import RowError, check_single
from ptft.errors import ConfigError

JOINT = "\x1f"
"""ASCII's own separator of units, which stands in no name."""
YES = frozenset({"1", "1.0", "true", "yes"})
NO = frozenset({"0", "0.0", "false", "no", ""})
"""What a column of 0 and 1 may hold; of nothing at all it is 0."""
USUAL = (";", "|", ",", "/", " ")
"""What stands between labels in a cell, as people write it."""


def joined(names: Iterable[str]) -> str:
    """Each name once, in their order."""
    return JOINT.join(dict.fromkeys(name for name in map(nfc, map(str.strip, names)) if name))


def parts(cell: str) -> list[str]:
    """The names that `joined` joined."""
    return cell.split(JOINT) if cell else []


def of_value(value: Any, separator: str, column: object, where: str) -> str:
    """The labels of a cell (a text, a list, or nothing). Raises RowError for anything else.

    A text in brackets is a list as Python or JSON writes it.
    """
    if isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]":
        value = _listed(value.strip())
    if isinstance(value, str):
        return joined(value.split(separator))
    if isinstance(value, list | tuple):
        for each in value:
            check_single(each, f"{column}", where)
        return joined(_text(each) for each in value)
    check_single(value, f"{column}", where)
    return joined([_text(value)])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else json.dumps(value)


def _listed(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, list) else text


def of_flags(values: Iterable[tuple[str, str]], where: str) -> str:
    """The names of those columns that hold 1, of (name, cell) each. Raises RowError for what is neither 0 nor 1."""
    names = []
    for name, cell in values:
        word = cell.strip().lower()
        if word not in YES | NO:
            raise RowError(where, f"column {name!r} holds {cell!r}, which is neither 0 nor 1")
        names += [name] if word in YES else []
    return joined(names)


def of_fields(fields: Mapping[Any, Any], columns: Sequence[str], separator: str | None, where: str) -> str:
    """The labels of a row: of one column with a separator, or of several that hold 0 or 1. Raises RowError."""
    if not all(name.isascii() for name in columns):
        fields = {nfc(str(key)): value for key, value in fields.items()}
    if separator is not None:
        return of_value(fields.get(columns[0]), separator, columns[0], where)
    for name in columns:
        check_single(fields.get(name), name, where)
    return of_flags(((name, _text(fields.get(name))) for name in columns), where)


def check(label: Any, separator: str | None) -> None:
    """Raises ConfigError for keys of labels that can't be: columns of 0 and 1 that are one, or have a separator."""
    if separator == "" or JOINT in (separator or ""):
        raise ConfigError("dataset.label_separator: what stands between labels in a cell, e.g. ';'")
    if not isinstance(label, list | tuple):
        return
    if separator is not None:
        raise ConfigError(
            f"dataset.label_separator={separator}: dataset.label names columns of 0 and 1; type one of them"
        )
    if len(label) < 2 or len(set(label)) < len(label) or not all(isinstance(name, str) for name in label):
        raise ConfigError(f"dataset.label={list(label)}: the names of several columns that hold 0 or 1, none twice")


def proposed(names: Sequence[str]) -> str | None:
    """What to say where the names of classes look like several labels each: "RBC;WBC" beside "RBC" and "WBC"."""
    known = set(names)
    for mark in USUAL:
        several = [name for name in names if mark in name and all(part.strip() in known for part in name.split(mark))]
        if several and len(several) > len(names) // 4:
            typed = shlex.quote(f"dataset.label_separator={mark}")
            return f"{several[0]!r} looks like several labels; {typed} reads them as such"
    return None


def most_common(cells: Iterable[str]) -> Counter[str]:
    """How often each name stands in cells."""
    return Counter(name for cell in cells for name in parts(cell))


def shown(names: Sequence[str], classes: Sequence[str]) -> str:
    """The names in one cell, separated by what stands in none of `classes`."""
    return mark_of(classes).join(names)


def mark_of(classes: Sequence[str]) -> str:
    """What separates names in a cell that people read: a semicolon, unless it stands in one of them."""
    return next((mark for mark in (";", "|", " / ", "\t") if not any(mark.strip() in name for name in classes)), ";")
