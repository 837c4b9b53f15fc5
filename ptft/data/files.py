"""Files of one kind below a path, and what tells two sets of them apart. Nothing is decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path

from ptft.errors import DataError


def find(path: Path | str, suffixes: frozenset[str]) -> list[Path]:
    """The files with one of `suffixes` at `path` (a file, a folder with everything below it, or a glob), sorted.

    A file named directly counts whatever its suffix. Hidden files and folders are ignored; links are followed unless
    they lead back into a folder they lie in. Empty where there is nothing.
    """
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(_walk(path, suffixes, frozenset()))
    matches = map(Path, glob(str(path), recursive=True))
    return sorted(match for match in matches if counts(match.name, suffixes) and match.is_file())


def counts(name: str, suffixes: frozenset[str]) -> bool:
    """Whether a file of this name is one of them."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes


def _walk(folder: Path, suffixes: frozenset[str], above: frozenset[str]) -> Iterator[Path]:
    """Files below `folder`; `above` holds the real paths of the folders it lies in."""
    above |= {os.path.realpath(folder)}
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink() or not _holds_any(os.path.realpath(entry.path), above):
                yield from _walk(Path(entry.path), suffixes, above)
        elif counts(entry.name, suffixes) and entry.is_file():
            yield Path(entry.path)


def leads_back(path: Path) -> bool:
    """Whether a path is a link to a folder that it lies in itself, so that all below it would count again."""
    return path.is_symlink() and _holds_any(os.path.realpath(path), {os.path.realpath(path.parent)})


def _holds_any(folder: str, inside: Iterable[str]) -> bool:
    """Whether one of `inside` is the folder or lies in it; real paths all."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for path in inside)


def digests(paths: Sequence[Path], root: Path) -> tuple[bytes, bytes]:
    """Of names (relative to `root`) and sizes in bytes; of names, sizes and times of change.

    In one pass, because a million files take seconds.
    """
    sizes, times, above = hashlib.sha256(), hashlib.sha256(), f"{root}{os.sep}"
    for path in map(str, paths):
        plain = path.startswith(above) and ".." not in path
        name = path[len(above) :] if plain else os.path.relpath(path, root)
        try:
            status = os.stat(path)
        except OSError:
            status = None
        text = f"{name}\0{status.st_size if status else -1}\0".encode("utf-8", "surrogateescape")
        sizes.update(text)
        times.update(text + f"{status.st_mtime_ns if status else -1}\0".encode())
    return sizes.digest(), times.digest()


def read_file(path: Path) -> str:
    """Its text. Raises DataError naming the file where it can't be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start} can't be decoded)") from error
