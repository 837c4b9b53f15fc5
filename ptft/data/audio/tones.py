"""Vowels of a synthetic voice: as many recordings as wanted, of known classes, alone or in strings. Needs no files.

A buzz of harmonics, coloured by two resonances that make the vowel (Fant 1960, the source-filter theory).

Axes: N strings, U vowels of a string, K classes, F harmonics, S samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ptft.data.audio.examples import PAD, OnDemandRecordings, Targets
from ptft.data.audio.reader import LOUDEST
from ptft.data.audio.source import AudioSource, RecordingKeys
from ptft.data.splits import SPLITS
from ptft.errors import ConfigError
from ptft.runtime.together.splitmix import key, mix, noise, uniform, within

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMANTS = {
    "i": (270, 2290),
    "e": (460, 1890),
    "a": (730, 1090),
    "o": (570, 840),
    "u": (300, 870),
    "r": (490, 1350),
    "y": (270, 1800),
    "w": (350, 600),
}
"""Hz of the two resonances of every class; those of a to u about as Peterson and Barney (1952) measured men's."""

VERSION = 1
"""Of the synthesis: another number where recordings sound otherwise."""
RATE = 8000
WIDTHS = (90.0, 120.0)
"""Hz, of the resonances."""
SECONDS = (0.12, 0.22)
"""Length of a vowel."""
PAUSE = 0.06
"""Longest silence before a vowel, seconds."""
PITCH = (90.0, 220.0)
VOICE = 0.12
"""How much longer or shorter than usual a speaker's throat may be, and all resonances lower or higher with it."""
NOISE = 0.03
LOUD = (0.15, 0.6)


class ToneRecordings(OnDemandRecordings):
    """Strings of vowels, each a function of its key (int64 [N]); `vowels` long [N, U] are padded with PAD."""

    def __init__(self, keys: Tensor, vowels: Tensor, targets: Targets, rate: int) -> None:
        self.keys, self.vowels, self.targets, self.labels, self.rate = keys, vowels, targets, targets.labels, rate
        chance = uniform(keys, 2 * vowels.shape[1]).float().view(2, vowels.shape[1], -1).mT
        real = vowels != PAD
        self.sizes = (within(chance[0], SECONDS) * rate).long() * real
        self.pauses = (chance[1] * PAUSE * rate).long() * real
        self.lengths = (self.sizes + self.pauses).sum(1)

    def wave(self, index: int) -> Tensor:
        own_key = self.keys[index : index + 1]
        pitch, voice, loud, dirt = (float(v) for v in uniform(mix(own_key), 4))
        total = int(self.lengths[index])
        sound, at = torch.zeros(total), 0
        for vowel, size, pause in zip(
            *(t[index].tolist() for t in (self.vowels, self.sizes, self.pauses)), strict=True
        ):
            if vowel != PAD:
                at += pause
                sound[at : at + size] = self._vowel(vowel, size, within(pitch, PITCH), 1 + VOICE * (2 * voice - 1))
                at += size
        sound = sound * within(loud, LOUD) + NOISE * dirt * noise(mix(own_key + 1), total)[0]
        return (sound * LOUDEST).round().clamp(-LOUDEST, LOUDEST).to(torch.int16)

    def _vowel(self, vowel: int, size: int, pitch: float, voice: float) -> Tensor:
        """float [size], at most 1: harmonics as loud as the resonances let them be, that swell and fade."""
        time = torch.arange(size) / self.rate
        harmonics = pitch * torch.arange(1, int(min(3400.0, self.rate / 2) / pitch))
        centres = torch.tensor(list(FORMANTS.values())[vowel]) * voice
        gain = (1 / (1 + ((harmonics.unsqueeze(1) - centres) / torch.tensor(WIDTHS)).square())).sum(1)
        tone = gain @ torch.sin(2 * torch.pi * harmonics.unsqueeze(1) * (time * (1 - 0.1 * time / time[-1])))
        swell = (torch.minimum(time, time[-1] - time) / 0.02).clamp(max=1)
        return tone / tone.abs().max().clamp(min=1e-6) * swell

    def at(self, rows: Tensor, labels: Tensor | None = None) -> ToneRecordings:
        targets = self.targets.at(rows, labels)
        return ToneRecordings(self.keys[rows], self.vowels[rows], targets, self.rate)

    def name(self, index: int) -> str:
        return f"tone {index}"

    def digest(self) -> bytes:
        """Of all that decides the recordings."""
        settings = repr((VERSION, FORMANTS, self.rate)).encode()
        return hashlib.sha256(settings + self.keys.numpy().tobytes() + self.vowels.numpy().tobytes()).digest()

    def earlier_digest(self) -> bytes:
        first = b"".join(self.wave(i).numpy().tobytes() for i in range(min(8, len(self))))
        return hashlib.sha256(first + self.keys.numpy().tobytes() + self.vowels.numpy().tobytes()).digest()


class Tones(AudioSource):
    """Vowels, one a recording with its class, or strings of them with a transcript.

    count: how many recordings are in train; held_out: in val and in test each.
    words: null for one vowel with its class; or [from, to], how many vowels a string with a transcript has.
    """

    skips: ClassVar[bool] = False
    embedded: ClassVar[bool] = True

    def __init__(
        self,
        *,
        count: int = 2000,
        held_out: int = 400,
        words: Sequence[int] | None = None,
        **keys: Unpack[RecordingKeys],
    ) -> None:
        super().__init__(**keys)
        if min(count, held_out) < 1:
            raise ConfigError(f"dataset.count={count}, dataset.held_out={held_out}: must be above 0")
        if words is not None and (len(words) != 2 or not 1 <= words[0] <= words[1]):
            raise ConfigError(f"dataset.words={list(words)}: two counts, the smaller one first, or null")
        self.counts = {"train": count, "val": held_out, "test": held_out}
        self.words = words
        self.describe(tuple(FORMANTS), SPLITS, RATE, None if words is None else "words")

    def load(self, split: str) -> ToneRecordings:
        count, base = self.counts[split], key(self.seed, SPLITS.index(split))
        keys = mix(torch.arange(count) ^ base)
        if self.words is None:
            labels = torch.arange(count) % len(FORMANTS)
            return ToneRecordings(keys, labels.unsqueeze(1), Targets(count, labels), int(self.spec.shape["rate"]))
        low, high = self.words
        chance = uniform(mix(keys), high + 1).T
        many = low + (chance[:, :1] * (high - low + 1)).long()
        vowels = (chance[:, 1:] * len(FORMANTS)).long().masked_fill(torch.arange(high) >= many, PAD)
        rows = [[v for v in row if v != PAD] for row in vowels.tolist()]
        return ToneRecordings(keys, vowels, Targets.of_tokens(rows), int(self.spec.shape["rate"]))


def sample(root: Path) -> None:
    """Nothing to write: the voice is made of sines."""
