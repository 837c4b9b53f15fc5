"""Checkpoints read without torch: a zip archive of a pickle and of raw storages, with its digest in the comment.

The pickle is read by an unpickler that makes plain values and arrays of it and knows nothing else: no code runs.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ptft.errors import CheckpointError, first_line
from ptft.runs.lineage import LENGTH, MARK, stored_digest

END = b"PK\x05\x06"
"""Signature of a zip archive's last record: 22 bytes, of which the last two hold the length of the comment."""
DTYPES = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": "u2",  # the upper half of a float32
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "ComplexDouble": "c16",
    "ComplexFloat": "c8",
}
"""NumPy's name of what a storage of torch's holds."""


def inspect(path: Path) -> tuple[str | None, str]:
    """The digest of a whole ptft checkpoint, None for another kind of file; and what is wrong with a broken one.

    Raises OSError.
    """
    with path.open("rb") as file:  # once: a run that trains may put another in its place at any time
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return None, "the file is empty"
        head = file.read(4)
        file.seek(max(0, size - 22 - 65535))
        tail = file.read()
        if not head.startswith(b"PK"):
            return None, ""
        at = tail.rfind(END)
        if at < 0 or len(tail) - at - 22 != int.from_bytes(tail[at + 20 : at + 22], "little"):
            return None, "the file is incomplete; its end is missing"
        comment = tail[at + 22 :]
        if not re.fullmatch(re.escape(MARK) + rb"[0-9a-f]{%d}" % LENGTH, comment):
            return None, ""
        stored = comment[len(MARK) :].decode()
        if digest(file, size - len(comment) - 2) != stored:
            return None, "the digest differs, so the file was changed or damaged"
    return stored, ""


def digest(file: IO[bytes], left: int) -> str:
    """sha256 of so many bytes of an open file, from its beginning."""
    found = hashlib.sha256()
    file.seek(0)
    while left and (chunk := file.read(min(left, 1 << 22))):
        found.update(chunk)
        left -= len(chunk)
    return found.hexdigest()


@dataclass(frozen=True)
class Storage:
    """Raw values in the archive: its entry, what they are, and how many."""

    key: str
    kind: str
    size: int


