"""Recordings listed in a CSV or JSONL file with their transcripts or classes, or in LibriSpeech's layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio import transcripts
from ptft.data.audio.examples import Targets
from ptft.data.audio.source import AudioSource, FileRecordings, RecordingKeys, Span
from ptft.data.records import read_records
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXPECTED = (
    "expected a CSV or JSONL file with path and text (or label), and perhaps start, end (seconds) and split; "
    "or a folder in LibriSpeech's layout"
)


class Utterance(NamedTuple):
    """A recording, or its `span` in seconds; `text` is its transcript or class, `where` the line that lists it."""

    path: Path
    text: str
    split: str
    span: Span | None
    where: str


class AudioManifest(AudioSource):
    """Recordings with transcripts (a column `text`) or classes (a column `label`).

    root: a CSV or JSONL file; paths are relative to its folder, rows without a split are "train". Or a folder of
        `SPLIT/SPEAKER/CHAPTER/*.flac` with `*.trans.txt` beside them (Panayotov et al. 2015, LibriSpeech).
    units: what transcripts are made of, "characters", "words" or "bpe": pieces of words, found in the training split.
    vocabulary: how many pieces there are at the most, where they are found here.
    lowercase: whether texts are. symbols: the characters or words; None is those of the training split, or of the
        checkpoint where they are enough.
    Transcribed recordings longer than `dataset.seconds` are left out, since a cut one says something else.

    Raises DataError naming the file and line of what can't be.
    """

    def __init__(
        self,
        *,
        units: str = "characters",
        vocabulary: int = 300,
        lowercase: bool = True,
        symbols: Sequence[str] | None = None,
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {EXPECTED}")
        rows, column = _rows(self.root)
        if not rows:
            raise DataError(f"dataset.root={self.root}: lists no recordings; {EXPECTED}")
        self.units = units if column == "text" else None
        if self.units and lowercase:
            rows = [row._replace(text=row.text.lower()) for row in rows]
        self.rows: dict[str, list[Utterance]] = {}
        for row in rows:
            self.rows.setdefault(row.split, []).append(row)
        leading = self.leading(self.rows)
        known = [row.text for row in self.rows[leading]]
        self.note_scaling([row.path for row in self.rows[leading][:20]])
        classes, tokenizer = tuple(sorted(set(known))), None
        if self.units:
            classes, tokenizer = transcripts.vocabulary(known, self.units, self.like, symbols, vocabulary)
        self.describe(classes, tuple(self.rows), audio_reader.info(rows[0].path)[1], self.units, tokenizer)

    def load(self, split: str) -> FileRecordings:
        rows = self.rows[split]
        if self.units and self.spec.shape["seconds"] is not None:
            rows = self._short(rows, split)
        paths, spans = [row.path for row in rows], [row.span for row in rows]
        assert self.root is not None
        base = self.root if self.root.is_dir() else self.root.parent
        return FileRecordings(paths, self._targets(rows, split), self.spec, base, self.on_error, spans)

    def _targets(self, rows: list[Utterance], split: str) -> Targets:
        values = [row.text for row in rows]
        if self.units:
            return transcripts.encode(values, [f"{row.where} ({row.path.name})" for row in rows], self.spec)
        return Targets(len(rows), self.to_labels(values, lambda i: f"{rows[i].where}: {split}"))

    def _short(self, rows: list[Utterance], split: str) -> list[Utterance]:
        longest = self.spec.shape["seconds"]
        short = [row for row in rows if _seconds(row) <= longest]
        if len(short) < len(rows):
            self.note(
                f"{split}: {len(rows) - len(short)} recordings are longer than dataset.seconds={longest:g}, left out"
            )
        return short


def _seconds(row: Utterance) -> float:
    if row.span is not None:
        return row.span[1] - row.span[0]
    samples, rate = audio_reader.info(row.path)
    return samples / rate


def _rows(root: Path) -> tuple[list[Utterance], str]:
    """(the rows, "text" or "label")."""
    if root.is_dir():
        return list(_librispeech(root)), "text"
    if not root.exists():
        raise DataError(f"dataset.root={root}: does not exist; {EXPECTED}")
    try:
        listed = list(read_records(root))
    except DataError as error:
        raise DataError(f"{error}; {EXPECTED}") from error
    column = "text" if listed and "text" in listed[0][1] else "label"
    return [_row(root, line, fields, column) for line, fields in listed], column


def _row(file: Path, line: int, fields: dict[str, Any], column: str) -> Utterance:
    text, path = fields.get(column), fields.get("path")
    where = f"{file}:{line}"
    if not path or text in (None, ""):
        raise DataError(f"{where}: has no path or no {column}; {EXPECTED}")
    begin, end = (fields.get(name) for name in ("start", "end"))
    try:
        span = (float(begin or 0), float(end)) if end not in (None, "") else None
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: start and end are seconds") from error
    if span and not 0 <= span[0] < span[1]:
        raise DataError(f"{where}: from {span[0]:g} to {span[1]:g} s is no part of a recording")
    return Utterance(file.parent / str(path), str(text), str(fields.get("split") or "train"), span, where)


def _librispeech(root: Path) -> Iterator[Utterance]:
    """Each `*.trans.txt` holds lines of a recording's name and its transcript."""
    for listing in files.find(root, frozenset({".txt"})):
        if not listing.name.endswith(".trans.txt"):
            continue
        split = listing.relative_to(root).parts[0]
        for number, line in enumerate(files.read_file(listing).splitlines(), 1):
            name, _, text = line.partition(" ")
            if text:
                yield Utterance(listing.parent / f"{name}.flac", text, split, None, f"{listing}:{number}")


def sample(root: Path, count: int = 4) -> None:
    """Write `count` recordings a split in LibriSpeech's layout, with transcripts, below `root`."""
    for split in ("train", "val"):
        lines = []
        for i in range(count):
            tone = 6000 * torch.sin(2 * torch.pi * (200 + 100 * i) * torch.arange(4800 + 400 * i) / 16_000)
            audio_reader.write(root / split / "1" / "2" / f"1-2-{i}.flac", tone.to(torch.int16), 16_000)
            lines.append(f"1-2-{i} {'AB'[i % 2]} TONE\n")
        (root / split / "1" / "2" / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
