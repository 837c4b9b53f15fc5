"""What is said of a dataset's splits beforehand: classes without an example, few examples, and copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ptft.builders import membership
from ptft.core import Examples, Source, Spec
from ptft.data.label_sets.cells import shown
from ptft.data.label_sets.vectors import counts
from ptft.data.source import DividedSource
from ptft.data.splits import Part
from ptft.data.text.packed.examples import PackedTexts
from ptft.errors import are, shortened

COMPARED = 2000
"""So many files that seem to be there twice are compared as a whole; more of them are no chance."""
FEW = 20
"""A split that ptft chose is called small where it has fewer examples."""


def notes(source: Source, splits: Mapping[str, Examples]) -> list[str]:
    """Sentences about the splits that are read, by "train", "val" and "test"; copies where they are trained on."""
    sentences = list(_absent(source.spec, splits))
    if isinstance(source, DividedSource):
        sentences += _few(source, splits)
        if "train" in splits:
            sentences += [*membership.uncompared(source), *_copies(source, list(splits))]
    return sentences


def _absent(spec: Spec, splits: Mapping[str, Examples]) -> Iterator[str]:
    for split, examples in splits.items():
        if spec.target in ("class", "labels") and examples.labels is not None:
            there = torch.ones(len(examples), dtype=torch.bool)
            there[_lost(examples)] = False
            found = counts(examples.labels.cpu()[there], len(spec.classes)).tolist()
            absent = [name for name, count in zip(spec.classes, found, strict=True) if not count]
            if absent:
                yield f"no example of {shortened(absent, 8)} is in {split}"


def _lost(examples: Examples) -> list[int]:
    """Those that are known to be unreadable; of others, which are replayed beside them, nothing is said here."""
    return [row for row in examples.unreadable if row < len(examples)]


def _few(source: DividedSource, splits: Mapping[str, Examples]) -> Iterator[str]:
    for split, examples in splits.items():
        count = len(examples.texts if isinstance(examples, PackedTexts) else examples) - len(_lost(examples))
        if source.drawn and split != "train" and 0 < count < FEW:
            worth = f"; one of them is {100 / count:.0f} points of accuracy" if source.spec.target == "class" else ""
            yield f"{split} has only {count} of the {source.noun}, too few to measure well{worth}"


def _copies(source: DividedSource, splits: list[str]) -> Iterator[str]:
    """Of contents that stand in train and in what is measured, and under several classes."""
    identities = {split: ids for split in splits if (ids := membership.identities(source, split)) is not None}
    parts = {split: part for split in identities if (part := source.part(split)) is not None}
    identities = _exact(source, identities, parts)
    for split in [split for split in identities if split != "train" and "train" in identities]:
        copies = torch.isin(identities[split], identities["train"]).nonzero().flatten()
        if len(copies):
            first = int(copies[0])
            twin = int((identities["train"] == identities[split][first]).nonzero()[0])
            pair = f"{_name(source, parts[split], first)} and {_name(source, parts['train'], twin)}"
            yield (
                f"{len(copies):,} of {len(identities[split]):,} {split} {source.noun} {are(len(copies))} in train too, "
                f"e.g. {pair}; copies make what is measured too good"
            )
    if source.spec.target in ("class", "labels") and identities:
        yield from _disputed(source, identities, parts)


def _exact(source: DividedSource, identities: dict[str, Tensor], parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """The identities, of what seems to be there twice by all that it holds: pieces of large files may be alike."""
    if not identities:
        return identities
    ends = list(accumulate(map(len, identities.values())))
    repeated = _twice(torch.cat(list(identities.values()))).tensor_split(ends[:-1])
    twice = dict(zip(identities, repeated, strict=True))
    if sum(int(rows.sum()) for rows in twice.values()) > COMPARED:
        return identities
    exact = {split: values.clone() for split, values in identities.items()}
    for split, alike in twice.items():
        if bool(alike.any()):
            contents = source.loaded(parts[split].split).contents(parts[split].rows[alike])
            if contents is not None:
                exact[split][alike] = contents
    return exact


def _twice(numbers: Tensor) -> Tensor:
    """Bool [N], which of the numbers (long [N]) are there more than once."""
    order = numbers.argsort()
    same = numbers[order][1:] == numbers[order][:-1]
    edge = torch.zeros(1, dtype=torch.bool)
    repeated = torch.empty(len(numbers), dtype=torch.bool)
    repeated[order] = torch.cat([edge, same]) | torch.cat([same, edge])
    return repeated


def _disputed(source: DividedSource, identities: Mapping[str, Tensor], parts: Mapping[str, Part]) -> Iterator[str]:
    contents = torch.cat(list(identities.values()))
    labels = torch.cat([parts[split].labels for split in identities])
    order = contents.argsort(stable=True)
    contents, labels = contents[order], labels[order]
    other = (labels[1:] != labels[:-1]).flatten(1).any(1) if labels.ndim == 2 else labels[1:] != labels[:-1]
    differs = (contents[1:] == contents[:-1]) & other
    if not bool(differs.any()):
        return
    disputed = contents[1:][differs]
    count = 1 + int((disputed[1:] != disputed[:-1]).sum())
    place = int(differs.nonzero()[0])
    first, second = (_called(source, list(parts.values()), int(order[at])) for at in (place, place + 1))
    several = "two classes" if labels.ndim == 1 else "two sets of labels"
    yield f"{count:,} of the {source.noun} {are(count)} there under {several}, e.g. {first} and {second}"


def _called(source: DividedSource, parts: Sequence[Part], index: int) -> str:
    """The name and the class of the example that is number `index` of all parts one after the other."""
    for part in parts:
        if index < len(part.rows):
            return f"{_name(source, part, index)} ({_label(source.spec, part.labels[index])})"
        index -= len(part.rows)
    raise AssertionError("there are fewer examples")


def _label(spec: Spec, label: Tensor) -> str:
    """The name of a class, or of all labels of a set."""
    if label.ndim == 0:
        return spec.classes[int(label)]
    return shown([spec.classes[k] for k in label.nonzero().flatten().tolist()], spec.classes) or "none"


def _name(source: DividedSource, part: Part, index: int) -> str:
    return source.names(part.split)[int(part.rows[index])]
