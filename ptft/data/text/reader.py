"""The text modality: from strings to token ids [T]. Sources and `stage=predict` read through the same functions.

`Spec.shape` is `{"tokenizer": Tokenizer.to_dict(), "length": the most tokens of an example, ...}`. Of longer texts the
beginning counts, or with `"keep": "end"` the end; a source with more than one column of text says which in `"columns"`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import files, records
from ptft.data.files import read_file, read_lines
from ptft.data.own.text_record import Columns
from ptft.data.ragged import padded
from ptft.data.readers import Unreadable, of_files, with_fields
from ptft.data.tokenizer import KINDS, Tokenizer
from ptft.errors import ConfigError, DataError, counted

SUFFIXES = frozenset({".txt", ".text", ".md"})
COLUMNS = Columns(("text",), None, alone=True, hint="; input_text=NAME says how the column of the texts is called")
"""Where the texts stand in a table that is read by what was not trained on one."""
NAMED = "; input_text names the column of the texts, and only tables have columns"


@dataclass(frozen=True)
class TextItem:
    """One text to predict for, and what to call it: its file, with the line where a file holds several."""

    name: str
    text: str
    passed: dict[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.name


def find(path: Path | str) -> list[TextItem | Unreadable]:
    """The lines of the texts at `path` (a file, a folder with everything below it, or a glob) that are not empty."""
    return of_files(text_files(path), lines_of)


def items(path: str, spec: Spec) -> list[TextItem | Unreadable]:
    """As `find`; of tables the column that was named."""
    return of_files(text_files(path), lambda file: lines_of(file, columns_of(spec)))


def columns_of(spec: Spec) -> Columns:
    """Where the texts of new files stand."""
    return Columns(tuple(spec.shape["columns"]), None, hint=NAMED) if spec.shape.get("named") else COLUMNS


def with_columns(spec: Spec, text: Sequence[str], whole: bool) -> Spec:
    """The same for tables whose columns of texts are called so. Raises ConfigError where they can't be."""
    key, wanted = f"input_text={','.join(map(str, text))}", len(spec.shape.get("columns", COLUMNS.text))
    if whole:
        raise ConfigError(f"{key}: names a column, and with whole=true a file is one text; type one of them")
    if len(text) != wanted:
        raise ConfigError(f"{key}: the checkpoint reads {counted(wanted, 'columns')} of text")
    return replace(spec, shape={**spec.shape, "columns": list(text), "named": True, "header": None})


def lines_of(file: Path, columns: Columns = COLUMNS) -> list[TextItem | Unreadable]:
    """The lines of a text that are not empty; of a table, by its suffix, the column `text`, or its only one.

    Raises DataError for an unreadable file, and a table that has no such column.
    """
    if file.suffix.lower() in records.SUFFIXES:
        return [
            Unreadable(row.where, row, fields)
            if isinstance(row, records.RowError)
            else TextItem(row.where, row.texts[0], fields)
            for row, fields in with_fields(file, columns, [])
        ]
    require_lines(file, columns)
    numbered = enumerate(read_lines(file), 1)
    return [TextItem(f"{file}:{number}", line) for number, line in numbered if line.strip()]


def require_lines(file: Path, columns: Columns) -> None:
    """Raises DataError where a column was named, and a file has lines instead."""
    if not columns.alone:
        raise DataError(f"{file}: is no table with a column {columns.text[0]!r}{NAMED}")


def of_lines(lines: Sequence[tuple[str, str]], spec: Spec) -> list[TextItem]:
    """Texts that stand in no file, each with what to call it."""
    return [TextItem(name, text) for name, text in lines]


def find_whole(path: Path | str) -> list[TextItem | Unreadable]:
    """As `find`, each file as one item."""
    return of_files(text_files(path), lambda file: [TextItem(str(file), read_file(file))])


