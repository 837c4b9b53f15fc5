"""What is found.

Axes: N examples of all splits, n those that can be read, each content once, W features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptft.data.inspected import features, hashes
from ptft.data.inspected.kinds import Kind
from ptft.data.inspected.neighbours import groups_of, nearest
from ptft.data.inspected.reading import Seen
from ptft.data.inspected.subject import Subject
from ptft.errors import counted, shortened
from ptft.stages.inspect import probe

NEIGHBOURS = 10
"""By which it is said how far an example is from others."""
KINDS = ("unreadable", "duplicates", "near_duplicates", "label_errors", "outliers", "odd")
"""What may stand in ignore.csv."""
KEPT = {"test": 0, "val": 1, "train": 2}
"""Which of several copies stays: the one that is measured, since a published test split stays whole."""
TARGETS = {"number": "numbers", "tags": "tags", "span": "answers", "transcript": "transcripts"}
USUAL = 20
"""Fewer different examples have no outliers."""
FEW = 2 * probe.FOLDS
"""Fewer labelled examples are not probed."""


ALONE = "features alone"
"""How a pair was found that nothing else shows to be near."""
Pair = tuple[int, int, float, str]


@dataclass
class Findings:
    """What was found, each by the numbers of examples.

    unreadable, odd: example -> why. same: examples that hold the same, of pictures every caption; copies: those of them
    that are more than a picture's further captions; the first of each list stays. near: pairs, how far they are apart,
    and by what they were found. alone: such pairs that only a model's features call near, which two examples of one
    class may be; they are shown, and no leakage. errors: example, likely class, how sure. outliers: example, how many
    deviations.
    probabilities: out of fold, float [n, K], for the rows `probed`. omitted: what was not looked for, and why.
    """

    unreadable: dict[int, str] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)
    same: list[list[int]] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    near: list[Pair] = field(default_factory=list)
    alone: list[Pair] = field(default_factory=list)
    errors: list[tuple[int, int, float]] = field(default_factory=list)
    outliers: list[tuple[int, float]] = field(default_factory=list)
    accuracy: float | None = None
    described: str = ""
    outliers_by: str = ""
    omitted: list[str] = field(default_factory=list)


def find(subject: Subject, seen: Seen, kind: Kind, seed: int, name: str | None) -> Findings:
    """Everything; kind: the module of the modality. name: of the checkpoint whose features are `seen.encoded`."""
    found = Findings(seen.unreadable, seen.odd, omitted=list(kind.LEFT_OUT))
    found.same = list(_same(subject, seen))
    found.copies = [parted for group in found.same if len(parted := _parted(subject, group)) > 1]
    if again := [subject.names[row] for group in found.copies for row in group if same_file(subject, group, row)]:
        found.omitted.append(
            f"leaving out {counted(len(again), 'lines')} of {shortened(list(dict.fromkeys(again)), 4)}, whose list has "
            "another of the same file: dataset.ignore goes by names; take the lines out of that list"
        )
    rows = seen.rows()
    if len(rows) < 2:
        found.omitted.append("near duplicates, outliers and labels: fewer than two different examples can be read")
        return found
    found.near, found.alone = _near(subject, seen, kind, rows, seed)
    encoded = None if seen.encoded is None else _unit(seen.encoded[rows])
    described: Tensor = kind.described(seen, rows, seed, subject.texts) if encoded is None else encoded
    found.described = kind.FEATURES if encoded is None else f"{name}'s backbone ({described.shape[1]} features)"
    if len(rows) >= USUAL:
        _outliers(subject, found, kind, rows, described, encoded is None, seed)
    else:
        found.omitted.append(f"outliers: {len(rows)} different examples do not say what is usual")
    _labels(subject, found, rows, described, seed)
    return found


def _outliers(
    subject: Subject, found: Findings, kind: Kind, rows: Tensor, described: Tensor, simple: bool, seed: int
) -> None:
    """What is far from all else; simple: whether no checkpoint's features are there."""
    if kind.strange is not None and simple:
        scores: Tensor = kind.strange(rows, subject.texts)
        found.outliers_by = "how rare their characters are beside each other"
    else:
        usual = nearest(described, min(NEIGHBOURS, len(rows) - 1), seed)
        scores, found.outliers_by = (
            features.deviations(features.remoteness(usual)),
            f"their distance from others in {found.described}",
        )
    far = (scores > features.FAR).nonzero().flatten()
    order = far[scores[far].argsort(descending=True)]
    found.outliers = list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))


def _unit(values: Tensor) -> Tensor:
    unit: Tensor = values / values.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return unit


def _same(subject: Subject, seen: Seen) -> Iterator[list[int]]:
    """Examples that hold the same, by their numbers; the one that stays is the first."""
    readable = seen.readable.nonzero().flatten()
    order = readable[seen.contents[readable].argsort(stable=True)]
    _, counts = torch.unique_consecutive(seen.contents[order], return_counts=True)
    groups = [group.tolist() for group in torch.split(order, counts.tolist()) if len(group) > 1]
    yield from (kept_first(subject, group) for group in sorted(groups))


