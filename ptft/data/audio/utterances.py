"""Recordings that stand one by one in lists or in tables, with a transcript or a class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ptft.data.audio import reader as audio_reader
from ptft.data.audio import transcripts
from ptft.data.audio.clips import Clip, name_of_part
from ptft.data.audio.examples import Targets
from ptft.data.audio.source import AudioSource, FileRecordings, RecordingKeys
from ptft.data.cleaning.learned import learned
from ptft.data.hub.cells import File, known_by
from ptft.data.labels import unlabelled
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError
from ptft.data.splits import own_name
from ptft.errors import DataError, are, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Utterance(NamedTuple):
    """A recording; `text` is its transcript or class, `where` the line that lists it."""

    clip: Clip
    text: str
    split: str
    where: str
    group: str = ""


class UtteranceKeys(RecordingKeys, total=False):
    """The keys of every dataset of transcripts or classes; `Utterances` says what they mean."""

    units: str
    vocabulary: int
    lowercase: bool
    symbols: Sequence[str] | None
    split_seed: int | None


class Utterances(AudioSource):
    """Recordings with transcripts or classes. A subclass ends with `describe_rows`.

    split_seed: divides what comes undivided; not the run's seed. None: all of that is "train", as in runs whose
        configuration has not the key.
    units: what transcripts are made of, "characters", "words" or "bpe": pieces of words, found in what is trained on
        (`ptft.data.cleaning.learned`). vocabulary: how many there are at the most, where they are found here.
    lowercase: whether texts are. symbols: the characters or words; None is those of the training split (of a list that
        is divided here: of all), or of the checkpoint where they are enough.
    Transcribed recordings longer than `dataset.seconds` are left out, since a cut one says something else.
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
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        self.wanted_units, self.vocabulary, self.lowercase = units, vocabulary, lowercase
        self.symbols, self.split_seed = symbols, split_seed

    def describe_rows(
        self, rows: list[Utterance], column: str, unusable: UnusableRows, notes: Sequence[str], expected: str
    ) -> None:
        """As `describe`, of these rows; column: "text" or "label", what each has, or "" for nothing. notes: sentences
        about the list. Raises DataError saying what is `expected` where there are none."""
        rest = "" if self.split_seed is not None and not any(row.split for row in rows) else "train"
        rows = [row._replace(split=own_name(row.split or rest, (self.train, self.val, self.test))) for row in rows]
        self.rows: dict[str, list[Utterance]] = {row.split: [] for row in rows}
        rows = self._labelled(rows, column, unusable)
        for sentence in [*notes, *unusable.notes(len(rows), str(self.root or self._where()))]:
            self.note(sentence)
        self.unusable += unusable.named()
        if not rows:
            raise DataError(f"{self._where()}: lists no recordings; {expected}")
        self.units = self.wanted_units if column == "text" else None
        if self.units and self.lowercase:
            rows = [row._replace(text=row.text.lower()) for row in rows]
        self._divide(rows)
        leading = self.leading(split for split, utterances in self.rows.items() if utterances)
        texts = [row.text for row in (rows if self.units and self.drawn else self.rows[leading])]
        self.note_scaling([row.clip.path for row in self.rows[leading][:20]])
        classes, tokenizer, rate = self.classes_of(texts), None, self.own_rate([row.clip.path for row in rows])
        if self.units:
            found_in = partial(self._trained_on, rate)
            classes, tokenizer = transcripts.vocabulary(
                texts, self.units, self.like, self.symbols, self.vocabulary, found_in
            )
        self.describe(classes, tuple(self.rows), rate, self.units, tokenizer)

    def classes_of(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The dataset's own classes, by the labels of the split to train on."""
        return self.names_in(texts) if self.has_sets else tuple(sorted(set(texts)))

    def _divide(self, rows: list[Utterance]) -> None:
        """Put them into the splits that they say, or that they are divided into."""
        for row in rows:
            if self.divided_by is not None and not row.group:
                raise self.divided_by.missing(row.where)
            self.rows[row.split].append(row)
        if "" in self.rows and self.split_seed is not None:
            groups, names = [row.group for row in rows], [row.text for row in rows]
            named = partial(_named, rows, self.base)
            where = self.root or self._where()
            self.rows = self.divide(where, rows, self.split_seed, named, groups, None if self.units else names)

    def _labelled(self, rows: list[Utterance], column: str, unusable: UnusableRows) -> list[Utterance]:
        """Those that have a text or a label; of a split that is not trained on where none has, it is said."""
        if not column:
            return rows
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
        recordings = FileRecordings(paths, self._targets(rows, split), self.spec, self.base, self.on_error, spans)
        if beyond := recordings.beyond:
            self.note(
                f"{split}: {counted(len(beyond), 'parts')} behind the end of a recording {are(len(beyond))} cut there, "
                f"the first: {beyond[0]}"
            )
        return recordings

    def _targets(self, rows: list[Utterance], split: str) -> Targets:
        values = [row.text for row in rows]
        if self.spec.target == "none":
            return Targets(len(rows))
        if self.units == "bpe" and "tokenizer" not in self.spec.shape:
            return Targets(len(rows))  # there are no pieces yet
        if self.units:
            return transcripts.encode(values, [f"{row.where}{_file(row)}" for row in rows], self.spec)
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

    def _file_seconds(self, path: File) -> float:
        """The length of a recording; 0 where it can't be read, which is skipped later."""
        try:
            samples, rate = audio_reader.info(path)
        except DataError:
            if self.on_error != "skip":
                raise
            return 0.0
        return samples / rate


def typed_columns(media: str, path: str, text: str, label: str, labelled: bool, sets: bool) -> dict[str, str]:
    """The columns that are asked for, of labels and transcripts those first that count where a list has both.

    media: the key that names the column of the recordings, `path`.
    """
    if sets:
        return {media: path, "label": label}
    return {media: path, "label": label, "text": text} if labelled else {media: path, "text": text, "label": label}


def _seconds(row: Utterance, seconds_of: Callable[[File], float]) -> float:
    """The length of a recording or of its part."""
    begin, end = row.clip.span or (0.0, None)
    return (seconds_of(row.clip.path) if end is None else end) - begin


def _named(rows: Sequence[Utterance], base: Path) -> list[str]:
    """What recordings, or parts of them, are known by."""
    names = known_by([row.clip.path for row in rows], base)
    return [name_of_part(name, row.clip.span) for name, row in zip(names, rows, strict=True)]


def _file(row: Utterance) -> str:
    """The name of the file that a row of a list names, to be shown behind the row."""
    return f" ({row.clip.path.name})" if isinstance(row.clip.path, Path) else ""
