"""Recordings in datasets of Hugging Face's library, by name or from a folder (`pip install 'ptft[huggingface]'`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.clips import Clip
from ptft.data.audio.source import FileRecordings
from ptft.data.audio.utterances import Utterance, UtteranceKeys, Utterances, typed_columns
from ptft.data.examples import SplitExamples
from ptft.data.hub.source import HubSource
from ptft.data.hub.tables import AUDIO
from ptft.data.own.arrow import write_parquet
from ptft.data.own.columns import AUTO
from ptft.data.own.unusable import UnusableRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXPECTED = "expected rows of recordings"


class HuggingFaceAudio(HubSource, Utterances):
    """A recording a row, and its transcript or its class, or several labels.

    name, subset, root: as of `HubSource`. audio, text, label: columns by name; "auto": those of these names, else what
        says so itself, or is the only one that can be it.
    label_separator, and a list of labels: as `ptft.data.image.listed.huggingface.HuggingFaceImages` has them.
    labelled: whether labels are needed: where rows have both, they are the labels then, and else the texts.
    label: None for recordings alone, as where there is no other column and no labels are needed.

    The classes are those that the column says, in its order. Raises DataError saying what can't be read.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        subset: str | None = None,
        audio: str = AUTO,
        text: str = AUTO,
        label: str | Sequence[str] | None = AUTO,
        label_separator: str | None = None,
        labelled: bool = False,
        **keys: Unpack[UtteranceKeys],
    ) -> None:
        super().__init__(**keys)
        table = self.open(name, subset)
        column = self.read_sets(label, label_separator)
        alone = label is None or not (labelled or {text, label} - {AUTO} or len(table.column_names) > 1)
        typed = {AUDIO: audio} if alone else typed_columns(AUDIO, audio, text, column, labelled, self.has_sets)
        wanted = self.read_columns(table, AUDIO, typed, True)
        unusable = UnusableRows(self.on_error, "row")
        rows = [
            Utterance(Clip(row.path, None), row.label, row.split, row.where, row.group)
            for row in self.read_rows(wanted, unusable)
        ]
        self.describe_rows(rows, "" if alone else self.key, unusable, (), EXPECTED)

    def classes_of(self, texts: Sequence[str]) -> tuple[str, ...]:
        return self.in_order(super().classes_of(texts))

    def names(self, split: str) -> Sequence[str]:
        examples: SplitExamples = self.loaded(split)
        assert isinstance(examples, FileRecordings)
        return self.names_of(examples.paths)


def sample(root: Path, count: int = 6) -> None:
    """Write train.parquet and validation.parquet below `root`: `count` low and as many high tones."""
    for split in ("train", "validation"):
        waves = list[bytes]()
        for i in range(2 * count):
            time = torch.arange(1600 + 160 * i) / 8000
            tone = (6000 * torch.sin(2 * torch.pi * (200, 900)[i % 2] * time)).to(torch.int16)
            waves.append(audio_reader.encoded(tone, 8000))
        write_parquet(root / f"{split}.parquet", AUDIO, waves, ["low", "high"] * count)
