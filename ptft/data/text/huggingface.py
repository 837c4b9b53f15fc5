"""Datasets of Hugging Face's library `datasets`, by name or from a folder (`pip install 'ptft[huggingface]'`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.data.files import nfc
from ptft.data.records import Column, Columns, RowError, TextRecord, Unusable, check_single
from ptft.data.splits import find_splits, parts_said, split_by_stem, split_files
from ptft.data.text.row_source import RowTexts
from ptft.data.text.source import TextKeys
from ptft.data.text.table import split_of
from ptft.errors import ConfigError, DataError, first_line

if TYPE_CHECKING:
    from typing_extensions import Unpack

PARQUET = ".parquet"
MISSING = "holds no files of csv, tsv, json, jsonl or parquet, nor what save_to_disk writes"


class HuggingFaceTexts(RowTexts):
    """A text or two a row, and a class, a number or nothing.

    name: of a dataset on the hub; subset: which of its configurations. Or
    root: a folder that `save_to_disk` wrote, or one of train, validation and test files (csv, json, parquet).
    text, label, target: as in `TableTexts`, columns by their names.

    Files of csv and json are read as `TableTexts` does, the others by the library.
    Splits have the names they have there, "validation" is also "val". Raises DataError where it can't be read.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        subset: str | None = None,
        text: Column | Sequence[Column] = "text",
        label: Column | None = "label",
        target: str | None = None,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if (name is None) == (self.root is None):
            raise ConfigError("dataset.name, a dataset on the hub, or dataset.root, a folder: set one of them")
        self.name = name
        self.files = _files(self.root) if self.root is not None and not _is_saved(self.root) else {}
        self.columns = Columns((text,) if isinstance(text, str | int) else tuple(text), label, hint="")
        if numbers := [name for name in self.columns.all if isinstance(name, int)]:
            raise ConfigError(f"dataset.text, dataset.label: columns have names here, {numbers[0]} is a number")
        self.tables: dict[str, Any] = {}
        if not self.files or any(_is_parquet(parts) for parts in self.files.values()):
            tables = _open(self._where(), name, subset, self.root, self.files)
            self.tables = {"val" if split == "validation" else split: table for split, table in tables.items()}
        self.describe_rows(self.tables or self.files, target)

    def read(self, split: str, unusable: Unusable) -> list[TextRecord]:
        if split not in self.tables:
            return self.of_files(split, self.files[split], unusable)
        for sentence in parts_said({split: self.files.get(split, ())}):
            self.note(sentence)
        rows_of = self.tables[split]
        for column in self.columns.text if split != self.train else self.columns.all:
            if column not in rows_of.column_names:
                raise DataError(
                    f"{self._where()}: {split} has no column {column!r} ({', '.join(rows_of.column_names)})"
                )
        names = getattr(rows_of.features.get(self.columns.label), "names", None)
        count = rows_of.num_rows
        values = [list(rows_of[name]) if name in rows_of.column_names else [None] * count for name in self.columns.all]
        rows = []
        for i, row in enumerate(zip(*values, strict=True)):
            record = self._row(f"{self._where()}: {split} row {i}", row, names)
            if isinstance(record, RowError):
                unusable(record)
            else:
                rows.append(record)
        return rows

    def _row(self, where: str, values: Sequence[Any], names: Sequence[str] | None) -> TextRecord | RowError:
        try:
            for name, value in zip(self.columns.all, values, strict=True):
                check_single(value, name, where)
        except RowError as error:
            return error
        texts = tuple(_text(value) for value in values[: len(self.columns.text)])
        if not all(texts):
            return RowError(where, f"column {self.columns.text[texts.index('')]!r} holds no text")
        if self.columns.label is None:
            return TextRecord(texts, None, where)
        label = values[-1]
        if names is not None:
            return TextRecord(
                texts, nfc(names[label]) if label is not None and 0 <= label < len(names) else None, where
            )
        return TextRecord(texts, nfc(_text(label)) or None, where)

    def _where(self) -> str:
        return f"dataset.name={self.name}" if self.root is None else f"dataset.root={self.root}"


def _text(value: Any) -> str:
    """A cell without blanks around it; empty where it is missing."""
    return "" if value is None or value != value else str(value).strip()


def _is_saved(root: Path) -> bool:
    return (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()


def _is_parquet(files: Sequence[Path]) -> bool:
    return files[0].suffix.lower() == PARQUET


def _files(root: Path) -> dict[str, list[Path]]:
    """Split -> its files, which stand in the folder or in one called `data`; a file by itself is train."""
    inner = root / "data"
    folder = inner if inner.is_dir() and not any(map(_split_of, root.iterdir())) else root
    if folder.is_dir() and not find_splits(folder, _split_of):
        raise DataError(f"dataset.root={root}: {MISSING}")
    files = split_files(folder, _split_of, "a folder")
    kinds = {_is_parquet([file]) for parts in files.values() for file in parts}
    if len(kinds) > 1:
        raise DataError(f"dataset.root={root}: holds files of several formats (parquet, and csv or json)")
    return {"train": files[""]} if "" in files else files


def _split_of(file: Path) -> str | None:
    if file.suffix.lower() == PARQUET:
        return split_by_stem(file)
    return None if file.stem.endswith(("_info", "_infos")) else split_of(file)


def _open(
    where: str, name: str | None, subset: str | None, root: Path | None, files: Mapping[str, Sequence[Path]]
) -> Any:
    """Split -> table."""
    library = _library()
    try:
        if root is None:
            return dict(library.load_dataset(name, subset))
        if files:
            parts = {split: [str(file) for file in found] for split, found in files.items()}
            return dict(library.load_dataset("parquet", data_files=parts))
        if (root / "dataset_dict.json").is_file():
            return dict(library.load_from_disk(str(root)))
        return {"train": library.load_from_disk(str(root))}
    except (OSError, ValueError, library.exceptions.DatasetsError) as error:
        raise DataError(f"{where}: can't be read ({first_line(error)})") from error


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
