"""`dataset.ignore`: a list of examples that are used for nothing, by what `split.csv` calls them.

It is a CSV with a column `name`; `content`, where it is filled in, is a digest of what the example held when the list
was made, so that a list that is older than its data leaves out nothing else (names of rows are lines of a file, which
move). `reason` is repeated in `split.csv`. `split` is heeded for documents of running text alone. Any other column is
the user's own.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.data.files import nfc, read_file
from ptft.errors import DataError, absent, are, counted, shortened

COLUMNS = ("name", "content", "reason", "split", "label")
"""As `stage=inspect` writes them."""
KEY = "dataset.ignore"


class Entry(NamedTuple):
    """What a row says of an example: its content in 16 hexadecimal digits or "", why it is left out, its split and
    its label."""

    content: str
    reason: str
    split: str
    label: str


def hexadecimal(number: int) -> str:
    """A number for a content, a long, as it is written in the list."""
    return f"{number % 2**64:016x}"


def digest_of(document: str) -> str:
    """The content of a text that has no place of its own, as it is written in the list."""
    return blake2b(document.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class IgnoreList:
    """The examples that the file at `path` names; it is told what there is, split by split, and says what it missed.

    Raises DataError where the file can't be read, or has no column `name`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.expanduser(path))
        self.rows = _read(self.path)
        self.entries = dict(self.rows)
        self.left_out: dict[str, dict[int, str]] = {}
        self.changed: dict[str, str] = {}
        self._seen: set[str] = set()

    def rows_named(self, names: Sequence[str]) -> list[int]:
        """Which of a split's examples, by their names, the list has."""
        return [row for row, name in enumerate(names) if nfc(name) in self.entries]

    def heed(self, split: str, names: Sequence[str], rows: Sequence[int], contents: Tensor | None) -> Tensor:
        """Those of the `rows` that are left out, long [n]; they have these contents (long), None: nobody knows them."""
        ignored = self.left_out.setdefault(split, {})
        for place, row in enumerate(rows):
            name = nfc(names[row])
            entry = self.entries[name]
            self._seen.add(name)
            if entry.content and contents is not None and hexadecimal(int(contents[place])) != entry.content:
                self.changed.setdefault(name, split)
            else:
                ignored[row] = f"{KEY}: {entry.reason}" if entry.reason else KEY
        return torch.tensor(sorted(ignored), dtype=torch.long)

    def leaves_out(self, name: str) -> bool:
        """Whether it has a file that can't be read, of which it can't say what it held."""
        entry = self.entries.get(nfc(name))
        if entry is None or entry.content:
            return False
        self._seen.add(nfc(name))
        return True

    def without(self, split: str, documents: Sequence[str]) -> list[str]:
        """Documents without those whose content the list has; nothing else says which is which.

        Of several with the same content as many as it has of this split, the last of them, so that of copies the one
        stays that is not in it; all of them where it says no split.
        """
        listed: dict[str, list[tuple[str, Entry]]] = {}
        for name, entry in self.rows:
            if entry.content and entry.split in ("", split):
                listed.setdefault(entry.content, []).append((name, entry))
        held: dict[str, list[int]] = {}
        for row, document in enumerate(documents):
            if (content := digest_of(document)) in listed:
                held.setdefault(content, []).append(row)
        ignored = self.left_out.setdefault(split, {})
        for content, rows in held.items():
            known = listed[content]
            self._seen.update(name for name, _ in known)
            everywhere = any(not entry.split for _, entry in known)
            ignored |= dict.fromkeys(rows if everywhere else rows[-len(known) :], known[0][1].reason)
        return [document for row, document in enumerate(documents) if row not in ignored]

    def notes(self, splits: Collection[str], complete: bool) -> list[str]:
        """What to say: how many are left out of these splits, which have another content now, and which are nowhere.

        complete: whether the list was told of all examples that there are.
        """
        counts = {split: len(self.left_out[split]) for split in splits if self.left_out.get(split)}
        each = ", ".join(f"{count:,} of {split}" for split, count in counts.items())
        sentences = [f"{each} {are(sum(counts.values()))} left out ({KEY}={self.path.name})"] if each else []
        if self.changed:
            which = f"{shortened(list(self.changed), 4)} of {KEY} {are(len(self.changed))} used"
            sentences.append(f"{which}, since they hold something else than when the list was made")
        if complete and (unknown := [name for name in self.entries if name not in self._seen]):
            which = f"{shortened(unknown, 4)} {are(len(unknown))} not in this dataset"
            sentences.append(f"{KEY}={self.path}: {counted(len(unknown), 'names')} of {len(self.entries):,}, {which}")
        return sentences


def _read(path: Path) -> list[tuple[str, Entry]]:
    if not path.is_file():
        raise DataError(f"{KEY}={path}: {absent(path) if not path.exists() else 'is a folder'}; name a CSV file")
    reader = csv.DictReader(io.StringIO(read_file(path)))
    if "name" not in (reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ()) or "none"
        raise DataError(
            f"{KEY}={path}: has no column name ({found[:80]}); a CSV whose first line is name,content,reason"
        )
    try:
        rows = [row for row in reader if row["name"]]
    except csv.Error as error:
        raise DataError(f"{KEY}={path}:{reader.line_num}: is no CSV ({error})") from error
    cells = [(row["name"], *(row.get(key) or "" for key in COLUMNS[1:])) for row in rows]
    return [(nfc(name), Entry(content.strip(), *rest)) for name, content, *rest in cells]


def write(rows: Sequence[tuple[str, ...]]) -> str:
    """The text of such a list; rows: values of COLUMNS."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return out.getvalue()
