"""Checkpoints: one file of plain data, written so that it is always whole, read so that a broken one is noticed.

The file is what `torch.save` writes; the zip archive's comment holds the sha256 of everything before it, so any tool
that reads `.pt` files reads these too. Nothing in them is code: they load with `weights_only=True`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ptft.errors import CheckpointError, StorageError, first_line
from ptft.runs import archive
from ptft.runs.lineage import MARK
from ptft.runtime.process import OneAtATime

FORMAT = "ptft"
VERSION = 1


def write(path: Path, state: Mapping[str, Any]) -> str:
    """Write `state` to `path`: aside, flushed to disk, renamed; an earlier file survives any failure.

    Returns the digest. Raises StorageError with the space needed and free when the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **state}, buffer)
    aside = _aside(path)
    # Released before a traceback holds the buffer: Python 3.13 complains of one that goes while it is viewed.
    with buffer.getbuffer() as data, data[:-2] as body:
        digest = hashlib.sha256(body).hexdigest()
        comment = MARK + digest.encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            with aside.open("wb") as file:
                for part in (body, len(comment).to_bytes(2, "little"), comment):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            _sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise StorageError(
                f"{path}: can't be written ({error.strerror}); it needs {len(data):,} bytes and {_free(path)} are "
                "free; the checkpoint before it is whole; free some space or choose another hydra.run.dir"
            ) from error
    return digest


def _free(path: Path) -> str:
    """Bytes left on the disk of a file, as far as that can be told."""
    try:
        return f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        return "an unknown number"


class CheckpointWriter:
    """Writes checkpoints in the order in which they are given, beside the training that goes on.

    What is given must not change any more. A failure is raised by the next call, or by `wait`.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="ptft-save")
        self.pending: Future[None] | None = None

    def submit(self, *jobs: Callable[[], object]) -> None:
        """Do these one after another, once what was given before is done."""
        self.wait()
        self.pending = self.thread.submit(_in_turn, jobs)

    def wait(self) -> None:
        """Return when everything is on disk. Raises StorageError where it could not be written."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()


def _in_turn(jobs: Iterable[Callable[[], object]]) -> None:
    for job in jobs:
        job()


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` (a copy where the file system has no hard links), in one step.

    Raises StorageError.
    """
    aside = _aside(target)
    try:
        aside.unlink(missing_ok=True)
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
        os.replace(aside, target)
    except OSError as error:
        raise StorageError(f"{target}: can't be written ({error.strerror}); {source} is whole") from error


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The content of a ptft checkpoint and its digest. Tensors are on the CPU, mapped from the file until used.

    Raises CheckpointError: missing, empty, incomplete, changed, unsafe, foreign, or of another version.
    """
    digest = verify(path)
    if digest is None:
        raise CheckpointError(f"{path}: not a ptft checkpoint")
    return content(path), digest


def content(path: Path) -> dict[str, Any]:
    """What a ptft checkpoint holds that was verified. Raises CheckpointError: unsafe, foreign, of another version."""
    state = load(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a ptft checkpoint")
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {state.get('version')}; this ptft reads format {VERSION}; "
            "install the ptft that wrote it"
        )
    return state


def verify(path: Path) -> str | None:
    """The digest of a whole ptft checkpoint, None for another kind of file; raises CheckpointError if broken."""
    digest, broken = archive.inspect(path)
    if broken:
        raise CheckpointError(f"{path}: {broken}{_whole_beside(path)}")
    return digest


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return archive.digest(file, os.fstat(file.fileno()).st_size)


_alone = OneAtATime()
"""Around what a process has one of: filters of warnings, and what torch lets a file hold."""


def load(path: Path, records: Sequence[Any] = ()) -> Any:
    """What `torch.save` wrote, on the CPU and mapped from the file until used; no code.

    records: what may stand beside tensors and plain values, as `torch.serialization.safe_globals` takes it. Raises
    CheckpointError.
    """
    try:
        with _alone, warnings.catch_warnings(), torch.serialization.safe_globals([*records]):
            warnings.simplefilter("ignore")  # of unusual pickle protocols: what can't be read raises
            if not _is_utf8(path):  # torch maps no file of such a name
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damaged bytes make the unpickler raise anything at all
        if not isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(f"{path}: not a checkpoint that can be read ({first_line(error, 100)})") from error
        name = re.search(r"(?:GLOBAL|class|function) ([\w.]+)", str(error))
        what = f" ({name[1]})" if name else ""
        raise CheckpointError(
            f"{path}: refused, because it holds code{what} and not only weights; ask its author for safetensors, or "
            "for what these two lines save where the model was made: `import torch` and "
            '`torch.save(model.state_dict(), "weights.pt")`'
        ) from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_beside(path: Path) -> str:
    """ "; PATH is whole" for the newest whole checkpoint beside a broken one, or nothing; whatever else is there."""
    with contextlib.suppress(OSError):
        for other in sorted(path.parent.glob("*.pt"), key=lambda file: -file.stat().st_mtime):
            with contextlib.suppress(OSError):
                if other != path and archive.inspect(other)[0]:
                    return f"; {other} is whole"
    return ""


def _aside(path: Path) -> Path:
    """Where a file is made before it takes its place.

    A run folder has one writer, so what is there was left by one that was killed. It must be removed and not written
    over, for it may be a link to another checkpoint.
    """
    return path.with_name(f".{path.name}.part")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; file systems that can't open a folder don't need it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
