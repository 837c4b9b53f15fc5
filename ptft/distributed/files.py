"""Tensors of which each process has a part, in a folder: torch's distributed checkpoints.

Any number of processes reads what any number wrote, and one that nobody started does too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import empty as empty_parts

METADATA = ".metadata"
"""What is where; written last."""


def write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """All processes write what they have, into a folder that all of them reach, down to the disk. Raises OSError."""
    with _said():
        save(tensors, storage_writer=FileSystemWriter(folder))


def read(folder: Path, shapes: Mapping[str, tuple[torch.Size, torch.dtype]], like: Tensor) -> dict[str, Tensor]:
    """Tensors by name, cut as `like` is; whole where that is. Raises OSError."""
    tensors = {name: _empty(shape, dtype, like) for name, (shape, dtype) in shapes.items()}
    with _said():
        load(tensors, storage_reader=FileSystemReader(folder), no_dist=not isinstance(like, DTensor))
    return tensors


def files_of(folder: Path, rank: int) -> list[Path]:
    """Those that a process wrote."""
    written = [file for file in folder.iterdir() if file.name.startswith(f"__{rank}_")]
    return sorted([*written, folder / METADATA] if rank == 0 else written)


def _empty(shape: torch.Size, dtype: torch.dtype, like: Tensor) -> Tensor:
    if isinstance(like, DTensor):
        part: Tensor = empty_parts(shape, dtype=dtype, device_mesh=like.device_mesh, placements=like.placements)
        return part
    return torch.empty(shape, dtype=dtype)


@contextmanager
def _said() -> Iterator[None]:
    """What failed in any of the processes, as the first of them says it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nobody started others
            yield
    except CheckpointException as failed:
        causes = [cause for cause, _ in failed.failures.values()]
        found = next((cause for cause in causes if isinstance(cause, OSError)), causes[0])
        raise OSError(getattr(found, "errno", None), getattr(found, "strerror", None) or str(found)) from failed
