"""What every dataset of recordings shares: rate and length, its Spec, and files as examples."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ptft.core import Spec
from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.clips import Clip, Span, name_of_part
from ptft.data.audio.examples import MemoryRecordings, OnDemandRecordings, Targets
from ptft.data.audio.length import longer_than, max_samples
from ptft.data.examples import SplitExamples
from ptft.data.hub.cells import File, digests, known_by
from ptft.data.own.file_columns import PATH
from ptft.data.own.keys import Shared
from ptft.data.own.listing import Media
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.data.stratify import contents, numbers
from ptft.errors import ConfigError, DataError, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

RECORDINGS = Media("recordings", "recording.wav", audio_reader.SUFFIXES)


ROUNDED = 0.1
"""Seconds by which a part may end behind its recording's end, as lists round."""
LOOKED_AT = 1000
"""At most about so many files, evenly spread, are asked for their rate beforehand."""


class RecordingKeys(Shared, total=False):
    """The keys of every dataset of recordings; `AudioSource` says what they mean."""

    rate: int | None
    seconds: float | None


class FileRecordings(OnDemandRecordings):
    """`paths` or cells of recordings, or `spans` (seconds, from and to) of them, decoded in `take` as `spec` asks.

    root: what `digest` takes paths relative to. on_error: "raise" or "skip". lengths: samples of every one (long [N]),
        read from the headers where they are not given. beyond: what is said to end behind its recording's end, by then.
    """

    def __init__(
        self,
        paths: Sequence[File],
        targets: Targets,
        spec: Spec,
        root: Path,
        on_error: str = "raise",
        spans: Sequence[Span | None] | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        assert len(paths) == targets.count
        self.paths, self.targets, self.labels, self.spec, self.root = list(paths), targets, targets.labels, spec, root
        self.on_error = on_error
        self.spans: list[Span | None] = [None] * len(paths) if spans is None else list(spans)
        self.beyond: list[str] = []
        if lengths is None:
            header_of = cache(_header)  # many parts may be of one file
            pairs = zip(self.paths, self.spans, strict=True)
            lengths = torch.tensor([self._length(path, span, header_of(path)) for path, span in pairs])
        self.lengths: Tensor = lengths

    def wave(self, index: int) -> Tensor:
        return audio_reader.read(self.paths[index], self.spec, self.spans[index])

    def remark(self, index: int, wave: Tensor) -> str | None:
        return audio_reader.remark(Clip(self.paths[index], self.spans[index]), wave)

    def at(self, rows: Tensor, labels: Tensor | None = None) -> FileRecordings:
        targets = self.targets.at(rows, labels)
        chosen = rows.tolist()
        paths, spans = [self.paths[i] for i in chosen], [self.spans[i] for i in chosen]
        return FileRecordings(paths, targets, self.spec, self.root, self.on_error, spans, self.lengths[rows])

    def _length(self, path: File, span: Span | None, header: tuple[int, int] | None) -> int:
        """Samples, as the header says; 0 where there is none to read."""
        if header is None:
            return 0  # reading it raises, or leaves it out
        samples, rate = header
        begin, end = span or (0.0, None)
        if end is not None and end > samples / rate + ROUNDED:
            self.beyond.append(f"{Clip(path, span)}, of {samples / rate:g} s")
        seconds = (samples / rate if end is None else min(end, samples / rate)) - begin
        count = max(0, round(seconds * int(self.spec.shape["rate"])))
        longest = max_samples(self.spec) or sys.maxsize
        self.longer += count > longest
        return min(count, longest)

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def identities(self) -> Tensor | None:
        return self._identities

    @cached_property
    def _identities(self) -> Tensor | None:
        return self.identities_of(torch.arange(len(self.paths)))

    def identities_of(self, rows: Tensor) -> Tensor | None:
        contents = files.identities([self.paths[row] for row in rows.tolist()])
        if contents is None:
            return None
        return numbers(
            hashlib.blake2b(content + repr(self.spans[row]).encode(), digest_size=8).digest()
            for content, row in zip(contents, rows.tolist(), strict=True)
        )

    def contents(self, rows: Tensor) -> Tensor:
        return contents((self.paths[i], self.spans[i]) for i in rows.tolist())

    def known_by(self) -> list[str]:
        names = known_by(self.paths, self.root)
        return [name_of_part(name, span) for name, span in zip(names, self.spans, strict=True)]

    def digest(self) -> bytes:
        """Of names and sizes in bytes, of cells the content: a recording that was deleted, added or replaced shows."""
        digest = hashlib.sha256(digests(self.paths, self.root)[0])
        digest.update(repr(self.spans).encode())
        return digest.digest()


def _header(path: File) -> tuple[int, int] | None:
    """As `audio_reader.info`, None where there is none to read."""
    try:
        return audio_reader.info(path)
    except DataError:
        return None


class AudioSource(DividedSource):
    """A source of recordings with classes or transcripts. A subclass calls `describe`, and implements `load`.

    rate: samples a second; None is the checkpoint's, else the dataset's own.
    seconds: the longest recording, of a longer one the middle is taken; None is the checkpoint's, else any length.
    shared: the keys of every dataset.

    Raises ConfigError for values that can't work together.
    """

    modality, noun = "audio", "recordings"

    def __init__(self, *, rate: int | None = None, seconds: float | None = None, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.rate, self.seconds = rate, seconds
        self._rates: Mapping[int, int] = {}

    def describe(
        self,
        classes: Sequence[str],
        splits: Sequence[str],
        rate: int,
        units: str | None = None,
        tokenizer: dict[str, Any] | None = None,
    ) -> None:
        """Say what the dataset is by itself; from that, the keys and the checkpoint's Spec follows `self.spec`.

        units: None where `classes` are classes (the one class "" means that there are none), else what a transcript is
        made of, a key of `transcripts.UNITS`, and `classes` are all of these; `tokenizer` finds them in a text where
        they are pieces of words. `rate` is the dataset's own.
        """
        self.own_classes, self.splits = tuple(classes), tuple(splits)
        if units is not None:
            self._check_transcripts()
        self.check()
        shape = audio_reader.shape(self._choose_rate(rate), self._choose_seconds())
        shape |= {} if self.list_path == PATH else {"path": self.list_path}
        kept = self.class_names()
        if units is None:
            target = "labels" if self.has_sets else "class"
            target, kept = ("none", ()) if kept == ("",) else (target, kept)
            self.spec = Spec("audio", shape, target, kept)
        else:
            cut = {} if tokenizer is None else {"tokenizer": tokenizer}
            self.spec = Spec("audio", {**shape, "units": units, **cut}, "transcript", kept)

    def loaded(self, split: str) -> SplitExamples:
        """As in every source; says how many recordings are longer than they may be."""
        known = split in self._raw
        examples = super().loaded(split)
        if not known and isinstance(examples, OnDemandRecordings) and examples.longer:
            of = counted(len(examples), "recordings")
            self.note(f"{split}: of {examples.longer:,} of {of} {longer_than(self.spec)}")
        return examples

    def own_rate(self, paths: Sequence[File]) -> int:
        """Samples a second of the first recording that can be read; `_rates` counts those that are looked at."""
        own, first = None, None
        files_of = list(dict.fromkeys(self.without_ignored(paths)))
        for path in files_of:
            try:
                own = audio_reader.info(path)[1]
                break
            except DataError as error:
                first = first or error
                if self.on_error != "skip":
                    raise DataError(f"{error}; dataset.on_error=skip leaves such files out") from error
        if own is None:
            none = f"none of {len(files_of)} files is readable as a recording"
            raise DataError(f"{self._where()}: {none}; the first: {first}")
        self._rates = audio_reader.rates(files_of[:: -(-len(files_of) // LOOKED_AT)])
        return own

    def note_scaling(self, paths: Sequence[File]) -> None:
        """Say it where one of some recordings is beyond the usual amplitudes."""
        if scaled := audio_reader.scale_note(paths):
            self.note(scaled)

    def groups(self, split: str) -> Tensor:
        """Classes, or label sets; 0 for everything that has none."""
        examples = self.loaded(split)
        return torch.zeros(len(examples), dtype=torch.long) if examples.labels is None else examples.labels

    def fingerprint(self) -> str:
        return self._fingerprint(lambda examples: examples.digest())

    def earlier_fingerprint(self) -> str:
        return self._fingerprint(lambda examples: examples.earlier_digest())

    def _fingerprint(self, digest_of: Callable[[MemoryRecordings | OnDemandRecordings], bytes]) -> str:
        digest = hashlib.sha256(json.dumps([self.spec.classes, self.spec.shape, self.splits]).encode())
        for name in SPLITS:
            if (examples := self.split(name)) is not None:
                assert isinstance(examples, MemoryRecordings | OnDemandRecordings)
                digest.update(name.encode() + examples.targets.digest() + digest_of(examples))
        return digest.hexdigest()[:16]

    def _check_transcripts(self) -> None:
        for key, value in (("classes", self.classes), ("per_class", self.per_class), ("names", self.called)):
            if value is not None:
                raise ConfigError(f"dataset.{key}={value}: transcripts have no classes; leave it null")

    def _choose_rate(self, own: int) -> int:
        """The typed one, else the checkpoint's, else the dataset's own; what is resampled is told if none is typed."""
        if self.rate is not None:
            return self.rate
        rate, whose = own, "that of the first"
        if self.like is not None:
            rate, whose = int(self.like.shape["rate"]), "as in the checkpoint"
        if len(self._rates) > 1:
            rates = ", ".join(f"{each:,} Hz: {count:,}" for each, count in sorted(self._rates.items()))
            message = f"recordings have different rates ({rates}); all are resampled to {rate:,} Hz, {whose}"
            self.note(f"{message}; dataset.rate=… changes it")
        elif rate != own:
            self.note(f"recordings are resampled to {rate:,} Hz, {whose}; dataset.rate=… changes it")
        return rate

    def _choose_seconds(self) -> float | None:
        return self.seconds if self.seconds is not None or self.like is None else self.like.shape["seconds"]
