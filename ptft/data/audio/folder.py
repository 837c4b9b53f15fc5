"""Recordings in folders, one a class, or named by a pattern, or listed in a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.clips import time_notes
from ptft.data.audio.examples import MemoryRecordings, OnDemandRecordings, Targets
from ptft.data.audio.source import RECORDINGS, AudioSource, FileRecordings, RecordingKeys
from ptft.data.folders import list_all
from ptft.data.own.by_name import list_by_name
from ptft.data.own.filename_pattern import Pattern
from ptft.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AudioFolder(AudioSource):
    """Recordings with one class each.

    root: a folder of `train/CLASS/recording.wav`, `val/CLASS/…` and perhaps `test/CLASS/…`; or of `CLASS/…`, divided
        into 80, 10 and 10 percent by class and `split_seed`; or a CSV file with the columns path, label and perhaps
        split. With `pattern` any folder: files are found wherever they are below it.
    pattern: what the names of files say, e.g. `{label}_{speaker}_{index}`; None where folders say the class.
    test_rule, val_rule: which files of a pattern are the test and val split, e.g. `index:0-4` or `speaker:anna+tom`;
        with neither the files are divided as folders are, by folders train, val and test if there are. The rest is the
        train split.
    split_seed: divides what comes undivided; not the run's seed, so that all seeds of a sweep share a test split.
    path, label: the columns of a CSV, by name; "auto": those of these names, else the only ones that can be them.
    label_separator, and a list of labels: as `ptft.data.image.folder.ImageFolder` has them.
    group: a column, "folder" or a part of the pattern; see `ptft.data.own.grouping`.

    Raises DataError saying what is wrong with `root`, ConfigError for a pattern or rule that can't be.
    """

    units: str | None = None
    has_groups = True

    def __init__(
        self,
        *,
        pattern: str | None = None,
        test_rule: str | None = None,
        val_rule: str | None = None,
        split_seed: int = 0,
        path: str = "path",
        label: str | Sequence[str] = "label",
        label_separator: str | None = None,
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {RECORDINGS.layout}")
        column = self.read_sets(label, label_separator)
        self.check_list(self.root)
        self.pattern = None if pattern is None else Pattern(pattern, keys.get("group"), RECORDINGS.suffixes)
        self.named_by(self.pattern)
        rules = {"test": test_rule, "val": val_rule}
        named = list_by_name(self, self.root, RECORDINGS, self.pattern, rules, split_seed)
        columns = {"path": path, "label": column}
        listed = list_all(self, self.root, split_seed, RECORDINGS, columns=columns) if named is None else named
        self.listings = listed
        for sentence in time_notes(self.root, read=False) if self.root.is_file() else ():
            self.note(sentence)
        leading = self.leading(self.listings)
        paths = [path for listing in self.listings.values() for path in listing.paths]
        self.note_scaling(self.listings[leading].paths[:20])
        listing = self.listings[leading]
        classes = self.names_in(listing.names) if self.has_sets else listing.classes
        self.describe(classes, tuple(self.listings), self.own_rate(paths), self.units)

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self.listings[split].paths) for split in splits}

    def grouped(self, split: str) -> Sequence[str]:
        return self.listings[split].groups

    def load(self, split: str) -> OnDemandRecordings | MemoryRecordings:
        return self.recordings(split, self.own_classes)

    def recordings(self, split: str, classes: Sequence[str]) -> FileRecordings:
        """The files of a split and their labels, which count `classes`."""
        listing = self.listings[split]
        if self.has_sets:
            labels = self.to_vectors(listing.names, split)
        else:
            labels = self.to_labels(listing.names, lambda i: f"{listing.paths[i]}: {split}", classes)
        assert self.root is not None
        base = self.root if self.root.is_dir() else self.root.parent
        return FileRecordings(listing.paths, Targets(len(labels), labels), self.spec, base, self.on_error)


def sample(root: Path, count: int = 6) -> None:
    """Write `count` short recordings a class and split, two classes, below `root`: low and high tones."""
    for split in ("train", "val"):
        for name, pitch in (("low", 200), ("high", 900)):
            for i in range(count):
                time = torch.arange(1600 + 160 * i) / 8000
                tone = (6000 * torch.sin(2 * torch.pi * pitch * time)).to(torch.int16)
                audio_reader.write(root / split / name / f"{i}.wav", tone, 8000)