def text_files(path: Path | str, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """A file whatever its suffix; in a folder all below it with one of `suffixes`, not hidden; or a glob. Sorted."""
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return [path]
    if path.is_dir():
        return files.find(path, suffixes)
    return sorted(match for match in map(Path, glob(str(path), recursive=True)) if match.is_file())


def read(item: TextItem, spec: Spec) -> Tensor:
    """Its ids, long [T], of a longer text the part that `spec.shape` keeps. Raises DataError where it is empty.

    Of documents that were told apart it begins as they did.
    """
    tokenizer = tokenizer_of(spec)
    ids, length = tokenizer.encode([item.text])[0], spec.shape["length"]
    if not ids:
        raise DataError(f"{item}: holds no text")
    before = [tokenizer.cls] if spec.shape.get("separate") and tokenizer.cls >= 0 and len(ids) < length else []
    return torch.tensor(before + (ids[-length:] if spec.shape.get("keep") == "end" else ids[:length]))


def remark(item: TextItem, value: Tensor, spec: Spec) -> str | None:
    """What is to be said of a text that was too long."""
    return only_a_part(value, spec, lambda: len(tokenizer_of(spec).encode([item.text])[0]))


def only_a_part(value: Tensor, spec: Spec, tokens: Callable[[], int], room: int | None = None) -> str | None:
    """A sentence where what was read has as many ids as there may be, and the text has more `tokens` than `room`."""
    length = int(spec.shape["length"])
    if len(value) < length or tokens() <= (length if room is None else room):
        return None
    which = "last" if spec.shape.get("keep") == "end" else "first"
    return f"only the {which} {length:,} tokens are read"


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """Ids of uneven length -> `input` long [B, T] and `mask` bool [B, T]."""
    ids, mask = padded(items, spec.shape["tokenizer"]["pad"])
    return {"input": ids, "mask": mask}


def describe(spec: Spec) -> str:
    """As the header shows it: "bytes (261 ids), up to 256 tokens"."""
    tokenizer = spec.shape["tokenizer"]
    return f"{tokenizer['kind']} ({tokenizer['size']:,} ids), up to {spec.shape['length']:,} tokens"


_built: dict[tuple[str, ...], Tokenizer] = {}


def tokenizer_of(spec: Spec) -> Tokenizer:
    """The tokenizer of a Spec of text; equal ones are built once."""
    plain = spec.shape["tokenizer"]
    key = tuple(value if isinstance(value, str) else str(value) for value in plain.values())  # special ids and all
    built = _built.get(key)
    if built is None:
        built = Tokenizer.from_dict(plain)
        _built.clear()
        _built[key] = built
    return built  # and not what lies there by now: another thread may read the texts of another model


def choose_tokenizer(
    name: str | None,
    size: int,
    texts: Callable[[], Iterable[str]],
    like: Spec | None,
    default: str = "bytes",
    whose: str = "the checkpoint's",
) -> Tokenizer:
    """The one of `dataset.tokenizer=name`: a kind (trained on `texts()` to at most `size` ids), a path, or with None
    the checkpoint's, else `default`. whose: what `like` is of, for messages.

    Raises ConfigError where another is typed than the checkpoint's, whose ids mean something else.
    """
    if like is not None and like.modality != "text":
        raise ConfigError(f"the checkpoint was trained on {like.modality}, dataset= is one of text")
    if like is not None:
        own = tokenizer_of(like)
        if name in (None, own.kind) or (name not in KINDS and Tokenizer.load(str(name)).means(own)):
            return own
        raise ConfigError(f"dataset.tokenizer={name}: {whose} is {own.kind}; leave dataset.tokenizer=null")
    name = name or default
    return Tokenizer.train(name, texts(), size) if name in KINDS else Tokenizer.load(name)


def text_spec(tokenizer: Tokenizer, length: int, target: str, classes: Sequence[str] = (), **shape: Any) -> Spec:
    """The Spec of texts of at most `length` tokens; `shape` holds what else reading them takes, e.g. `columns`."""
    return Spec("text", {"tokenizer": tokenizer.to_dict(), "length": length, **shape}, target, tuple(classes))


def alone(spec: Spec) -> Spec:
    """As weights without a task read texts: each by itself, as those that a class is found for, with the special tokens
    around it that the weights were trained with, and no more tokens, where these say so."""
    tokenizer, shape = dict(spec.shape["tokenizer"]), {**spec.shape, "reader": "sentences"}
    if around := shape.pop("around", None):
        tokenizer["cls"], tokenizer["sep"] = around
    shape["length"] = min(shape["length"], shape.pop("most", None) or shape["length"])
    return replace(spec, shape={**shape, "tokenizer": tokenizer, "columns": list(COLUMNS.text)})
