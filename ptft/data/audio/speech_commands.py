"""Speech Commands: spoken words of a second, and its official division (Warden 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.examples import Targets
from ptft.data.audio.source import AudioSource, FileRecordings, RecordingKeys
from ptft.data.own import foreign
from ptft.data.own.listing import Listing
from ptft.errors import ConfigError, DataError, absent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ptft.data.source import DividedSource

LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
RATE = 16_000
EXPECTED = "expected root/WORD/*.wav with root/validation_list.txt and root/testing_list.txt, as they are unpacked"


class SpeechCommands(AudioSource):
    """Recordings of single words: a folder a word, and two lists of those that are not trained on.

    Folders that begin with an underscore (background noise) are no words.
    Raises DataError saying what is wrong with `root`.
    """

    def __init__(self, **keys: Unpack[RecordingKeys]) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {EXPECTED}")
        self.listings = _listed(self, self.root)
        self.describe(self.listings["train"].classes, tuple(self.listings), RATE)

    def load(self, split: str) -> FileRecordings:
        listing = self.listings[split]
        labels = self.to_labels(listing.names, lambda i: f"{listing.paths[i]}: {split}")
        assert self.root is not None
        return FileRecordings(listing.paths, Targets(len(labels), labels), self.spec, self.root, self.on_error)


def _listed(source: DividedSource, root: Path) -> dict[str, Listing]:
    if not root.exists():
        raise DataError(f"dataset.root={root}: {absent(root)}; {EXPECTED}")
    held = {split: _held(root / name) for split, name in LISTS.items()}
    listings = {split: Listing([], []) for split in ("train", *LISTS)}
    others: list[Path] = []
    for path in files.find(root, audio_reader.SUFFIXES, others):
        word = path.parent.name
        if not _is_of_word(path, root):
            continue
        split = next((split for split, names in held.items() if f"{word}/{path.name}" in names), "train")
        listings[split].paths.append(path)
        listings[split].names.append(word)
    others = [path for path in others if _is_of_word(path, root)]
    foreign.tell(source, others, "recordings", root)
    if not listings["train"].paths:
        raise DataError(f"dataset.root={root}: holds no recordings to train on; {EXPECTED}")
    return listings


def _is_of_word(path: Path, root: Path) -> bool:
    return path.parent.parent == root and not path.parent.name.startswith("_")


def _held(file: Path) -> frozenset[str]:
    try:
        return frozenset(files.read_file(file).split())
    except DataError as error:
        raise DataError(f"{error}; {EXPECTED}") from error


def sample(root: Path, count: int = 6) -> None:
    """Write `count` short recordings of each of two words in its layout, one of each held out for val and test."""
    for word, pitch in (("no", 200), ("yes", 900)):
        for i in range(count):
            tone = 6000 * torch.sin(2 * torch.pi * pitch * torch.arange(4000 + 100 * i) / RATE)
            audio_reader.write(root / word / f"{i}_nohash_0.wav", tone.to(torch.int16), RATE)
    for number, name in enumerate(LISTS.values()):
        (root / name).write_text(f"no/{number}_nohash_0.wav\nyes/{number}_nohash_0.wav\n", encoding="utf-8")