@dataclass(frozen=True)
class Stored:
    """A tensor in the archive: where in its storage, and how it lies there. Nothing of it is read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Archive:
    """What a checkpoint of ptft's holds: `content`, plain values with a `Stored` for each tensor, and the `sha256`.

    whole: whether it is read to its end to see that the digest is its own; where not, what is plain is still checked.
    Raises CheckpointError: missing, broken, no checkpoint of ptft, or with anything but plain values and tensors.
    """

    def __init__(self, path: Path, *, whole: bool = True) -> None:
        self.path = path
        try:
            sha256, broken = inspect(path) if whole else (stored_digest(path), "")
            if broken or sha256 is None:
                raise CheckpointError(f"{path}: {broken or 'is no checkpoint of ptft'}")
            self.sha256 = sha256
            with zipfile.ZipFile(path) as archive:
                self.entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
                self.content = self._unpickled(archive.read(self.entries["data.pkl"]))
                order = self.entries.get("byteorder")
                self.order: Literal["<", ">"] = ">" if order and archive.read(order) == b"big" else "<"
        except OSError as error:
            raise CheckpointError(f"{path}: can't be read ({error.strerror})") from error
        except (zipfile.BadZipFile, KeyError) as error:
            raise CheckpointError(f"{path}: is no checkpoint of ptft ({first_line(error)})") from error

    def _unpickled(self, data: bytes) -> dict[str, Any]:
        try:
            content = _Unpickler(io.BytesIO(data)).load()
        except Exception as error:  # damaged bytes make an unpickler raise anything at all
            raise CheckpointError(f"{self.path}: can't be read ({first_line(error, 100)})") from error
        if not isinstance(content, dict) or content.get("format") != "ptft":
            raise CheckpointError(f"{self.path}: is no checkpoint of ptft")
        return content

    @property
    def weights(self) -> dict[str, Stored]:
        found = self.content.get("weights")
        named = found.items() if isinstance(found, Mapping) else ()
        return {str(name): value for name, value in named if isinstance(value, Stored)}

    def array(self, tensor: Stored) -> np.ndarray:
        """Its values, read from the file; bfloat16 as float32. Raises CheckpointError where they are not all there."""
        storage = tensor.storage
        entry = self.entries.get(f"data/{storage.key}")
        dtype = np.dtype(DTYPES[storage.kind]).newbyteorder(self.order)
        reach = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True)) + 1
        lies = min((tensor.offset, *tensor.shape, *tensor.stride), default=0) >= 0
        whole = entry is not None and entry.compress_type == zipfile.ZIP_STORED
        if not (whole and lies and entry and entry.file_size >= storage.size * dtype.itemsize):
            raise CheckpointError(f"{self.path}: the values of a tensor are not all there")
        if tensor.size == 0:
            return np.zeros(tensor.shape, dtype)
        if reach > storage.size:
            raise CheckpointError(f"{self.path}: the values of a tensor are not all there")
        raw = np.memmap(self.path, np.uint8, "r", self._begin(entry), (storage.size * dtype.itemsize,)).view(dtype)
        strides = tuple(step * dtype.itemsize for step in tensor.stride)
        values = np.lib.stride_tricks.as_strided(raw[tensor.offset :], tensor.shape, strides, writeable=False)
        if storage.kind == "BFloat16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    def _begin(self, entry: zipfile.ZipInfo) -> int:
        """Where in the file its bytes begin, behind a header of its own."""
        with self.path.open("rb") as file:
            file.seek(entry.header_offset + 26)
            lengths = file.read(4)
        name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
        return entry.header_offset + 30 + name + extra


class _Unpickler(pickle.Unpickler):
    """Knows dicts in order, tensors and storages; every other name is refused, and none is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _tensor if name == "_rebuild_tensor_v2" else _parameter
        if module == "torch" and name.removesuffix("Storage") in DTYPES:
            return name.removesuffix("Storage")
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and not only values and tensors")

    def persistent_load(self, pid: Any) -> Storage:
        _, kind, key, _, size = pid
        return Storage(str(key), str(kind), int(size))


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Stored:
    return Stored(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _parameter(data: Stored, *_: Any) -> Stored:
    return data


@dataclass(frozen=True)
class Distance:
    """How far the weights of a layer lie apart: |A - B| / |A|, with so many values; None where one has none of it.

    why: what can't be compared.
    """

    layer: str
    values: int
    relative: float | None
    why: str = ""


def distances(a: Archive, b: Archive) -> Iterator[Distance]:
    """Of every layer of either, in A's order; a layer is all of a tensor's name but its last part."""
    ours, theirs = a.weights, b.weights
    layers: dict[str, list[str]] = {}
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    for layer, names in layers.items():
        values = sum((ours.get(name) or theirs[name]).size for name in names)
        if why := _unlike(ours, theirs, names):
            yield Distance(layer, values, None, why)
            continue
        between = length = 0.0
        for name in names:
            one, other = (archive.array(archive.weights[name]).ravel() for archive in (a, b))
            between += _squares(one, other)
            length += _squares(one, None)
        yield Distance(layer, values, math.sqrt(between / length) if length else math.inf if between else 0.0)


def _unlike(ours: Mapping[str, Stored], theirs: Mapping[str, Stored], names: list[str]) -> str:
    if only := [name for name in names if name not in theirs]:
        return "only in A" if len(only) == len(names) else f"{only[0]} only in A"
    if only := [name for name in names if name not in ours]:
        return "only in B" if len(only) == len(names) else f"{only[0]} only in B"
    shapes = [(ours[name].shape, theirs[name].shape) for name in names if ours[name].shape != theirs[name].shape]
    return f"{_shape(shapes[0][0])} in A, {_shape(shapes[0][1])} in B" if shapes else ""


def _squares(one: np.ndarray, other: np.ndarray | None) -> float:
    """Of the differences, or of the values, in pieces that take little memory."""
    total = 0.0
    for i in range(0, len(one), 1 << 20):
        piece = one[i : i + (1 << 20)].astype(np.float64)
        piece -= 0.0 if other is None else other[i : i + (1 << 20)].astype(np.float64)
        total += float(np.dot(piece, piece))
    return total


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"
