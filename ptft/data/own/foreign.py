"""Files that lie among others and have another suffix: what is said of them, and which hold data all the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from ptft.data import files
from ptft.errors import are, counted, noun_for

if TYPE_CHECKING:
    from ptft.data.source import DividedSource


class Kind(NamedTuple):
    """Suffixes of data that can't be read, and what to do about it."""

    suffixes: frozenset[str]
    remedy: str


class Files(Sequence[Path]):
    """Files to predict for, in order: a million of them take the memory of their names. notes: as of
    `readers.Items`."""

    def __init__(self, names: Sequence[str], notes: tuple[str, ...] = ()) -> None:
        self.names, self.notes = names, notes

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Files: ...
    def __getitem__(self, place: int | slice) -> Path | Files:
        return Files(self.names[place]) if isinstance(place, slice) else Path(self.names[place])


KINDS = {
    "images": Kind(
        frozenset(
            {".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf"}
            | {".rw2", ".raf", ".psd", ".tga"}
        ),
        "save them as JPEG",
    ),
    "recordings": Kind(
        frozenset({".m4a", ".aac", ".wma", ".mp4", ".m4b", ".amr", ".3gp", ".ac3", ".ape", ".mka", ".webm", ".mov"}),
        "save them as WAV or FLAC",
    ),
}
"""By what they are called in messages."""


def is_data(name: str, noun: str) -> bool:
    """Whether a file of this name holds data of a kind that can't be read."""
    return files.counts(name, KINDS[noun].suffixes)


def is_one(path: Path, suffixes: frozenset[str], noun: str) -> bool:
    """Whether a path is a file of data, of a kind that can be read, with one of `suffixes`, or that can't."""
    return (files.counts(path.name, suffixes) or is_data(path.name, noun)) and path.is_file()


def notes(paths: Iterable[Path], noun: str) -> list[str]:
    """What to say of files of other suffixes that are left out, and once more of those that are data."""
    every, kind = sorted(paths), KINDS[noun]
    if not every:
        return []
    data = [path for path in every if is_data(path.name, noun)]
    none = f"{are(len(every))} no {noun_for(len(every), noun)} by {'its' if len(every) == 1 else 'their'} suffix"
    sentences = [f"{counted(len(every), 'files')} {none} ({by_suffix(every)}) and {are(len(every))} left out"]
    sentences[0] += f", the first: {every[0]}"
    if data:
        kinds = f"{counted(len(data), noun)} of a kind that can't be read ({by_suffix(data)})"
        sentences.append(f"{kinds} {are(len(data))} left out")
        sentences[1] += f", the first: {data[0]}; {kind.remedy}"
    return sentences


def by_suffix(paths: Iterable[Path]) -> str:
    """How many files have which suffix: ".heic 3, .db 1"."""
    counts = Counter(os.path.splitext(path.name)[1].lower() or "none" for path in paths).most_common()
    listed = ", ".join(f"{suffix} {count:,}" for suffix, count in counts[:6])
    return listed + (f", … {len(counts) - 6} more" if len(counts) > 6 else "")


def tell(source: DividedSource, paths: Sequence[Path], noun: str, root: Path) -> None:
    """Note them, and list those that are data as left out."""
    for sentence in notes(paths, noun):
        source.note(sentence)
    data = sorted(path for path in paths if is_data(path.name, noun))
    source.unusable += [(files.relative(path, root), f"is a {path.suffix.lower()} file") for path in data]


def instead(paths: Iterable[Path], noun: str) -> str:
    """The end of a message that there are no files of a kind: what there is that holds data all the same."""
    data = [path for path in paths if is_data(path.name, noun)]
    return f" that can be read, but {by_suffix(data)}: {KINDS[noun].remedy}" if data else ""


def items(path: Path | str, suffixes: frozenset[str], noun: str) -> Files:
    """As `files.find`, with notes of what is left out."""
    others: list[Path] = []
    names = files.names(path, suffixes, others)
    return Files(names, tuple(notes(others, noun)))
