"""Datasets of Hugging Face's library `datasets`, by name or from a folder (`pip install 'ptft[huggingface]'`)."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.data.records import Column, Columns, TextRecord
from ptft.data.text.row_source import RowTexts
from ptft.data.text.source import TextKeys
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}


class HuggingFaceTexts(RowTexts):
    """A text or two a row, and a class, a number or nothing.

    name: of a dataset on the hub; subset: which of its configurations. Or
    root: a folder that `save_to_disk` wrote, or one of train, validation and test files (csv, json, parquet).
    text, label, target: as in `TableTexts`, columns by their names.

    Splits have the names they have there, "validation" is also "val". Raises DataError where it can't be read.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        subset: str | None = None,
        text: Column | Sequence[Column] = "text",
        label: Column | None = "label",
        target: str = "class",
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if (name is None) == (self.root is None):
            raise ConfigError("dataset.name, a dataset on the hub, or dataset.root, a folder: set one of them")
        where = f"dataset.name={name}" if self.root is None else f"dataset.root={self.root}"
        self.where = where
        tables = _open(where, name, subset, self.root)
        self.tables = {"val" if split == "validation" else split: table for split, table in tables.items()}
        self.columns = Columns((text,) if isinstance(text, str | int) else tuple(text), label)
        self.describe_rows(self.tables, target)

    def read(self, split: str) -> list[TextRecord]:
        table = self.tables[split]
        for column in self.columns.all:
            if column not in table.column_names:
                raise DataError(f"{self.where}: {split} has no column {column!r} ({', '.join(table.column_names)})")
        names = getattr(table.features.get(self.columns.label), "names", None)
        values = [list(table[column]) for column in self.columns.all]
        return [
            self._row(f"{self.where}: {split} row {i}", row, names) for i, row in enumerate(zip(*values, strict=True))
        ]

    def _row(self, where: str, values: Sequence[Any], names: Sequence[str] | None) -> TextRecord:
        texts = tuple("" if value is None else str(value).strip() for value in values[: len(self.columns.text)])
        if not all(texts):
            raise DataError(f"{where}: column {self.columns.text[texts.index('')]!r} holds no text")
        if self.columns.label is None:
            return TextRecord(texts, None, where)
        label = values[-1]
        if label is None or (names is not None and not 0 <= label < len(names)):
            raise DataError(f"{where}: has no label; dataset.test=null leaves a split without labels out")
        return TextRecord(texts, names[label] if names is not None else str(label), where)


def _open(where: str, name: str | None, subset: str | None, root: Path | None) -> dict[str, Any]:
    """Split -> table."""
    library = _library()
    try:
        if root is None:
            return dict(library.load_dataset(name, subset))
        if (root / "dataset_dict.json").is_file():
            return dict(library.load_from_disk(str(root)))
        if (root / "state.json").is_file():
            return {"train": library.load_from_disk(str(root))}
        return _files(library, root)
    except (OSError, ValueError, csv.Error, library.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(f"{where}: can't be read ({reason})") from error


def _files(library: Any, root: Path) -> dict[str, Any]:
    files = {file.stem.split("-")[0]: file for file in sorted(root.glob("*")) if file.suffix in FORMATS}
    if not files:
        raise DataError(f"dataset.root={root}: holds no files of {', '.join(FORMATS)}, nor what save_to_disk writes")
    kinds = {FORMATS[file.suffix] for file in files.values()}
    if len(kinds) > 1:
        raise DataError(f"dataset.root={root}: holds files of several formats ({', '.join(sorted(kinds))})")
    named = {split: str(file) for split, file in files.items()}
    return dict(library.load_dataset(kinds.pop(), data_files=named))


def _library() -> Any:
    """The package, without its bars; where the hub does not answer it must not ask for minutes."""
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("dataset=huggingface: needs the package datasets: pip install 'ptft[huggingface]'") from error
    datasets.disable_progress_bars()
    return datasets


def sample(root: Path, count: int = 12) -> None:
    """Write a tiny set of two classes below `root`: train.csv and validation.csv."""
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        rows = [f"{word} number {i},{word}" for i in range(count) for word in ("good", "bad")]
        (root / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
