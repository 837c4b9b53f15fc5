"""The IDX files of MNIST and its like, plain or gzipped (LeCun et al., http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from ptft.errors import DataError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of every split."""

_UINT8 = 0x08
_DEFLATED = 1032
"""The most bytes that one byte of a gzipped file can become, so that no header makes us take absurd memory."""
_CHUNK = 2**20


def missing(folder: Path, split: str) -> list[str]:
    """The files of the split that are in `folder` neither plain nor gzipped."""
    return [name for name in FILES[split] if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file()]


def read(path: Path) -> Tensor:
    """The uint8 tensor in `path`, or in `path`.gz. Raises DataError naming a file that is truncated or no IDX file."""
    path = path if path.is_file() else path.with_name(f"{path.name}.gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable ({error}); delete it to fetch it again (dataset.root)") from error


def _read(path: Path, file: IO[bytes] | gzip.GzipFile) -> Tensor:
    """Chunk by chunk into the tensor, so that a million images are never held twice."""
    head = file.read(4)
    sizes = file.read(4 * head[3]) if len(head) == 4 else b""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UINT8 or len(sizes) < 4 * head[3]:
        raise DataError(f"{path}: not an IDX file of bytes; delete it to fetch it again (dataset.root)")
    shape = struct.unpack(f">{head[3]}I", sizes)
    wanted, got = math.prod(shape), 0
    possible = path.stat().st_size * (_DEFLATED if path.suffix == ".gz" else 1)
    values = torch.empty(min(wanted, possible), dtype=torch.uint8)
    while chunk := file.read(min(_CHUNK, len(values) - got)):
        values[got : got + len(chunk)] = torch.frombuffer(bytearray(chunk), dtype=torch.uint8)
        got += len(chunk)
    if got < wanted or file.read(1):
        held = f"{got} of {wanted} bytes" if got < wanted else f"more than its {wanted} bytes"
        raise DataError(f"{path}: incomplete, {held}; delete it to fetch it again (dataset.root)")
    return values.view(shape)


def write(name: str, folder: Path, split: str, images: Tensor, labels: Tensor) -> None:
    """Write uint8 [N, 1, H, W] and labels [N] as the gzipped files of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, values in zip(FILES[split], (images.squeeze(1), labels.to(torch.uint8)), strict=True):
        header = bytes([0, 0, _UINT8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (folder / f"{file}.gz").write_bytes(gzip.compress(header + values.numpy().tobytes()))
