"""Recordings listed in a CSV or JSONL file with their transcripts or classes, or in LibriSpeech's layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.clips import Clip, clip_of, time_notes
from ptft.data.audio.utterances import Utterance, UtteranceKeys, Utterances, typed_columns
from ptft.data.files import nfc
from ptft.data.own import file_columns, foreign, separator
from ptft.data.own.file_columns import PATH, ListColumns, cell
from ptft.data.own.grouping import Grouping
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError, records, text_of
from ptft.errors import ConfigError, DataError, absent, are, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXPECTED = (
    "expected a CSV or JSONL file with path and text (or label), perhaps start, end (or offset, duration) and split; "
    "or a folder in LibriSpeech's layout"
)


class AudioManifest(Utterances):
    """Recordings with transcripts (a column `text`) or classes (a column `label`).

    root: a CSV or JSONL file; paths are relative to its folder. Where some rows have a split the others are "train",
        where none has the list is divided into 80, 10 and 10 percent, classes by class. Or a folder of
        `SPLIT/SPEAKER/CHAPTER/*.flac` with `*.trans.txt` beside them (Panayotov et al. 2015, LibriSpeech).
    path, text, label: columns of a list, by name; "auto": those of these names, else the only ones that can be them.
    label_separator, and a list of labels: as `ptft.data.image.folder.ImageFolder` has them.
    group: a column, or "folder"; see `ptft.data.own.grouping`.
    labelled: whether labels are needed: where a list has both, they are the labels then, and else the texts.

    Raises DataError naming the file and line of what can't be.
    """

    def __init__(
        self,
        *,
        path: str = "path",
        text: str = "text",
        label: str | Sequence[str] = "label",
        label_separator: str | None = None,
        labelled: bool = False,
        **keys: Unpack[UtteranceKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {EXPECTED}")
        unusable = UnusableRows(self.on_error)
        typed = typed_columns(PATH, path, text, self.read_sets(label, label_separator), labelled, self.has_sets)
        self.check_list(self.root)
        rows, column = self._list(self.root, unusable, typed)
        times = () if self.root.is_dir() else time_notes(self.root)
        self.describe_rows(rows, column, unusable, [*separator.notes(self.root), *times], EXPECTED)

    def _list(self, root: Path, unusable: UnusableRows, typed: Mapping[str, str]) -> tuple[list[Utterance], str]:
        """(the rows, "text" or "label")."""
        if root.is_dir():
            return self._librispeech(root, unusable), "text"
        if not root.exists():
            raise DataError(f"dataset.root={root}: {absent(root)}; {EXPECTED}")
        rows: list[Utterance] = []
        others: list[object] = [*self.flags[1:], *([] if self.grouping is None else [self.grouping.key])]
        try:
            listed = records(root)
            head = list(islice(listed, file_columns.ROWS))
            columns = file_columns.find(root, head, typed, audio_reader.SUFFIXES, others, sets=self.has_sets)
            self.listed(columns)
            for line, fields in chain(head, listed):
                where = f"{root}:{line}"
                if isinstance(fields, RowError):
                    unusable(fields)
                    continue
                if not rows and columns.target.isascii() and columns.target not in fields:
                    raise DataError(f"{where}: has no text and no label ({', '.join(map(str, list(fields)[:8]))})")
                try:
                    rows.append(self._row(root.parent, fields, columns, where))
                except RowError as error:
                    unusable(error)
        except (RowError, ConfigError):
            raise
        except DataError as error:
            raise DataError(f"{error}; {EXPECTED}") from error
        return rows, columns.key

    def _row(self, folder: Path, fields: dict[str, Any], columns: ListColumns, where: str) -> Utterance:
        clip = clip_of(folder, fields, where, columns.path)
        group = "" if self.grouping is None else self.grouping.of_row(fields, Path(str(clip.path)), folder, where)
        sets = self.has_sets
        text = self.set_of(fields, columns, where) if sets else nfc(cell(fields, columns.target, where))
        return Utterance(clip, text, text_of(fields, "split", where), where, group)

    def _librispeech(self, root: Path, unusable: UnusableRows) -> list[Utterance]:
        """Each `*.trans.txt` holds lines of a recording's name and its transcript. What lies beside them is told."""
        if self.grouping is not None:
            self.grouping.check_files()
        rows, others = list[Utterance](), list[Path]()
        listings = [file for file in files.find(root, frozenset({".txt"}), others) if _is_listing(file)]
        for listing in listings:
            rows += _transcribed(root, listing, self.grouping, unusable)
        folders, named = {str(listing.parent) for listing in listings}, {row.clip.path for row in rows}
        beside = [path for path in others if os.path.dirname(path) in folders and path not in named]
        foreign.tell(self, [path for path in beside if not _is_recording(path)], "recordings", root)
        if bare := sorted(filter(_is_recording, beside)):
            count = f"{counted(len(bare), 'recordings')} without a transcript {are(len(bare))} left out"
            self.note(f"{count}, the first: {bare[0]}")
        return rows


def _is_listing(file: Path) -> bool:
    return file.name.lower().endswith(".trans.txt")


def _is_recording(path: Path) -> bool:
    return files.counts(path.name, audio_reader.SUFFIXES)


def _transcribed(root: Path, listing: Path, grouping: Grouping | None, unusable: UnusableRows) -> Iterator[Utterance]:
    """The recordings that a `*.trans.txt` names."""
    split = listing.relative_to(root).parts[0]
    for number, line in enumerate(files.read_lines(listing), 1):
        name, _, text = line.strip(files.BLANKS).replace("\t", " ").partition(" ")
        if text and "\0" in name:
            unusable(RowError(f"{listing}:{number}", "has a zero byte in the name of its recording"))
        elif text:
            path = files.located(listing.parent, f"{name}.flac")
            group = "" if grouping is None else grouping.of_file(path, root / split)
            yield Utterance(Clip(path, None), nfc(text.strip(files.BLANKS)), split, f"{listing}:{number}", group)


def sample(root: Path, count: int = 4) -> None:
    """Write `count` recordings a split in LibriSpeech's layout, with transcripts, below `root`."""
    for split in ("train", "val"):
        lines = []
        for i in range(count):
            tone = 6000 * torch.sin(2 * torch.pi * (200 + 100 * i) * torch.arange(4800 + 400 * i) / 16_000)
            audio_reader.write(root / split / "1" / "2" / f"1-2-{i}.flac", tone.to(torch.int16), 16_000)
            lines.append(f"1-2-{i} {'AB'[i % 2]} TONE\n")
        (root / split / "1" / "2" / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
