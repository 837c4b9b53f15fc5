"""Which examples ignore.csv names, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ptft.core import Source
from ptft.data.cleaning.ignore import IgnoreList
from ptft.data.inspected.neighbours import groups_of
from ptft.data.inspected.subject import Subject
from ptft.data.own.unusable import UNREADABLE, Unread
from ptft.stages.inspect.findings import Findings, kept_first, same_file


def ignored(subject: Subject, found: Findings, kinds: Sequence[str]) -> dict[int, str]:
    """Of copies and near ones all but one, of what else is asked for all; example -> why.

    Names are all that it has of files, so that another line of the file that stays is not among them.
    """
    why: dict[int, str] = {}
    if "unreadable" in kinds:
        why |= {row: f"can't be read: {reason}" for row, reason in found.unreadable.items()}
    why |= dict(_copies(subject, found, kinds))
    classes = subject.source.spec.classes
    if "label_errors" in kinds:
        for row, likely, _ in found.errors:
            why.setdefault(row, f"likely {classes[likely]}, labelled {subject.label(row)}")
    if "outliers" in kinds:
        for row, score in found.outliers:
            why.setdefault(row, f"an outlier ({score:.1f} deviations)")
    if "odd" in kinds:
        for row, reason in found.odd.items():
            why.setdefault(row, reason)
    return dict(sorted(why.items()))


def ignored_before(source: Source) -> list[tuple[str, ...]]:
    """The rows of the list that is in use, as they are written into the new one, which takes its place."""
    used = getattr(source, "ignore", None)
    return [(name, *entry) for name, entry in used.rows] if isinstance(used, IgnoreList) else []


def unread(source: Source, kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """The rows of files that could not be used when the source was made, which are no examples."""
    files: Sequence[Unread] = getattr(source, "unread", ()) if "unreadable" in kinds else ()
    return [(name, "", why if why == UNREADABLE else f"can't be used: {why}", split, "") for name, split, why in files]


def _copies(subject: Subject, found: Findings, kinds: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Those that are left out as copies, or nearly, of the one of their group that stays, and of which one."""
    alike = {row: group for group in found.copies for row in group}
    for group in joined(subject, found, kinds):
        first = group[0]
        same = {first, *alike.get(first, ())}
        for row in group[1:]:
            if same_file(subject, group, row) or (row in same and "duplicates" not in kinds):
                continue
            what = "the same as" if row in same else "nearly the same as"
            yield row, f"{what} {subject.names[first]} ({subject.split_of(first)})"


def joined(subject: Subject, found: Findings, kinds: Sequence[str]) -> list[list[int]]:
    """Groups of what is alike in the ways asked for, perhaps over others; the one that stays is the first of each.

    Who is near an example is near its copies too, so that one of all of them stays, not one of each kind of likeness.
    """
    near = [(a, b) for a, b, *_ in found.near] if "near_duplicates" in kinds else []
    reached = {row for pair in near for row in pair}
    copies = [group for group in found.copies if "duplicates" in kinds or reached.intersection(group)]
    members = sorted(reached.union(*copies))
    place = {row: at for at, row in enumerate(members)}
    links = [*near, *((group[0], row) for group in copies for row in group[1:])]
    pairs = torch.tensor([(place[a], place[b]) for a, b in links], dtype=torch.long).view(-1, 2)
    by_root: dict[int, list[int]] = {}
    for row, root in zip(members, groups_of(pairs, len(members)).tolist(), strict=True):
        by_root.setdefault(root, []).append(row)
    return [kept_first(subject, group) for group in by_root.values()]
