"""Strings of spoken words: recordings of single words, one after another, with a transcript.

Axes: N strings, R recordings, P parts of all strings, B batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data import audio_folder
from ptft.data.audio_folder import AudioFolder
from ptft.data.hashing import key, mix, uniform
from ptft.data.recordings import FileWaves
from ptft.data.transcripts import UNITS
from ptft.data.waves import PAD, Said, UnreadWaves, Waves, begins
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ptft.data.recordings import RecordingKeys


class StringWaves(Waves):
    """Strings of recordings in memory, joined when they are taken.

    recordings: in memory. parts: long [N, most], which of them follow each other, padded with PAD; gaps: samples of
    silence before each, long [N, most]. said: the transcripts.
    """

    def __init__(self, recordings: Waves, parts: Tensor, gaps: Tensor, said: Said) -> None:
        lengths = ((recordings.lengths[parts.clamp(min=0)] + gaps) * (parts != PAD)).sum(1)
        super().__init__(recordings.values, torch.zeros_like(lengths), lengths, said, recordings.notes)
        self.recordings, self.parts, self.gaps = recordings, parts, gaps

    def take(self, indices: Tensor) -> Batch:
        parts, gaps = self.parts[indices], self.gaps[indices]
        row, place = (parts != PAD).nonzero(as_tuple=True)
        part, silence = parts[row, place], gaps[row, place]
        count = self.recordings.lengths[part]
        longest = int(self.lengths[indices].max()) if len(indices) else 0
        ends = (silence + count).cumsum(0)
        # Where in the flattened batch each part begins: behind all before it, less those that are of other rows.
        before = self.lengths[indices].cumsum(0)[row] - self.lengths[indices][row]
        start = row * longest + (ends - count) - before
        inside = torch.arange(int(count.sum())) - begins(count).repeat_interleave(count)
        sound = torch.zeros(len(indices) * longest, dtype=torch.int16)
        source = self.recordings.starts[part].repeat_interleave(count) + inside
        sound[start.repeat_interleave(count) + inside] = self.values[source]
        batch = {"input": sound.view(len(indices), longest), "length": self.lengths[indices], "index": indices}
        return {**batch, **self.said.batch(indices)}

    def at(self, rows: Tensor, labels: Tensor | None = None) -> StringWaves:
        return StringWaves(self.recordings, self.parts[rows], self.gaps[rows], self.said.at(rows))

    def digest(self) -> bytes:
        found = hashlib.sha256(self.recordings.digest())
        found.update(self.parts.contiguous().numpy().tobytes() + self.gaps.contiguous().numpy().tobytes())
        return found.digest()


class AudioStrings(AudioFolder):
    """Strings of the recordings of an `AudioFolder`, each of one speaker where the pattern names the speaker.

    strings: how many in train; held_out: in every other split. Those of a split hold recordings of that split only, so
        val is one by `val_rule` or a folder, not a fraction of train.
    words: how many words a string has, from and to. gap: seconds of silence before each word, at most.
    units: what a transcript is made of, "words" or "characters"; the text of a word is its label.
    Which recordings follow each other is a function of `seed`.
    """

    transcribes: ClassVar[bool] = True

    def __init__(
        self,
        *,
        strings: int = 5000,
        held_out: int = 500,
        words: Sequence[int] = (2, 5),
        gap: float = 0.1,
        units: str = "words",
        **options: Any,
    ) -> None:
        if units not in UNITS:
            raise ConfigError(f"dataset.units={units}: one of {', '.join(UNITS)}")
        if len(words) != 2 or not 1 <= words[0] <= words[1]:
            raise ConfigError(f"dataset.words={list(words)}: two counts, the smaller one first, e.g. [2, 5]")
        if min(strings, held_out) < 1 or gap < 0:
            raise ConfigError(
                f"dataset.strings={strings}, dataset.held_out={held_out}, dataset.gap={gap}: above 0, the gap at least 0"
            )
        self.strings, self.held_out, self.words, self.gap, self.units = strings, held_out, tuple(words), gap, units
        super().__init__(**options)
