"""Cells of a table that hold a picture or a recording, as files in all that readers ask of them: they are opened.

Their bytes stay in the mapped file of the table until then. Axes: N rows of a table.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b, sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ptft.data import files
from ptft.data.files import nfc

WHOLE = 2**30
"""Bytes of a column up to which its digest is of all of them, and …"""
PIECE = 2**16
"""… of which pieces beyond, evenly spread."""
BYTES, PATH = "bytes", "path"
"""What a cell holds: an encoded file, and what it was called; either may be missing."""


class MediaColumn:
    """The pictures or recordings of one table.

    table: of the library. name: of the column. places: the first row of each file that the table was read from, and
    what to call it, so that a row is named by its number in its file.
    """

    def __init__(self, table: Any, name: str, places: Sequence[tuple[int, str]]) -> None:
        self.table, self.name, self.places = table.data, name, tuple(places)
        self.files = tuple(str(each["filename"]) for each in table.cache_files)
        self.firsts = [first for first, _ in self.places]

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which maps the table's file itself."""
        return {key: value for key, value in vars(self).items() if key not in ("_parts", "digest", "filled")}

    @cached_property
    def _parts(self) -> tuple[list[Any], list[Any] | None, list[int]]:
        """Chunks of bytes, of paths, and the first row of each."""
        column = self.table.column(self.name)
        fields = {BYTES: column}
        if hasattr(column.type, "get_field_index"):
            names = [column.type.field(i).name for i in range(column.type.num_fields)]
            fields = dict(zip(names, column.flatten(), strict=True))
        chunks = fields[BYTES].chunks
        firsts = np.cumsum([0, *map(len, chunks)])[:-1].tolist()
        return chunks, fields[PATH].chunks if PATH in fields else None, firsts

    def where(self, row: int) -> str:
        """ "data/train-00000-of-00002.parquet row 17"."""
        first, name = self.places[bisect_right(self.firsts, row) - 1]
        return f"{name} row {row - first}"

    def file(self, row: int) -> Path:
        """The file that a row stands in."""
        return Path(self.places[bisect_right(self.firsts, row) - 1][1])

    def read(self, row: int) -> bytes | None:
        chunks, _, firsts = self._parts
        part = bisect_right(firsts, row) - 1
        value: bytes | None = chunks[part][row - firsts[part]].as_py()
        return value

    def path(self, row: int) -> str | None:
        _, parts, firsts = self._parts
        if parts is None:
            return None
        part = bisect_right(firsts, row) - 1
        value: str | None = parts[part][row - firsts[part]].as_py()
        return value

    @cached_property
    def filled(self) -> np.ndarray:
        """Bool [N], which rows hold bytes."""
        held = [
            (np.diff(_offsets(chunk)[0]) > 0) & chunk.is_valid().to_numpy(zero_copy_only=False)
            for chunk in self._parts[0]
        ]
        return np.concatenate([np.zeros(0, bool), *held])

    @cached_property
    def digest(self) -> bytes:
        """Of the length of every row and of what they hold: up to WHOLE bytes of everything, beyond of pieces."""
        digest, place = sha256(), 0
        parts = [_offsets(chunk) for chunk in self._parts[0]]
        step = PIECE * max(1, sum(len(data) for _, data in parts) // WHOLE)
        for offsets, _ in parts:
            digest.update(np.diff(offsets).astype(np.int64).tobytes())
        for _, data in parts:
            if step == PIECE:
                digest.update(data)
            else:
                for at in range(-place % step, len(data), step):
                    digest.update(data[at : at + PIECE])
            place += len(data)
        return digest.digest()


def _offsets(chunk: Any) -> tuple[np.ndarray, memoryview]:
    """Where each row begins and ends, [n + 1], and the bytes of all rows of a chunk."""
    wide = str(chunk.type).startswith("large")
    if not len(chunk):
        return np.zeros(1, np.int64), memoryview(b"")
    _, ends, data = chunk.buffers()
    offsets = np.frombuffer(ends, np.int64 if wide else np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return offsets, memoryview(b"" if data is None else data)[int(offsets[0]) : int(offsets[-1])]


class Cell:
    """What a row of a `MediaColumn` holds; it is opened and named as a file is."""

    __slots__ = ("column", "row")

    def __init__(self, column: MediaColumn, row: int) -> None:
        self.column, self.row = column, row

    def __str__(self) -> str:
        return self.column.where(self.row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and (self.column, self.row) == (other.column, other.row)

    def __hash__(self) -> int:
        return hash((id(self.column), self.row))

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """Its bytes, to be read as a file's."""
        return BytesIO(self.column.read(self.row) or b"")

    @property
    def suffix(self) -> str:
        """Of what the file was called; "" where nobody knows."""
        return os.path.splitext(self.column.path(self.row) or "")[1].lower()

    def content(self) -> str:
        """A digest of all that it holds."""
        return blake2b(self.column.read(self.row) or b"", digest_size=8).hexdigest()


File = Path | Cell
"""Where a picture or a recording is read from."""


def stream(file: Path | str | Cell) -> Any:
    """What a decoder is handed: the path of a file, or the bytes of a cell."""
    return file.open() if isinstance(file, Cell) else file


def known_by(items: Sequence[File], root: Path) -> list[str]:
    """What each is known by, whatever else is there: a file by its place below the root, a cell by what its file was
    called where no other is, else by its content."""
    names = [
        nfc(item.column.path(item.row) or "") if isinstance(item, Cell) else files.relative(item, root)
        for item in items
    ]
    count = Counter(names)
    return [
        item.content() if isinstance(item, Cell) and (not name or count[name] > 1) else name
        for item, name in zip(items, names, strict=True)
    ]


def digests(items: Sequence[File], root: Path) -> tuple[bytes, bytes]:
    """As `files.digests`; of cells the content, and the times of change of the table's files."""
    by_column: dict[MediaColumn, list[int]] = {}
    for item in items:
        if isinstance(item, Cell):
            by_column.setdefault(item.column, []).append(item.row)
    sizes, times = files.digests([item for item in items if isinstance(item, Path)], root)
    for column, rows in by_column.items():
        content = column.digest + np.array(rows, np.int64).tobytes()
        sizes = sha256(sizes + content).digest()
        changed = files.digests([Path(file) for file in column.files], root)[1]
        times = sha256(times + content + changed).digest()
    return sizes, times
