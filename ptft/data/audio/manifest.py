"""Recordings listed in a CSV or JSONL file with their transcripts or classes, or in LibriSpeech's layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio import transcripts
from ptft.data.audio.clips import Clip, clip_of, known_by, time_notes
from ptft.data.audio.examples import Targets
from ptft.data.audio.source import AudioSource, FileRecordings, RecordingKeys
from ptft.data.cleaning.learned import learned
from ptft.data.files import nfc
from ptft.data.labels import unlabelled
from ptft.data.own import file_columns, foreign, separator
from ptft.data.own.file_columns import ListColumns, cell
from ptft.data.own.grouping import Grouping
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError, records, text_of
from ptft.data.splits import own_name
from ptft.errors import ConfigError, DataError, absent, are, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXPECTED = (
    "expected a CSV or JSONL file with path and text (or label), perhaps start, end (or offset, duration) and split; "
    "or a folder in LibriSpeech's layout"
)


class Utterance(NamedTuple):
    """A recording; `text` is its transcript or class, `where` the line that lists it."""

    clip: Clip
    text: str
    split: str
    where: str
    group: str = ""


class AudioManifest(AudioSource):
    """Recordings with transcripts (a column `text`) or classes (a column `label`).

    root: a CSV or JSONL file; paths are relative to its folder. Where some rows have a split the others are "train",
        where none has the list is divided into 80, 10 and 10 percent, classes by class. Or a folder of
        `SPLIT/SPEAKER/CHAPTER/*.flac` with `*.trans.txt` beside them (Panayotov et al. 2015, LibriSpeech).
    split_seed: divides what comes undivided; not the run's seed. None: all of that is "train", as in runs whose
        configuration has not the key.
    units: what transcripts are made of, "characters", "words" or "bpe": pieces of words, found in what is trained on
        (`ptft.data.cleaning.learned`). vocabulary: how many there are at the most, where they are found here.
    lowercase: whether texts are. symbols: the characters or words; None is those of the training split (of a list that
        is divided here: of all), or of the checkpoint where they are enough.
    path, text, label: columns of a list, by name; "auto": those of these names, else the only ones that can be them.
    label_separator, and a list of labels: as `ptft.data.image.folder.ImageFolder` has them.
    group: a column, or "folder"; see `ptft.data.own.grouping`.
    labelled: whether labels are needed: where a list has both, they are the labels then, and else the texts.
    Transcribed recordings longer than `dataset.seconds` are left out, since a cut one says something else.

    Raises DataError naming the file and line of what can't be.
    """

    has_groups = True

    def __init__(
        self,
        *,
        units: str = "characters",
        vocabulary: int = 300,
        lowercase: bool = True,
        symbols: Sequence[str] | None = None,
        split_seed: int | None = None,
        path: str = "path",
        text: str = "text",
        label: str | Sequence[str] = "label",
        label_separator: str | None = None,
        labelled: bool = False,
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {EXPECTED}")
        unusable = UnusableRows(self.on_error)
        typed = _typed(path, text, self.read_sets(label, label_separator), labelled, self.has_sets)
        self.check_list(self.root)
        rows, column = self._list(self.root, unusable, typed)
        rest = "" if split_seed is not None and not any(row.split for row in rows) else "train"
        rows = [row._replace(split=own_name(row.split or rest, (self.train, self.val, self.test))) for row in rows]
        self.rows: dict[str, list[Utterance]] = {row.split: [] for row in rows}
        rows = self._labelled(rows, column, unusable)
        times = () if self.root.is_dir() else time_notes(self.root)
        for sentence in [*separator.notes(self.root), *times, *unusable.notes(len(rows), str(self.root))]:
            self.note(sentence)
        self.unusable += unusable.named()
        if not rows:
            raise DataError(f"dataset.root={self.root}: lists no recordings; {EXPECTED}")
        self.units = units if column == "text" else None
        if self.units and lowercase:
            rows = [row._replace(text=row.text.lower()) for row in rows]
        for row in rows:
            if self.divided_by is not None and not row.group:
                raise self.divided_by.missing(row.where)
            self.rows[row.split].append(row)
        if "" in self.rows and split_seed is not None:
            groups, names = [row.group for row in rows], [row.text for row in rows]
            named = partial(_named, rows, self.root.parent)
            self.rows = self.divide(self.root, rows, split_seed, named, groups, None if self.units else names)
        leading = self.leading(split for split, utterances in self.rows.items() if utterances)
        texts = [row.text for row in (rows if self.units and self.drawn else self.rows[leading])]
        self.note_scaling([row.clip.path for row in self.rows[leading][:20]])
        classes, tokenizer = self.names_in(texts) if self.has_sets else tuple(sorted(set(texts))), None
        rate = self.own_rate([row.clip.path for row in rows])
        if self.units:
            found_in = partial(self._trained_on, rate)
            classes, tokenizer = transcripts.vocabulary(texts, self.units, self.like, symbols, vocabulary, found_in)
        self.describe(classes, tuple(self.rows), rate, self.units, tokenizer)

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
        group = "" if self.grouping is None else self.grouping.of_row(fields, clip.path, folder, where)
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

    def _labelled(self, rows: list[Utterance], column: str, unusable: UnusableRows) -> list[Utterance]:
        """Those that have a text or a label; of a split that is not trained on where none has, it is said."""
        empty = unlabelled(((row.split, row.text) for row in rows), self.train)
        for split in empty:
            self.leave_out(split, f"{split} has no {column}")
        kept = [row for row in rows if row.split not in empty]
        for row in kept:
            if not row.text and not self.has_sets:
                unusable(RowError(row.where, f"has no {column}"))
        return [row for row in kept if row.text or self.has_sets]

    def _trained_on(self, rate: int) -> list[str]:
        """The transcripts that are trained on, found by what is known of the recordings before there are pieces."""
        self.describe((), tuple(self.rows), rate, self.units)
        return [row.text for row in learned(self, lambda own: own.rows[own.train])]

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self.rows[split]) for split in splits}

    def grouped(self, split: str) -> list[str]:
        self.loaded(split)  # which leaves out those that are too long
        return [row.group for row in self.rows[split]]

    def load(self, split: str) -> FileRecordings:
        rows = self.rows[split]
        if self.units and self.spec.shape["seconds"] is not None:
            rows = self.rows[split] = self._short(rows, split)
        paths, spans = [row.clip.path for row in rows], [row.clip.span for row in rows]
        assert self.root is not None
        base = self.root if self.root.is_dir() else self.root.parent
        recordings = FileRecordings(paths, self._targets(rows, split), self.spec, base, self.on_error, spans)
        if beyond := recordings.beyond:
            self.note(
                f"{split}: {counted(len(beyond), 'parts')} behind the end of a recording {are(len(beyond))} cut there, "
                f"the first: {beyond[0]}"
            )
        return recordings

    def _targets(self, rows: list[Utterance], split: str) -> Targets:
        values = [row.text for row in rows]
        if self.units == "bpe" and "tokenizer" not in self.spec.shape:
            return Targets(len(rows))  # there are no pieces yet
        if self.units:
            return transcripts.encode(values, [f"{row.where} ({row.clip.path.name})" for row in rows], self.spec)
        if self.has_sets:
            return Targets(len(rows), self.to_vectors(values, split))
        return Targets(len(rows), self.to_labels(values, lambda i: f"{rows[i].where}: {split}"))

    def _short(self, rows: list[Utterance], split: str) -> list[Utterance]:
        longest, seconds_of = self.spec.shape["seconds"], cache(self._file_seconds)
        each = [_seconds(row, seconds_of) for row in rows]
        short = [row for row, seconds in zip(rows, each, strict=True) if seconds <= longest]
        if rows and not short:
            every = f"{self._where()}: every recording of {split} lasts longer than dataset.seconds={longest:g}"
            raise DataError(f"{every}, the shortest {min(each):.4g} s; a larger dataset.seconds takes them")
        if len(short) < len(rows):
            long = len(rows) - len(short)
            self.note(
                f"{split}: {counted(long, 'recordings')} {are(long)} longer than dataset.seconds={longest:g}, left out"
            )
        return short

    def _file_seconds(self, path: Path) -> float:
        """The length of a recording; 0 where it can't be read, which is skipped later."""
        try:
            samples, rate = audio_reader.info(path)
        except DataError:
            if self.on_error != "skip":
                raise
            return 0.0
        return samples / rate


