"""Tables of the package datasets: from Parquet files, from what it saved, or from the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

from ptft.errors import DataError, first_line, not_imported, shortened
from ptft.runtime.paths import relative

NOTED = 1.0
"""GiB from which on it is said that they are kept twice."""


def open_tables(
    where: str, name: str | None, subset: str | None, root: Path | None, files: Mapping[str, Sequence[Path]]
) -> dict[str, list[Any]]:
    """Split -> its tables."""
    if files:
        return {split: of_parquet(parts) for split, parts in files.items()}
    library = _library()
    try:
        if root is None:
            tables = dict(library.load_dataset(name, subset))
        elif (listed := root / "dataset_dict.json").is_file():
            splits = json.loads(listed.read_text(encoding="utf-8"))["splits"]
            tables = {split: _saved(library, root / split) for split in splits}
        else:
            tables = {"train": _saved(library, root)}
    except (OSError, ValueError, LookupError, TypeError, library.exceptions.DatasetsError) as error:
        raise DataError(f"{where}: can't be read ({first_line(error)})") from error
    return {split: [table] if table is not None and table.num_rows else [] for split, table in tables.items()}


def _saved(library: Any, folder: Path) -> Any:
    """The table that save_to_disk wrote in a folder; None of one without rows, which the library may not read."""
    if not json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]:
        return None
    return library.load_from_disk(str(folder))


def of_parquet(files: Sequence[Path]) -> list[Any]:
    """The tables of a split's files, as of `parts_of_parquet`."""
    return [table for table, _ in parts_of_parquet(files)]


def parts_of_parquet(files: Sequence[Path]) -> list[tuple[Any, list[tuple[Path, int]]]]:
    """The tables of a split's files, each of as many as say the same of their columns; without those that are empty.
    With each the files that it was read from, and how many rows they have.

    The library would read all of them by what the first one says, and take its classes for those of the others.
    """
    library = _library()
    from pyarrow import dataset  # comes with datasets

    in_parts = dataset.ParquetFragmentScanOptions(pre_buffer=False)  # else all of a file is in memory at once
    described = [(file, *_column_info(file)) for file in files]
    tables = []
    for _, group in groupby((each for each in described if each[2]), lambda each: each[1]):
        counts = [(file, count) for file, _, count in group]
        parts = [str(file) for file, _ in counts]
        try:
            table = _built(parts, in_parts)
        except (OSError, ValueError, library.exceptions.DatasetsError) as error:
            cause = error.__cause__ or error
            raise DataError(f"{shortened(parts)}: can't be read ({first_line(cause)})") from error
        if table.num_rows != (total := sum(count for _, count in counts)):
            raise DataError(
                f"{shortened(parts)}: {table.num_rows:,} rows were read, where there are {total:,}; try again"
            )
        tables.append((table, counts))
    return tables


def _built(files: Sequence[str], in_parts: Any) -> Any:
    """The table of Parquet files: as `load_dataset` makes it, but of these names as they are, which it takes for
    patterns, and anew where a file is another one of the same time, by which alone it knows what it has made before."""
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.parquet.parquet import Parquet

    known = [(f"{(status := os.stat(file)).st_mtime_ns} {status.st_size} {_footer_digest(file)}",) for file in files]
    named = DataFilesDict({"train": DataFilesList([os.path.abspath(file) for file in files], known)})
    builder = Parquet(data_files=named, fragment_scan_options=in_parts)
    builder.download_and_prepare()
    return builder.as_dataset("train")


def _footer_digest(file: str) -> str:
    """Of a Parquet file's last bytes, which say where its parts lie, how long they are and what their values span."""
    with open(file, "rb") as opened:
        opened.seek(-8, os.SEEK_END)
        length = int.from_bytes(opened.read(4), "little")
        opened.seek(max(0, os.path.getsize(file) - 8 - length))
        return blake2b(opened.read(), digest_size=16).hexdigest()


def kept_notes(files: Sequence[Path]) -> list[str]:
    """What to say of Parquet files that take much room: the library keeps all of them a second time."""
    size = sum(file.stat().st_size for file in files) / 2**30
    if size < NOTED:
        return []
    where = relative(str(_library().config.HF_DATASETS_CACHE))
    return [f"the library datasets keeps these {size:,.1f} GiB as Arrow files in {where} as well (HF_DATASETS_CACHE)"]


def write_parquet(file: Path, kind: str, media: Sequence[bytes], labels: Sequence[str]) -> None:
    """A Parquet file of encoded pictures (kind: image) or recordings (audio) and their classes, as the hub has them."""
    library = _library()
    import pyarrow  # comes with datasets
    from pyarrow import parquet

    names = sorted(set(labels))
    column = library.Image() if kind == "image" else library.Audio()
    features = library.Features({kind: column, "label": library.ClassLabel(names=names)})
    cells = [{"bytes": each, "path": f"{i}.{kind}"} for i, each in enumerate(media)]
    values = {kind: cells, "label": [names.index(label) for label in labels]}
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pydict(values, schema=features.arrow_schema), file)


def _column_info(file: Path) -> tuple[str, int]:
    """What a Parquet file tells the library of its columns, and how many rows it has. Raises DataError naming it."""
    from pyarrow import parquet  # comes with datasets

    try:
        footer = parquet.read_metadata(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read ({first_line(error)})") from error
    column_info = (footer.metadata or {}).get(b"huggingface", b"{}")
    return column_info.decode("utf-8", "replace"), int(footer.num_rows)


def _library() -> Any:
    """The package, without its bars; where the hub does not answer it must not ask for minutes."""
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
    try:
        import datasets
    except ImportError as error:
        needs = "datasets of Hugging Face need the package datasets"
        raise not_imported(needs, "datasets", "'ptft[huggingface]'", error) from error
    datasets.disable_progress_bars()
    return datasets
