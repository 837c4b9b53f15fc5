"""The layer between people's files and the rest: which files there are, their text, lines, cells, JSON and names.

A line ends at \\n, \\r\\n or \\r and nowhere else; blanks are spaces and tabs; text is UTF-8, or has a byte order mark;
names are compared in the Unicode form NFC, since a Mac and a Linux machine write them differently.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from ptft.errors import DataError

if TYPE_CHECKING:
    from ptft.data.hub.cells import Cell

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and what they say; that of UTF-32 begins with that of UTF-16."""
BLANKS = " \t"
"""What stands between cells; other characters that look empty are part of a word."""
UNSEEN = "\u200b\u200e\u200f\u2060\ufeff"
"""Spaces and joiners without a width, and marks of direction: around a name they are left from copying it."""
PACKED = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet, e.g. of Excel: unpack it, or save it as CSV"),
    (b"\x1f\x8b", "compressed (gzip): unpack it first"),
    (b"BZh", "compressed (bzip2): unpack it first"),
    (b"\xfd7zXZ\x00", "compressed (xz): unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd): unpack it first"),
    (b"PAR1", "Parquet, which dataset=huggingface reads (or huggingface_images, huggingface_audio)"),
    (b"\xd0\xcf\x11\xe0", "an old Office document: save it as CSV"),
    (b"%PDF", "a PDF"),
)
"""First bytes of files that people take for text, and what to say of them."""
PIECE, MOST = 4096, 20_000
"""Bytes of each of the pieces by which a large file is known again, and of how many files those are read."""
NULS = 1 / 8
"""From this share of zero bytes on a file is no UTF-8 text, though it can be decoded as such."""


def find(path: Path | str, suffixes: frozenset[str], others: list[Path] | None = None) -> list[Path]:
    """The files with one of `suffixes` at `path` (a file, a folder with everything below it, or a glob), sorted.

    A file named directly counts whatever its suffix. Hidden files and folders are ignored; links are followed unless
    they lead back into a folder they lie in. Empty where there is nothing. others: gets the files of a folder or a glob
    that have another suffix, in no order.
    """
    return [Path(name) for name in names(path, suffixes, others)]


def names(path: Path | str, suffixes: frozenset[str], others: list[Path] | None = None) -> list[str]:
    """As `find`, and in its order; a path as text takes a fifth of the memory."""
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        found = list(_walk(path, suffixes, [] if others is None else others))
    else:
        matches = [match for match in map(Path, glob(str(path), recursive=True)) if match.is_file()]
        if others is not None:
            others += [match for match in matches if not counts(match.name, suffixes)]
        found = [str(match) for match in matches if counts(match.name, suffixes)]
    return sorted(found, key=lambda name: name.replace(os.sep, "\0"))  # as paths: folder by folder


def counts(name: str, suffixes: frozenset[str]) -> bool:
    """Whether a file of this name is one of them."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes


def _walk(root: Path, suffixes: frozenset[str], others: list[Path]) -> Iterator[str]:
    """Files below `root`, however deep."""
    left: list[tuple[str, tuple[str, ...]]] = [(str(root), (os.path.realpath(root),))]
    while left:
        folder, above = left.pop()  # above: the real paths that its links may not lead back to
        for entry in os.scandir(folder):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not entry.is_symlink():
                    left.append((entry.path, above))
                elif not _holds_any(real := os.path.realpath(entry.path), (*above, os.path.realpath(folder))):
                    left.append((entry.path, (*above, os.path.realpath(folder), real)))
            elif not counts(entry.name, suffixes):
                others.append(Path(entry.path))
            elif entry.is_file():
                yield entry.path


def leads_back(path: Path) -> bool:
    """Whether a path is a link to a folder that it lies in itself, so that all below it would count again."""
    return path.is_symlink() and _holds_any(os.path.realpath(path), {os.path.realpath(path.parent)})


def _holds_any(folder: str, inside: Iterable[str]) -> bool:
    """Whether one of `inside` is the folder or lies in it; real paths all."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for path in inside)


def relative(path: Path | str | Cell, root: Path | str) -> str:
    """A path as it is seen from `root`, the same on every machine: with slashes, in the form NFC."""
    name, above = str(path), f"{root}{os.sep}"
    plain = name.startswith(above) and ".." not in name
    return nfc((name[len(above) :] if plain else os.path.relpath(name, root)).replace(os.sep, "/"))


