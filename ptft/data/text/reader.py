"""The text modality: from strings to token ids [T]. Sources and `stage=predict` read through the same functions.

`Spec.shape` is `{"tokenizer": Tokenizer.to_dict(), "length": the most tokens of an example, ...}`. Of longer texts the
beginning counts, or with `"keep": "end"` the end; a source with more than one column of text says which in `"columns"`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
from ptft.errors import ConfigError, DataError

SUFFIXES = frozenset({".txt", ".text", ".md"})
COLUMNS = Columns(("text",), None, alone=True, hint="; call the column of the texts so, or give lines as .txt")
"""Where the texts stand in a table that is read by what was not trained on one."""


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


def lines_of(file: Path) -> list[TextItem | Unreadable]:
    """The lines of a text that are not empty; of a table, by its suffix, the column `text`, or its only one.

    Raises DataError for an unreadable file, and a table that has no such column.
    """
    if file.suffix.lower() in records.SUFFIXES:
        return [
            Unreadable(row.where, row, fields)
            if isinstance(row, records.RowError)
            else TextItem(row.where, row.texts[0], fields)
            for row, fields in with_fields(file, COLUMNS, [])
        ]
    numbered = enumerate(read_lines(file), 1)
    return [TextItem(f"{file}:{number}", line) for number, line in numbered if line.strip()]


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
    """Its ids, long [T], of a longer text the part that `spec.shape` keeps. Raises DataError where it is empty."""
    ids, length = tokenizer_of(spec).encode([item.text])[0], spec.shape["length"]
    if not ids:
        raise DataError(f"{item}: holds no text")
    return torch.tensor(ids[-length:] if spec.shape.get("keep") == "end" else ids[:length], dtype=torch.long)


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """Ids of uneven length -> `input` long [B, T] and `mask` bool [B, T]."""
    ids, mask = padded(items, spec.shape["tokenizer"]["pad"])
    return {"input": ids, "mask": mask}


def describe(spec: Spec) -> str:
    """As the header shows it: "bytes (261 ids), up to 256 tokens"."""
    tokenizer = spec.shape["tokenizer"]
    return f"{tokenizer['kind']} ({tokenizer['size']:,} ids), up to {spec.shape['length']:,} tokens"


_built: dict[str, Tokenizer] = {}


def tokenizer_of(spec: Spec) -> Tokenizer:
    """The tokenizer of a Spec of text; equal ones are built once."""
    plain = spec.shape["tokenizer"]
    key = f"{plain['kind']} {plain['json']}"
    if key not in _built:
        _built.clear()
        _built[key] = Tokenizer.from_dict(plain)
    return _built[key]


def choose_tokenizer(
    name: str | None, size: int, texts: Callable[[], Iterable[str]], like: Spec | None, default: str = "bytes"
) -> Tokenizer:
    """The one of `dataset.tokenizer=name`: a kind (trained on `texts()` to at most `size` ids), a path, or with None
    the checkpoint's, else `default`.

    Raises ConfigError where another is typed than the checkpoint's, whose ids mean something else.
    """
    if like is not None and like.modality != "text":
        raise ConfigError(f"the checkpoint was trained on {like.modality}, dataset= is one of text")
    if like is not None:
        own = tokenizer_of(like)
        if name in (None, own.kind) or (name not in KINDS and Tokenizer.load(str(name)).to_dict() == own.to_dict()):
            return own
        raise ConfigError(f"dataset.tokenizer={name}: the checkpoint's is {own.kind}; leave dataset.tokenizer=null")
    name = name or default
    return Tokenizer.train(name, texts(), size) if name in KINDS else Tokenizer.load(name)


def text_spec(tokenizer: Tokenizer, length: int, target: str, classes: Sequence[str] = (), **shape: Any) -> Spec:
    """The Spec of texts of at most `length` tokens; `shape` holds what else reading them takes, e.g. `columns`."""
    return Spec("text", {"tokenizer": tokenizer.to_dict(), "length": length, **shape}, target, tuple(classes))