def _parted(subject: Subject, group: list[int]) -> list[int]:
    """The same without a picture's further captions, each of which is an example."""
    captions = subject.captions
    if captions is None:
        return group
    said: dict[tuple[str, str], set[str]] = {}
    kept = list[int]()
    for row in group:
        known = said.setdefault((subject.split_of(row), subject.names[row]), set())
        if not known or captions[row] in known:
            kept.append(row)
        known.add(captions[row])
    return kept


def kept_first(subject: Subject, group: Sequence[int]) -> list[int]:
    """The same, the one that stays first: of the test split where one is, then of val; of equal ones the first."""
    return sorted(group, key=lambda row: (KEPT[subject.split_of(row)], row))


def same_file(subject: Subject, group: Sequence[int], row: int) -> bool:
    """Whether it is of the file of the copy that stays, which a list of files has more than once."""
    return row != group[0] and subject.names[row] == subject.names[group[0]]


def _near(subject: Subject, seen: Seen, kind: Kind, rows: Tensor, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Near duplicates, and what only features call so."""
    pairs, distances = kind.near(seen, rows, seed, subject.texts)
    found = {
        (a, b): (distance, str(kind.HASH)) for (a, b), distance in zip(pairs.tolist(), distances.tolist(), strict=True)
    }
    if seen.encoded is not None:
        usual = nearest(_unit(seen.encoded[rows]), min(hashes.K, len(rows) - 1), seed)
        alike = hashes.standing_out(usual, hashes.STANDS_OUT, hashes.CLOSE, hashes.FARTHEST)
        by_itself = kind.alike(seen, rows, alike[0], seed).tolist()
        for (a, b), distance, both in zip(alike[0].tolist(), alike[1].tolist(), by_itself, strict=True):
            found.setdefault((a, b), (distance, "features" if both else ALONE))
    numbers = rows.tolist()
    pairs_of = [(numbers[a], numbers[b], distance, by) for (a, b), (distance, by) in found.items()]
    ordered = sorted(pairs_of, key=lambda pair: (not leaks(subject, pair[:2]), pair[2]))
    return [pair for pair in ordered if pair[3] != ALONE], [pair for pair in ordered if pair[3] == ALONE]


def leaks(subject: Subject, group: Sequence[int]) -> bool:
    """Whether some are in one split, and some in another."""
    return len({subject.split_of(row) for row in group}) > 1


def _labels(subject: Subject, found: Findings, rows: Tensor, described: Tensor, seed: int) -> None:
    """Likely wrong labels, by a probe whose folds keep groups and near duplicates together."""
    if subject.labels is None:
        target = subject.source.spec.target
        what = (
            "examples have none" if target == "none" else f"examples have {TARGETS.get(target, target)}, not one class"
        )
        found.omitted.append(f"likely wrong labels: {what}")
        return
    classes, labels = len(subject.source.spec.classes), subject.labels[rows]
    if classes < 2 or len(rows) < max(FEW, 2 * classes):
        found.omitted.append(f"likely wrong labels: {len(rows)} different examples of {classes} classes are too few")
        return
    groups = _groups(subject, found, rows)
    if int(groups.unique().numel()) < FEW:  # type: ignore[no-untyped-call]
        found.omitted.append("likely wrong labels: there are too few groups to hold some out")
        return
    probability = probe.probabilities(described, labels, groups, classes, seed)
    found.accuracy = float((probability.argmax(1) == labels).float().mean())
    wrong, likely, sure = probe.likely_wrong(probability, labels)
    found.errors = list(zip(rows[wrong].tolist(), likely.tolist(), sure.tolist(), strict=True))


def _groups(subject: Subject, found: Findings, rows: Tensor) -> Tensor:
    """Long [n], equal where examples belong together."""
    place = {row: at for at, row in enumerate(rows.tolist())}
    joined = [(place[a], place[b]) for a, b, _, _ in (*found.near, *found.alone)]
    if subject.groups:
        first: dict[str, int] = {}
        joined += [(first.setdefault(subject.groups[row], at), at) for row, at in place.items()]
    return groups_of(torch.tensor(joined, dtype=torch.long).view(-1, 2), len(rows))


def leakage(subject: Subject, found: Findings) -> dict[str, int]:
    """How many examples of val and test have a copy, or a near one, in another split that is learned from or chosen by.

    Of two splits the one that is held out more counts. A near copy stands for all that hold what it holds.
    """
    held: dict[str, set[int]] = {"val": set(), "test": set()}
    alike = {row: group for group in found.same for row in group}
    near = ([*alike.get(a, [a]), *alike.get(b, [b])] for a, b, _, _ in found.near)
    for group in (*found.same, *near):
        if leaks(subject, group):
            least = max(KEPT[subject.split_of(row)] for row in group)
            for row in group:
                if KEPT[subject.split_of(row)] < least:
                    held[subject.split_of(row)].add(row)
    return {split: len(rows) for split, rows in held.items() if rows}
