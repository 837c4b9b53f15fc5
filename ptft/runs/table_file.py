"""Tables as files people read on with: CSV, JSON, an object a line of JSON, or Parquet, as the name's ending says."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from ptft.core import Columns
from ptft.errors import ConfigError, not_imported
from ptft.runtime.system import finite, writing, written_whole

ENDINGS = (".csv", ".jsonl", ".json", ".parquet")
DIGITS = 7
"""Of a number, which are those of float32."""
Kinds = frozenset[type]
ARROW: dict[type, str] = {str: "string", int: "int64", float: "double", bool: "bool"}
BITS = 63
EXACT = 17
"""Digits of a float64: numbers of others' tables are handed on as they are."""


def check_ending(path: Path, key: str) -> None:
    """Raises ConfigError, which begins with the key, where no table is written by such a name, or not here."""
    ending = path.suffix.lower()
    if ending not in ENDINGS and not _is_special(path):
        raise ConfigError(f"{key}: tables are written by the name's ending: {', '.join(ENDINGS)}")
    if path.is_dir():
        raise ConfigError(f"{key}: is a folder; name a file")
    if ending == ".parquet":
        check_parquet(key)


def check_parquet(key: str) -> None:
    """Raises ConfigError, which begins with the key, where the package is missing that writes Parquet."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise not_imported(f"{key}: needs the package pyarrow", "pyarrow", "pyarrow", error) from error


def write_columns(path: Path, columns: Columns, remedy: str) -> None:
    """As `write_parts`, of one part."""
    write_parts(path, {name: kinds_of(values) for name, values in columns.items()}, [columns], remedy)


def write_parts(
    path: Path, kinds: Mapping[str, Kinds], parts: Iterable[Columns], remedy: str, exact: Collection[str] = ()
) -> None:
    """Write aside and rename, so that the file is always whole; into what is no file (/dev/stdout) CSV, at once.

    kinds: of all values of each column, in the order of the columns. parts: some rows each. Texts that UTF-8 can't hold
    are escaped; numbers in CSV have seven digits, or all in `exact` columns; None is empty. Raises StorageError, which
    ends with the remedy.
    """
    if _is_special(path):
        with writing(path, remedy):
            _write_lines(path, ".csv", list(kinds), parts, exact)
        return
    with writing(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, remedy) as aside:
        if path.suffix.lower() == ".parquet":
            _write_parquet(aside, kinds, parts)
        else:
            _write_lines(aside, path.suffix.lower(), list(kinds), parts, exact)


def _write_lines(
    path: Path, ending: str, names: Sequence[str], parts: Iterable[Columns], exact: Collection[str]
) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(_csv(names, parts, exact) if ending == ".csv" else _json(ending, parts))


def _is_special(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())


def _json(ending: str, parts: Iterable[Columns]) -> Iterator[str]:
    rows = (json.dumps(finite(row), ensure_ascii=False) for columns in parts for row in rows_of(columns))
    if ending == ".jsonl":
        yield from (f"{row}\n" for row in rows)
        return
    first = True
    for row in rows:
        yield ("[\n" if first else ",\n") + row
        first = False
    yield "[]\n" if first else "\n]\n"


def read_columns(path: Path) -> Columns:
    """A table of ptft's own, CSV or Parquet; of CSV every cell is its text."""
    if path.suffix.lower() == ".parquet":
        read: Columns = importlib.import_module("pyarrow.parquet").read_table(path).to_pydict()
        return read
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [row[number] for row in rows] for number, name in enumerate(header)}


def rows_of(columns: Columns) -> Iterator[dict[str, Any]]:
    """A table's rows."""
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _csv(names: Sequence[str], parts: Iterable[Columns], exact: Collection[str]) -> Iterator[str]:
    yield _csv_lines([names])
    for columns in parts:
        cells = (_cells(values, EXACT if name in exact else DIGITS) for name, values in columns.items())
        yield _csv_lines(zip(*cells, strict=True))


def _csv_lines(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _cells(values: list[Any], digits: int) -> Iterator[str]:
    if digits == DIGITS and all(type(value) is float for value in values):  # most of a table: no look at each
        return map(format, values, repeat(f".{digits}g"))
    return map(cell, values, repeat(digits))


def cell(value: Any, digits: int = DIGITS) -> str:
    """A value as CSV and the terminal show it; empty for None."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value) if digits > DIGITS else f"{value:.{digits}g}"
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _write_parquet(path: Path, kinds: Mapping[str, Kinds], parts: Iterable[Columns]) -> None:
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    names = {name: _arrow_type(of) for name, of in kinds.items()}
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in names.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for columns in parts:
            typed = {name: of_one_type(values, kinds[name]) for name, values in columns.items()}
            writer.write_table(pyarrow.table(typed, schema=schema))


def kinds_of(values: Iterable[Any]) -> Kinds:
    """The types of values that are there; a whole number of more than 64 bits is an `object`."""
    kinds = frozenset(map(type, values)) - {type(None)}
    if int in kinds and any(type(value) is int and value.bit_length() > BITS for value in values):
        return kinds - {int} | {object}
    return kinds


def _arrow_type(kinds: Kinds) -> str:
    if not kinds:
        return "null"
    if len(kinds) == 1 and kinds < ARROW.keys():
        return ARROW[next(iter(kinds))]
    return "double" if kinds == {int, float} else "string"


def of_one_type(values: list[Any], kinds: Kinds | None = None) -> list[Any]:
    """As Parquet needs them: whole numbers beside others as numbers, anything else that is mixed as text.

    kinds: of all values of their column, where there are others.
    """
    kind = _arrow_type(kinds_of(values) if kinds is None else kinds)
    if kind == "string":
        texts = (None if value is None else cell(value) for value in values)
        return [None if text is None else text.encode("utf-8", "backslashreplace").decode() for text in texts]
    if kind == "double":
        return [None if value is None else float(value) for value in values]
    return values
