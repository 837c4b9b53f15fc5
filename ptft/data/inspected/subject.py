"""What is inspected: the examples of all splits, one after another, and what is known of each without reading it.

Axes: N examples of all splits, n of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ptft.core import Examples, Source, Spec
from ptft.data.cleaning.ignore import digest_of, hexadecimal
from ptft.data.examples import OnDemandExamples
from ptft.data.hub.cells import Cell, File
from ptft.data.image.captions.folder import CaptionFolder
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.data.text import reader as text_reader
from ptft.data.text.corpus import CorpusSource

BEGINNING = 300
"""Characters of a text that stand in inspect.json."""
AT_ONCE = 256
"""Examples whose tokens are read as one batch."""


@dataclass
class Subject:
    """The examples of a dataset's splits, numbered from 0 to N - 1 in the order of the splits.

    parts: the examples of each split; documents of running text have none. rows: of each split which of the dataset's
    own these are; of the pieces of what is cut the first stands for the whole. names: as in `split.csv`. columns: where
    examples are texts, the texts of each that are read one after another (a pair; a question and what it is about).
    labels: long [N] of one class each, None where there are none. captions: of pictures that have them.
    """

    source: Source
    parts: dict[str, Examples | None]
    sizes: dict[str, int]
    names: list[str]
    labels: Tensor | None = None
    columns: list[tuple[str, ...]] | None = None
    groups: list[str] = field(default_factory=list)
    captions: list[str] | None = None
    rows: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def texts(self) -> list[str] | None:
        """All that is read of each, where examples are texts."""
        return None if self.columns is None else list(map("\n".join, self.columns))

    @cached_property
    def starts(self) -> dict[str, int]:
        """Split -> the number of its first example."""
        ends = torch.tensor(list(self.sizes.values())).cumsum(0).tolist()
        return dict(zip(self.sizes, [0, *ends[:-1]], strict=True))

    @cached_property
    def _splits(self) -> list[str]:
        return [split for split, count in self.sizes.items() for _ in range(count)]

    @cached_property
    def _paths(self) -> list[Any]:
        """The files that examples are read from, None for one that has none of its own."""
        found: list[Any] = []
        for split, examples in self.parts.items():
            base, rows = examples.whole() if isinstance(examples, OnDemandExamples) else (examples, torch.empty(0))
            paths: Sequence[Any] = getattr(base, "paths", ())
            found += [paths[row] for row in rows.tolist()] if len(paths) else [None] * self.sizes[split]
        return found

    def split_of(self, index: int) -> str:
        return self._splits[index]

    def file(self, index: int) -> File | None:
        """What an example alone is read from: a file or a cell of a table, where it is one."""
        file: File | None = self._paths[index]
        return file

    def path(self, index: int) -> str | None:
        """The file that an example is read from, where it has one of its own."""
        file = self.file(index)
        return None if file is None or isinstance(file, Cell) else str(file)

    def label(self, index: int) -> str | None:
        """The name of its class; None where it has none."""
        return None if self.labels is None else self.source.spec.classes[int(self.labels[index])]

    def item(self, index: int) -> dict[str, Any]:
        """As inspect.json has an example: its name, split, place there, label, file and how its text begins."""
        split = self.split_of(index)
        shown = {"name": self.names[index], "split": split, "index": index - self.starts[split]}
        text = None if self.texts is None else self.texts[index][:BEGINNING]
        return {**shown, "label": self.label(index), "path": self.path(index), "text": text}

    def contents(self, rows: Sequence[int]) -> list[str]:
        """What some hold, as `dataset.ignore` compares it; "" where that is not known."""
        if isinstance(self.source, CorpusSource):
            assert self.texts is not None
            return [digest_of(self.texts[row]) for row in rows]
        if not isinstance(self.source, DividedSource):
            return [""] * len(rows)
        found = [""] * len(rows)
        for split, start in self.starts.items():
            own = [(place, row - start) for place, row in enumerate(rows) if 0 <= row - start < self.sizes[split]]
            part = self.source.part(split)
            if part is None or not own:
                continue
            contents = self.source.contents(part.split, self.rows[split][[row for _, row in own]])
            for (place, _), number in zip(
                own, [] if contents is None else contents.tolist(), strict=contents is not None
            ):
                found[place] = hexadecimal(number)
        return found


def subject_of(source: Source) -> Subject:
    """All that the splits of a source hold. Raises DataError where they can't be."""
    if isinstance(source, CorpusSource):
        return _of_documents(source)
    if isinstance(source, DividedSource):
        return _of_rows(source)
    parts = {split: examples for split in SPLITS if (examples := source.split(split)) is not None}
    sizes = {split: len(examples) for split, examples in parts.items()}
    names = [f"{split} {i}" for split, count in sizes.items() for i in range(count)]
    columns = [text for examples in parts.values() for text in _decoded(source.spec, examples)]
    labels = _labels(source, list(parts.values()))
    return Subject(source, dict(parts), sizes, names, labels, columns if len(columns) == len(names) else None)


