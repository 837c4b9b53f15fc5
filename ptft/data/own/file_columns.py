"""Which columns of a list of files hold the file and its class or transcript, where nobody says it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.files import nfc
from ptft.data.own import columns
from ptft.data.own.columns import AUTO
from ptft.data.records import JSON, RowError, text_of
from ptft.errors import ConfigError, DataError, unknown

PATH, ALSO_PATH = "path", "audio_filepath"
"""What the column of the files is called usually, and in NeMo's manifests."""
USUAL = {PATH: PATH, "label": "label"}
"""The columns of a list of files with classes."""
BEGINS = ("start", "begin", "start_time", "begin_time", "start_sec", "start_seconds", "onset")
ENDS = ("end", "stop", "end_time", "stop_time", "end_sec", "end_seconds")
"""What lists call the second where a part begins, and where it ends."""
OTHERS = frozenset({"split", *BEGINS, *ENDS, "offset", "duration"})
"""Columns that say something else by their names."""
ROWS = 2000
"""So many rows of a list are looked at."""
LOOKED_AT = 20
"""So many cells of a column are asked whether they are files."""
Head = Sequence[tuple[int, "dict[str, Any] | RowError"]]
"""The first rows of a list, at most ROWS, as `records` has them."""


class ListColumns(NamedTuple):
    """The columns of a list: of the file, and of its `key`, a label or the text of a transcript.

    found: keys and columns that were found by what is in them. note: what is to be said of them.
    """

    path: str
    key: str
    target: str
    found: Mapping[str, str] = {}
    note: str = ""


def find(
    file: Path,
    head: Head,
    typed: Mapping[str, str],
    suffixes: Collection[str],
    others: Collection[object] = (),
    needed: bool = True,
    sets: bool = False,
) -> ListColumns:
    """The columns with those that are AUTO found: by their usual names, else by what is in them.

    typed: `path`, and of what each file has (the first that is there counts) a column or AUTO. suffixes: of the files.
    others: columns that are neither. needed: whether there must be a label. sets: whether it may be a list. Raises
    DataError naming what to type where several columns may be meant, and for a list without a header; ConfigError for
    two columns that can't both be.
    """
    values = _columns(file, head, sets)
    path = _path(file, values, suffixes) if typed[PATH] == AUTO else typed[PATH]
    if values and typed[PATH] not in (AUTO, PATH) and path not in values:
        raise DataError(f"{file}: {unknown(f'dataset.{PATH}', typed[PATH], values)}")
    chosen = choose(file, values, typed, path, others, needed)
    if file.suffix.lower() not in JSON and chosen.path != PATH and _is_file(file.parent, chosen.path):
        header = f"write one above it, e.g. path,{chosen.key}"
        raise DataError(f"{file}:1: has no header, its first line lists {chosen.path}; {header}")
    return chosen


def choose(
    where: Path | str,
    values: Mapping[str, list[str]],
    typed: Mapping[str, str],
    path: str | None,
    others: Collection[object] = (),
    needed: bool = True,
    files: str = PATH,
) -> ListColumns:
    """As `find`, of columns with their first values, where that of the files is known, or is not clear (None).

    files: the key that names it.
    """
    keys = [key for key in typed if key != files]
    for key in keys:
        if values and typed[key] not in (AUTO, key) and typed[key] not in values:
            raise DataError(f"{where}: {unknown(f'dataset.{key}', typed[key], values)}")
    known = {*OTHERS, *others, path, PATH, ALSO_PATH}
    left = {name: cells for name, cells in values.items() if name not in known}
    key, target = _target(values, left, {key: typed[key] for key in keys}, needed)
    if values and (path is None or target is None):
        raise DataError(_what_to_type(where, values, left, path, keys, target, files == PATH))
    path, target = path or PATH, target or key
    chosen = {files: path, key: target}
    found = {name: column for name, column in chosen.items() if typed[name] == AUTO and column != name}
    shown = " ".join(columns.typed_as(name, column) for name, column in found.items())
    note = f"the columns of {Path(where).name} are found by what is in them: {shown}" if found else ""
    return ListColumns(path, key, target, found, note)


def path_of(file: Path, head: Head, wanted: str, suffixes: Collection[str]) -> str:
    """The column of the files: the one that is `wanted`, else the only one that can be it."""
    values = _columns(file, head)
    if wanted in values or ALSO_PATH in values:
        return wanted
    return _path(file, values, suffixes) or wanted


