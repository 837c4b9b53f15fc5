"""Recordings listed in a CSV or JSONL file with their transcripts or classes, or in LibriSpeech's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio import transcripts
from ptft.data.audio.clips import Clip, clip_of, time_notes
from ptft.data.audio.examples import Targets
from ptft.data.audio.source import AudioSource, FileRecordings, RecordingKeys
from ptft.data.files import nfc
from ptft.data.labels import unlabelled
from ptft.data.own import separator
from ptft.data.own.grouping import Grouping
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError, records, text_of
from ptft.data.splits import own_name
from ptft.errors import ConfigError, DataError

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

    root: a CSV or JSONL file; paths are relative to its folder, rows without a split are "train". Or a folder of
        `SPLIT/SPEAKER/CHAPTER/*.flac` with `*.trans.txt` beside them (Panayotov et al. 2015, LibriSpeech).
    units: what transcripts are made of, "characters", "words" or "bpe": pieces of words, found in the training split.
    vocabulary: how many pieces there are at the most, where they are found here.
    lowercase: whether texts are. symbols: the characters or words; None is those of the training split, or of the
        checkpoint where they are enough.
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
        labelled: bool = False,
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {EXPECTED}")
        unusable = UnusableRows(self.on_error)
        rows, column = _rows(self.root, unusable, self.grouping, labelled)
        rows = [row._replace(split=own_name(row.split, (self.train, self.val, self.test))) for row in rows]
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
            if self.grouping is not None and not row.group:
                raise self.grouping.missing(row.where)
            self.rows[row.split].append(row)
        leading = self.leading(split for split, utterances in self.rows.items() if utterances)
        texts = [row.text for row in self.rows[leading]]
        self.note_scaling([row.clip.path for row in self.rows[leading][:20]])
        classes, tokenizer = tuple(sorted(set(texts))), None
        if self.units:
            classes, tokenizer = transcripts.vocabulary(texts, self.units, self.like, symbols, vocabulary)
        self.describe(classes, tuple(self.rows), self.own_rate([row.clip.path for row in rows]), self.units, tokenizer)

    def _labelled(self, rows: list[Utterance], column: str, unusable: UnusableRows) -> list[Utterance]:
        """Those that have a text or a label; of a split that is not trained on where none has, it is said."""
        empty = unlabelled(((row.split, row.text) for row in rows), self.train)
        for split in empty:
            self.leave_out(split, f"{split} has no {column}")
        kept = [row for row in rows if row.split not in empty]
        for row in kept:
            if not row.text:
                unusable(RowError(row.where, f"has no {column}"))
        return [row for row in kept if row.text]

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
                f"{split}: {len(beyond)} parts end behind the end of their recording and are cut there, "
                f"the first: {beyond[0]}"
            )
        return recordings

    def _targets(self, rows: list[Utterance], split: str) -> Targets:
        values = [row.text for row in rows]
        if self.units:
            return transcripts.encode(values, [f"{row.where} ({row.clip.path.name})" for row in rows], self.spec)
        return Targets(len(rows), self.to_labels(values, lambda i: f"{rows[i].where}: {split}"))

    def _short(self, rows: list[Utterance], split: str) -> list[Utterance]:
        longest, seconds_of = self.spec.shape["seconds"], cache(self._file_seconds)
        short = [row for row in rows if _seconds(row, seconds_of) <= longest]
        if len(short) < len(rows):
            self.note(
                f"{split}: {len(rows) - len(short)} recordings are longer than dataset.seconds={longest:g}, left out"
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


def _seconds(row: Utterance, seconds_of: Callable[[Path], float]) -> float:
    """The length of a recording or of its part."""
    begin, end = row.clip.span or (0.0, None)
    return (seconds_of(row.clip.path) if end is None else end) - begin


def _rows(root: Path, unusable: UnusableRows, grouping: Grouping | None, labelled: bool) -> tuple[list[Utterance], str]:
    """(the rows, "text" or "label")."""
    if root.is_dir():
        return list(_librispeech(root, grouping)), "text"
    if not root.exists():
        raise DataError(f"dataset.root={root}: does not exist; {EXPECTED}")
    rows: list[Utterance] = []
    column = ""
    try:
        for line, fields in records(root):
            where = f"{root}:{line}"
            if isinstance(fields, RowError):
                unusable(fields)
                continue
            column = column or ("label" if "text" not in fields or (labelled and "label" in fields) else "text")
            if column not in fields and not rows:
                raise DataError(f"{where}: has no text and no label ({', '.join(map(str, list(fields)[:8]))})")
            try:
                row = _row(root.parent, fields, column, where)
                group = "" if grouping is None else grouping.of_row(fields, row.clip.path, root.parent, where)
                rows.append(row._replace(group=group))
            except RowError as error:
                unusable(error)
    except RowError:
        raise
    except DataError as error:
        raise DataError(f"{error}; {EXPECTED}") from error
    return rows, column


def _row(folder: Path, fields: dict[str, Any], column: str, where: str) -> Utterance:
    text, split = nfc(text_of(fields, column, where)), text_of(fields, "split", where) or "train"
    return Utterance(clip_of(folder, fields, where), text, split, where)


def _librispeech(root: Path, grouping: Grouping | None) -> Iterator[Utterance]:
    """Each `*.trans.txt` holds lines of a recording's name and its transcript."""
    if grouping is not None:
        grouping.check_files()
    for listing in files.find(root, frozenset({".txt"})):
        if not listing.name.lower().endswith(".trans.txt"):
            continue
        split = listing.relative_to(root).parts[0]
        for number, line in enumerate(files.read_lines(listing), 1):
            name, _, text = line.strip(files.BLANKS).replace("\t", " ").partition(" ")
            if text:
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
