"""The IDX files of MNIST and its like, plain or gzipped (LeCun et al., http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ptft.errors import DataError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of every split."""

_UINT8 = 0x08


def missing(folder: Path, split: str) -> list[str]:
    """The files of the split that are in `folder` neither plain nor gzipped."""
    return [name for name in FILES[split] if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file()]


def read(path: Path) -> Tensor:
    """The uint8 tensor in `path`, or in `path`.gz. Raises DataError naming a file that is truncated or no IDX file."""
    path = path if path.is_file() else path.with_name(f"{path.name}.gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable ({error}); delete it to fetch it again (dataset.root)") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UINT8 or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path}: not an IDX file of bytes; delete it to fetch it again (dataset.root)")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    start = 4 + 4 * len(shape)
    if len(data) - start != math.prod(shape):
        held = f"{len(data) - start} of {math.prod(shape)} bytes"
        raise DataError(f"{path}: incomplete, {held}; delete it to fetch it again (dataset.root)")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())


def write(name: str, folder: Path, split: str, images: Tensor, labels: Tensor) -> None:
    """Write uint8 [N, 1, H, W] and labels [N] as the gzipped files of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, values in zip(FILES[split], (images.squeeze(1), labels.to(torch.uint8)), strict=True):
        header = bytes([0, 0, _UINT8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (folder / f"{file}.gz").write_bytes(gzip.compress(header + values.numpy().tobytes()))