def _of_rows(source: DividedSource) -> Subject:
    parts: dict[str, Examples | None] = {}
    sizes: dict[str, int] = {}
    names, groups, captions, kept = list[str](), list[str](), list[str](), dict[str, Tensor]()
    columns = list[tuple[str, ...]]()
    for split in SPLITS:
        if (part := source.part(split)) is None or (examples := source.split(split)) is None:
            continue
        kept[split] = _whole(part.rows, examples)
        rows = kept[split].tolist()
        own = source.names(part.split)
        names += [own[row] for row in rows]
        if source.grouping is not None:
            of_each = source.groups_of(part.split)
            groups += [of_each[row] for row in rows]
        if isinstance(source, CaptionFolder):
            said = source.listings[part.split].names
            captions += [said[row] for row in rows]
        if source.modality == "text":
            shown = list(zip(*source.shown(part.split).values(), strict=True))
            columns += [shown[row] for row in rows] if shown else _decoded(source.spec, examples)
        parts[split], sizes[split] = examples, len(rows)
    labels = _labels(source, [examples for examples in parts.values() if examples is not None])
    labels = labels if labels is None or len(labels) == len(names) else None
    read = columns if len(columns) == len(names) else None
    return Subject(source, parts, sizes, names, labels, read, groups, captions or None, kept)


def _whole(rows: Tensor, examples: Examples) -> Tensor:
    """Those of the rows (long [N]) that stand for what they are pieces of, the first of each."""
    units: Tensor | None = getattr(examples, "units", None)
    if units is None or len(units) != len(rows):
        return rows
    _, owner = torch.unique(units, return_inverse=True)
    first = torch.full((int(owner.max()) + 1,), len(rows)).scatter_reduce_(0, owner, torch.arange(len(rows)), "amin")
    return rows[first.sort().values]


def _decoded(spec: Spec, examples: Examples) -> list[tuple[str, ...]]:
    """What is read of texts that nobody shows, from their tokens; of all else nothing."""
    if spec.modality != "text":
        return []
    tokenizer, texts = text_reader.tokenizer_of(spec), list[tuple[str, ...]]()
    for begin in range(0, len(examples), AT_ONCE):
        batch = examples.take(torch.arange(begin, min(len(examples), begin + AT_ONCE)))
        ids, lengths = batch["input"].tolist(), batch["mask"].sum(1).tolist()
        texts += [(tokenizer.decode(row[:length]),) for row, length in zip(ids, lengths, strict=True)]
    return texts


def _of_documents(source: CorpusSource) -> Subject:
    texts = {split: source.texts(split) for split in SPLITS if source.names[split] is not None}
    sizes = {split: len(documents) for split, documents in texts.items()}
    names = [f"{split} document {i}" for split, count in sizes.items() for i in range(count)]
    return Subject(
        source, dict.fromkeys(texts), sizes, names, columns=[(text,) for each in texts.values() for text in each]
    )


def _labels(source: Source, parts: Sequence[Examples]) -> Tensor | None:
    if source.spec.target != "class" or not source.spec.classes:
        return None
    labels = [examples.labels for examples in parts if examples.labels is not None]
    return torch.cat(labels).cpu() if len(labels) == len(parts) else None