def _typed(path: str, text: str, label: str, labelled: bool, sets: bool) -> dict[str, str]:
    """The columns that are asked for, of labels and transcripts those first that count where a list has both."""
    if sets:
        return {"path": path, "label": label}
    return {"path": path, "label": label, "text": text} if labelled else {"path": path, "text": text, "label": label}


def _seconds(row: Utterance, seconds_of: Callable[[Path], float]) -> float:
    """The length of a recording or of its part."""
    begin, end = row.clip.span or (0.0, None)
    return (seconds_of(row.clip.path) if end is None else end) - begin


def _named(rows: Sequence[Utterance], base: Path) -> list[str]:
    return [known_by(row.clip, base) for row in rows]


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
            clip = Clip(files.located(listing.parent, f"{name}.flac"), None)
            group = "" if grouping is None else grouping.of_file(clip.path, root / split)
            yield Utterance(clip, nfc(text.strip(files.BLANKS)), split, f"{listing}:{number}", group)


def sample(root: Path, count: int = 4) -> None:
    """Write `count` recordings a split in LibriSpeech's layout, with transcripts, below `root`."""
    for split in ("train", "val"):
        lines = []
        for i in range(count):
            tone = 6000 * torch.sin(2 * torch.pi * (200 + 100 * i) * torch.arange(4800 + 400 * i) / 16_000)
            audio_reader.write(root / split / "1" / "2" / f"1-2-{i}.flac", tone.to(torch.int16), 16_000)
            lines.append(f"1-2-{i} {'AB'[i % 2]} TONE\n")
        (root / split / "1" / "2" / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
