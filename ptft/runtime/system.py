"""Errors of the operating system, each turned into one line and an exit code, and files that are written whole.

Who writes a file of a run does so by `writing` or `write_text`; what was foreseen nowhere is turned by `understood`.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import signal
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError, ConfigError, DataError, PtftError, ResourceError, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HANDLES = (errno.EMFILE, errno.ENFILE)
MEMORY = ("can't allocate memory", "Cannot allocate memory", "failed to map segment", "bad_alloc")
"""Words for too little memory, of torch, of the C library, of the loader of shared libraries and of C++."""
OUT_OF_MEMORY = (
    "out of memory; lower train.batch_size, or cut each batch into parts: train.batch_size=auto finds the largest that "
    "fit, train.accumulate=N makes so many of them, also of a run that goes on (resume=)"
)
PROCESSES = ("can't start new thread", "pthread_create")
TOO_MANY_FILES = (
    "too many open files; raise the limit (ulimit -n), or lower train.workers and compare.processes "
    "(train.workers=0 needs the fewest)"
)
NO_TWIN = re.compile(r"^(.+?) does not have a deterministic implementation")
"""What torch says of a kernel that `train.deterministic=true` excludes."""
UNSENT = 75
"""Exit code of a reading process that can't send what it read, for lack of handles."""
READERS: dict[str, tuple[type[PtftError], str]] = {
    "data": (DataError, "check dataset.root or input"),
    "builders": (DataError, "check dataset.root or input"),
    "models": (CheckpointError, "choose another ckpt"),
    "checkpoint": (CheckpointError, "choose another ckpt"),
    "config": (ConfigError, "check the path that was typed, and ./conf"),
    "config/instantiate.py": (DataError, "check dataset.root or input"),
}
"""Who reads: what it means that they can't, and what to do."""


@contextlib.contextmanager
def writing(path: Path, remedy: str = "choose another hydra.run.dir") -> Iterator[None]:
    """Inside, what the system says of `path` (or what lies in it) becomes a StorageError, of too many handles a
    ResourceError."""
    try:
        yield
    except OSError as error:
        raise (_of_machine(error) or _unwritable(path, error, remedy)) from error


@contextlib.contextmanager
def written_whole(path: Path, remedy: str = "choose another hydra.run.dir") -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` at the end: nobody sees half a file.

    Raises StorageError, and leaves nothing beside `path` then.
    """
    aside = path.with_name(f".{path.name[:50]}.{os.getpid()}")
    try:
        with writing(path, remedy):
            yield aside
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, remedy: str = "choose another hydra.run.dir") -> None:
    """Write a text whole; what UTF-8 can't hold is escaped. Raises StorageError as `written_whole` does."""
    with written_whole(path, remedy) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def finite(content: Any) -> Any:
    """The same dicts and lists with None for numbers that are not finite, which JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def understood(error: BaseException, own_folders: tuple[Path, ...] = ()) -> PtftError | None:
    """What the system or the machine refused, in one line; None for every other error, which is a bug.

    own_folders: folders that this process writes in; what it can't use there is a matter of storage.
    """
    if isinstance(error, DataError | CheckpointError) and error.__cause__:  # a file that is well, but could not be read
        return _of_machine(error.__cause__) or error
    if isinstance(error, PtftError):
        return error
    if machine_error := _of_machine(error):
        return machine_error
    if isinstance(error, RuntimeError) and (named := NO_TWIN.match(str(error))):
        return ConfigError(f"train.deterministic=true: torch has no {named[1]} that repeats itself; set it to false")
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.filename is None and error.errno not in (*FULL, errno.EROFS, errno.EIO, errno.ENOENT, errno.ESTALE):
        return None  # of connections and the like
    where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    inside = where is not None and any(where.absolute().is_relative_to(folder) for folder in own_folders)
    kind, remedy = next((READERS[name] for name in _place(error) if name in READERS), (None, ""))
    if inside or kind is None or error.errno in (*FULL, errno.EROFS):
        return _unwritable(where, error, "choose another hydra.run.dir")
    return kind(f"{where or 'a file'}: can't be read ({error.strerror}); {remedy}")


def worker_failure(error: BaseException, exit_codes: Iterable[int] = ()) -> ResourceError | None:
    """What DataLoader says of a lost worker, in our words; None where the error is another.

    exit_codes: of the workers, where they are known: DataLoader does not always say which signal it was.

    A dead worker interrupts the main process wherever it is.
    """
    text, codes = str(error), list(exit_codes)
    killed = [code for code in codes if code < 0]
    if UNSENT in codes or f"exit code {UNSENT}." in text:
        return ResourceError(TOO_MANY_FILES)
    if timed := re.search(r"DataLoader timed out after (\d+)", text):
        message = f"a reading process gave no batch for {timed[1]} s; train.workers=0 shows where it hangs"
        return ResourceError(message)
    if not re.search(r"DataLoader (worker \(pid|lost)", text) and not killed:
        return None
    named = re.search(r"by signal: (.+?)\.", text)
    names = [named[1]] if named else [signal.strsignal(-code) for code in killed]
    how = f"was ended by a signal ({names[0]})" if names else "died"
    lack = "memory" if names else "memory or of open files (ulimit -n)"
    return ResourceError(
        f"a reading process {how}, perhaps for lack of {lack}; try fewer train.workers (train.workers=0 reads here)"
    )


def _of_machine(error: BaseException) -> ResourceError | None:
    """Limits of the machine or of the process: memory, handles, threads, processes that were ended."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if "unable to allocate shared memory" in text or ("shared memory" in text and "No space left" in text):
        return ResourceError(
            "too little shared memory (/dev/shm) for what reading processes hand on; lower train.workers "
            "(0 reads here, and needs none) or train.batch_size, or give the container more (--shm-size)"
        )
    if number in HANDLES or any(words in text for words in ("Too many open files", "ancdata")):
        return ResourceError(TOO_MANY_FILES)
    if number == errno.EAGAIN or any(words in text for words in PROCESSES):
        return ResourceError("no further process or thread can be started (ulimit -u); lower train.workers")
    if lacks_memory(error):
        return ResourceError(OUT_OF_MEMORY)
    return worker_failure(error) if isinstance(error, RuntimeError) else None


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that memory, of the machine or of a device, did not suffice."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    named = type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in MEMORY))


def _unwritable(path: Path | None, error: OSError, remedy: str) -> StorageError:
    free = "free some space or " if error.errno in FULL else ""
    return StorageError(f"{path or 'a file'}: can't be written ({error.strerror or error}); {free}{remedy}")


def _place(error: BaseException) -> tuple[str, ...]:
    """The file of ptft in which it happened, the innermost of the trace, and its package."""
    root = Path(__file__).resolve().parents[1]
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(root):
            relative = path.relative_to(root)
            return relative.as_posix(), relative.parts[0]
    return ()