def digests(paths: Sequence[Path], root: Path) -> tuple[bytes, bytes]:
    """Of names (relative to `root`) and sizes in bytes; of names, sizes and times of change.

    In one pass, because a million take seconds. Beside a file's own time is the system's: other files may have its own.
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
        times.update(text + (f"{status.st_mtime_ns} {status.st_ctime_ns}\0" if status else "-1\0").encode())
    return sizes.digest(), times.digest()


def identities(paths: Sequence[Path | Cell]) -> list[bytes] | None:
    """8 bytes for each file, from its size and content, of a large one its beginning, middle and end.

    None for more than MOST files, which would take long.
    """
    return [_identity(path) for path in paths] if len(paths) <= MOST else None


def _identity(path: Path | Cell) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(size.to_bytes(8, "little"))
            for place in (0, size // 2, max(0, size - PIECE)) if size > 3 * PIECE else (0,):
                file.seek(place)
                digest.update(file.read(PIECE if size > 3 * PIECE else 3 * PIECE))
    except OSError:
        digest.update(os.fsencode(str(path)))  # like no other
    return digest.digest()


def read_file(path: Path, as_written: bool = False) -> str:
    """Its text, lines ending with \\n unless `as_written`. Raises DataError naming file and line where it is none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    return decoded(raw, path, as_written)


def decoded(raw: bytes, path: Path | str, as_written: bool = False) -> str:
    """As `read_file`, of bytes that were read from `path`."""
    if kind := next((kind for first, kind in PACKED if raw.startswith(first)), None):
        raise DataError(f"{path}: is not text but {kind}")
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = unified(raw[: error.start].decode(encoding, "replace")).count("\n") + 1
        nor_marked = "" if encoding.startswith("utf-8") else f", nor the {encoding.upper()} of its byte order mark"
        raise DataError(
            f"{path}:{line}: is not UTF-8 text{nor_marked} (byte {error.start} can't be decoded); save it as UTF-8"
        ) from error
    if text[:4096].count("\0") > NULS * len(text[:4096]):
        raise DataError(f"{path}: is no text (it holds zero bytes); save it as UTF-8, or UTF-16 with a byte order mark")
    return text if as_written else unified(text)


def unified(text: str) -> str:
    """The same with \\n for every end of a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(path: Path) -> list[str]:
    """The lines of a file of text, without their ends. Raises DataError as `read_file`."""
    lines = read_file(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def cells(line: str) -> list[str]:
    """What stands between blanks, one or several of them."""
    return [cell for cell in re.split(r"[ \t]+", line) if cell]


def is_blank(line: str) -> bool:
    """Whether a line holds nothing but blanks."""
    return not line.strip(BLANKS)


def nfc(name: str) -> str:
    """A name in the form that names are compared in, without marks around it that nobody sees."""
    return name if name.isascii() else normalize("NFC", name).strip(UNSEEN + BLANKS)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, is nested too deeply, or holds half a character."""
    try:
        value = _JSON.decode(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    return _whole(value) if _SURROGATE.search(text) else value


def _parse_json_at(text: str, place: int) -> tuple[Any, int]:
    """The JSON value that begins at a place, and where it ends. Raises ValueError as `parse_json`."""
    try:
        value, end = _JSON.raw_decode(text, place)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    return _whole(value) if _SURROGATE.search(text, place, end) else value, end


def _whole(value: Any) -> Any:
    """The same; ValueError for a text with a surrogate that is not one of a pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is no character") from error
    return value


_JSON = json.JSONDecoder()
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
TOO_DEEP = "it is nested too deeply"


def json_values(text: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of a text with a JSON value a line, a list of objects, or objects that each take several lines.

    A ValueError stands for a damaged one.
    """
    if re.match(r"\s*\[\s*[{\]]", text):
        return _elements(text, text.index("[") + 1, "]")
    return _elements(text, 0, "") if re.match(r"\s*\{[ \t]*\n", text) else _json_lines(text)


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text.split("\n"), 1):
        if content.strip():
            try:
                yield line, parse_json(content)
            except ValueError as error:
                yield line, error


def _elements(text: str, place: int, closing: str) -> Iterator[tuple[int, Any]]:
    """Those from a place on, each with the line on which it begins; `closing` ends them, or the end of the text."""
    between, line, counted = re.compile(r"[\s,]*"), 1, 0
    while True:
        place = match.end() if (match := between.match(text, place)) else place
        line, counted = line + text.count("\n", counted, place), place
        if place == len(text) and not closing:
            return
        if closing and text.startswith(closing, place):
            break
        try:
            value, place = _parse_json_at(text, place)
        except ValueError as error:
            yield line, error
            return
        yield line, value
    if text[place + 1 :].strip():
        yield line, ValueError("more follows after the list")


def located(folder: Path, name: str) -> Path:
    """The file that a list in `folder` calls `name`, in whatever Unicode form the disk has it, with either slash."""
    path = folder / name
    if "\\" in name and not os.path.exists(path):
        return located(folder, name.replace("\\", "/"))
    if name.isascii() or os.path.exists(path):
        return path
    current = folder
    for part in Path(name).parts:
        step = current / part
        if not os.path.exists(step) and os.path.isdir(current):
            step = next((entry for entry in current.iterdir() if nfc(entry.name) == nfc(part)), step)
        current = step
    return current
