"""Strings of spoken words: recordings of single words, one after another, with a transcript.

Axes: N strings, R recordings, P parts of all strings, B batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.data.audio import folder as audio_folder
from ptft.data.audio import transcripts
from ptft.data.audio.examples import PAD, MemoryRecordings, Targets
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.source import FileRecordings
from ptft.data.files import nfc
from ptft.data.labels import to_labels
from ptft.data.own.unusable import UNREADABLE, Unread
from ptft.data.ragged import flat_indices, starts_of
from ptft.errors import ConfigError, DataError
from ptft.runtime.together.splitmix import key


class StringRecordings(MemoryRecordings):
    """Strings of recordings in memory, joined when they are taken.

    recordings: in memory. parts: long [N, most], which of them follow each other, padded with PAD; gaps: samples of
    silence before each, long [N, most]. targets: the transcripts. made_of: the digest of the recordings' files.
    """

    def __init__(
        self, recordings: MemoryRecordings, parts: Tensor, gaps: Tensor, targets: Targets, made_of: bytes
    ) -> None:
        lengths = ((recordings.lengths[parts.clamp(min=0)] + gaps) * (parts != PAD)).sum(1)
        super().__init__(recordings.ragged.values, torch.zeros_like(lengths), lengths, targets, recordings.notes)
        self.recordings, self.parts, self.gaps, self.made_of = recordings, parts, gaps, made_of

    def take(self, indices: Tensor) -> Batch:
        parts, lengths = self.parts[indices], self.lengths[indices]
        real, longest = parts != PAD, int(lengths.max())
        counts = self.recordings.lengths[parts.clamp(min=0)] * real
        ends = (counts + self.gaps[indices] * real).cumsum(1)
        # Where each part begins in the flattened batch, and where in the samples of all recordings.
        begin = (torch.arange(len(parts)) * longest).unsqueeze(1) + ends - counts
        sound = torch.zeros(len(parts) * longest, dtype=torch.int16)
        sound[flat_indices(begin[real], counts[real])] = self.recordings.ragged.at(parts[real]).flat()
        batch = {"input": sound.view(len(parts), longest), "length": lengths, "index": indices}
        return {**batch, **self.targets.batch(indices)}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> StringRecordings:
        targets = self.targets.at(rows)
        return StringRecordings(self.recordings, self.parts[rows], self.gaps[rows], targets, self.made_of)

    def digest(self) -> bytes:
        return self._digest(self.made_of)

    def earlier_digest(self) -> bytes:
        return self._digest(self.recordings.digest())

    def _digest(self, recordings: bytes) -> bytes:
        digest = hashlib.sha256(recordings)
        digest.update(self.parts.contiguous().numpy().tobytes() + self.gaps.contiguous().numpy().tobytes())
        return digest.digest()


class AudioStrings(AudioFolder):
    """Strings of the recordings of an `AudioFolder`, each of one speaker where the pattern names the speaker.

    strings: how many in train; held_out: in every other split. Those of a split hold recordings of that split only, so
        val is one by `val_rule` or a folder, not a fraction of train.
    words: how many words a string has, from and to. gap: seconds of silence before each word, at most.
    units: what a transcript is made of, "words", "characters" or "bpe": pieces of words, `vocabulary` of them at the
        most. The text of a word is its label.
    Which recordings follow each other is a function of `seed`. Recordings that can't be read, or that the list of
    examples to leave out names, are in no string. every: whether the former are listed whatever `on_error` says.
    """

    has_groups = False

    def __init__(
        self,
        *,
        strings: int = 5000,
        held_out: int = 500,
        words: Sequence[int] = (2, 5),
        gap: float = 0.1,
        units: str = "words",
        vocabulary: int = 300,
        every: bool = False,
        **options: Any,
    ) -> None:
        if len(words) != 2 or not 1 <= words[0] <= words[1]:
            raise ConfigError(f"dataset.words={list(words)}: two counts, the smaller one first, e.g. [2, 5]")
        if min(strings, held_out) < 1 or gap < 0:
            typed = f"dataset.strings={strings}, dataset.held_out={held_out}, dataset.gap={gap}"
            raise ConfigError(f"{typed}: counts above 0, and a gap of at least 0 seconds")
        self.strings, self.held_out, self.words, self.gap, self.units = strings, held_out, tuple(words), gap, units
        self.vocabulary = vocabulary
        super().__init__(**(options | ({"on_error": "skip"} if every else {})))
        if self.fold is not None:
            raise ConfigError(f"dataset.fold={self.fold}: its strings would hold recordings of train; leave it null")
        for split, own in (("val", self.val), ("test", self.test)):
            if isinstance(own, float):
                held = f"its strings would hold recordings of train; dataset.{split}_rule=… takes others"
                raise ConfigError(f"dataset.{split}={own}: {held}")

    def describe(
        self,
        classes: Sequence[str],
        splits: Sequence[str],
        rate: int,
        units: str | None = None,
        tokenizer: dict[str, Any] | None = None,
    ) -> None:
        assert units is not None
        self.spoken = tuple(classes)
        pairs = [f"{word} {after}" for word, after in zip(classes, (*classes[1:], classes[0]), strict=True)]
        tokens, tokenizer = transcripts.vocabulary(pairs, units, self.like, size=self.vocabulary)
        super().describe(tokens, splits, rate, units, tokenizer)

    def load(self, split: str) -> StringRecordings:
        files = self._not_ignored(split, self.recordings(split, self.spoken))
        recordings = files.to_memory(lambda done, total: None)
        names, lost = files.known_by(), sorted(recordings.unreadable)
        recordings = recordings.at(torch.tensor([row for row in range(len(files)) if row not in set(lost)]).long())
        assert recordings.labels is not None
        if not len(recordings):
            raise DataError(f"{self._where()}: {split} holds no recordings to make strings of")
        self.unusable += [(names[row], UNREADABLE) for row in lost]
        self.unread += [Unread(names[row], split, UNREADABLE) for row in lost]
        paths = [Path(str(path)) for row, path in enumerate(files.paths) if row not in lost]
        generator = torch.Generator().manual_seed(key(self.seed, *split.encode()) % 2**63)
        count = self.strings if split == self.train else self.held_out
        parts = _drawn(self._speakers(paths), count, self.words, generator)
        gaps = (torch.rand(parts.shape, generator=generator) * self.gap * self.spec.shape["rate"]).long()
        texts = [" ".join(self.spoken[recordings.labels[i]] for i in row if i != PAD) for row in parts.tolist()]
        targets = transcripts.encode(texts, [f"string {i} of {split}" for i in range(count)], self.spec)
        return StringRecordings(recordings, parts, gaps, targets, files.digest())

    def ignore_notes(self) -> list[str]:
        """Of recordings and of strings that the list names."""
        if self.ignore is None:
            return []
        told = [name for split in self._ignored for name in (split, _recordings_of(split))]
        return self.ignore.notes(told, self.used_splits() <= self._ignored.keys())

    def _not_ignored(self, split: str, files: FileRecordings) -> FileRecordings:
        """The recordings that strings are made of; those that `dataset.ignore` names are in none."""
        if self.ignore is None:
            return files
        names = files.known_by()
        rows = self.ignore.rows_named(names)
        contents = files.contents(torch.tensor(rows)) if rows else None
        ignored = self.ignore.heed(_recordings_of(split), names, rows, contents)
        why = self.ignore.left_out[_recordings_of(split)]
        self.unusable += [(names[row], why[row]) for row in ignored.tolist()]
        kept = torch.ones(len(files), dtype=torch.bool)
        kept[ignored] = False
        return files.at(kept.nonzero().flatten()) if len(ignored) else files

    def _speakers(self, paths: Sequence[Path]) -> Tensor:
        """Long [R], numbers of who speaks in each of these recordings, where the pattern says it; else all 0."""
        if self.pattern is None or "speaker" not in self.pattern.fields:
            return torch.zeros(len(paths), dtype=torch.long)
        names = [nfc(self.pattern.read(path)["speaker"]) for path in paths]
        return to_labels(names, sorted(set(names)))


def _recordings_of(split: str) -> str:
    """What the list of examples to leave out calls those of a split whose strings are its examples."""
    return f"the recordings of {split}"


def _drawn(speakers: Tensor, count: int, words: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Recordings of `count` strings, long [N, most] padded with PAD, each of one of the speakers (long [R])."""
    chance = torch.rand(count, words[1], generator=generator, dtype=torch.float64)
    order, sizes = speakers.argsort(stable=True), speakers.bincount()
    speaker = torch.randint(len(sizes), (count, 1), generator=generator)
    chosen = order[starts_of(sizes)[speaker] + (chance * sizes[speaker]).long()]
    many = torch.randint(words[0], words[1] + 1, (count, 1), generator=generator)
    return chosen.masked_fill(torch.arange(words[1]) >= many, PAD)


def sample(root: Path) -> None:
    """Write two words, spoken a few times, below `root`."""
    audio_folder.sample(root)