def cell(fields: Mapping[Any, Any], name: str, where: str) -> str:
    """As `text_of`; names that have another Unicode form in the list are the same."""
    if name not in fields and not name.isascii():
        name = next((key for key in fields if nfc(str(key)) == name), name)
    return text_of(fields, name, where)


def _columns(file: Path, head: Head, lists: bool = False) -> dict[str, list[str]]:
    """Column -> its first values; those without a name do not count, nor do `lists` unless they are asked for."""
    values: dict[str, list[str]] = {}
    for line, fields in head:
        if isinstance(fields, RowError):
            continue
        for name, value in fields.items():
            if name and lists and isinstance(value, list):
                values.setdefault(nfc(str(name)), []).append(str(value))
            elif name and not isinstance(value, list | dict):
                column = values.setdefault(nfc(str(name)), [])
                column += [text] if (text := text_of(fields, name, f"{file}:{line}")) else []
    return values


def _path(file: Path, values: Mapping[str, list[str]], suffixes: Collection[str]) -> str | None:
    """The column of the usual name, else the only one of files that are there, or that end as such files do."""
    if PATH in values or ALSO_PATH in values:
        return PATH
    some = {name: cells[:: max(1, len(cells) // LOOKED_AT)][:LOOKED_AT] for name, cells in values.items() if cells}
    there = {name: [_is_file(file.parent, text) for text in cells] for name, cells in some.items()}
    alike = {name: [os.path.splitext(text)[1].lower() in suffixes for text in cells] for name, cells in some.items()}
    for marks in (there, alike):
        if names := [name for name, cells in marks.items() if 2 * sum(cells) >= len(cells)]:
            return names[0] if len(names) == 1 else None
    return None


def _is_file(folder: Path, text: str) -> bool:
    """Whether a list in `folder` that holds this text means a file that is there."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in {text, text.replace("\\", "/")})


def _target(
    values: Mapping[str, list[str]], left: Mapping[str, list[str]], typed: Mapping[str, str], needed: bool
) -> tuple[str, str | None]:
    """Which of the keys counts, and its column: the one that is typed, of the usual name, or the only one that can be.

    None where it is not known which.
    """
    is_open = AUTO in typed.values()  # else nobody typed anything, and a run that knows no such keys means these names
    named = [key for key, name in typed.items() if name != AUTO and (is_open or name != key)]
    if len(named) > 1:
        both = " and ".join(f"dataset.{key}={typed[key]}" for key in named)
        raise ConfigError(f"{both}: a recording has a transcript or a class; type one of them")
    if named:
        return named[0], typed[named[0]]
    usual, last = [key for key in typed if key in values], list(typed)[-1]
    if usual or not is_open:
        key = next(iter([*usual, last]))
        return key, key
    every = [(key, name) for key, names in _may_be(left, list(typed)).items() for name in names]
    if not every and len(left) == len(typed) == 1 and needed:
        every = [(key, name) for key, name in zip(typed, left, strict=True)]
    if len(every) == 1:
        return every[0]
    return last, None if needed else last


def _may_be(left: Mapping[str, list[str]], keys: Sequence[str]) -> dict[str, list[str]]:
    """Key -> the columns that look like it."""
    looks = {"text": columns.likely_texts, "label": columns.likely_labels}
    cells: Mapping[Any, list[str]] = left
    return {key: [str(name) for name in looks[key](cells)] for key in keys}


def _what_to_type(
    file: Path | str,
    values: Mapping[str, list[str]],
    left: Mapping[str, list[str]],
    path: str | None,
    keys: Sequence[str],
    target: str | None,
    with_path: bool,
) -> str:
    unclear, example = [], list[str]()
    rest = [name for name in left if name != path]
    if path is None:
        unclear.append("no column is clearly the path of the files")
        path = rest[0] if rest else next(iter(values))
        rest = [name for name in rest if name != path]
    if target is None:
        may_be = _may_be({name: left[name] for name in rest}, keys)
        names = [name for found in may_be.values() for name in found]
        which = " or ".join(f"the {key}" for key in keys)
        listed = " and ".join(map(repr, names))
        unclear.append(f"{listed} may each be {which}" if len(names) > 1 else f"no column is clearly {which}")
        key = next((key for key, found in may_be.items() if found), keys[-1])
        if second := next(iter([*may_be[key], *rest]), None):
            example = [columns.typed_as(key, second)]
    listed, example = ", ".join(list(values)[:8]), [*([columns.typed_as(PATH, path)] if with_path else []), *example]
    return f"{file}: {'; '.join(unclear)} ({listed}); type them, e.g. {' '.join(example)}"
