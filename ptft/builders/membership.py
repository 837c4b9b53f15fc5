"""Which example is in which split, as every run writes it, and which of them a checkpoint was trained on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ptft.checkpoint.load import Checkpoint
from ptft.core import Examples, Source
from ptft.data import files
from ptft.data.examples import OnDemandExamples
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.data.text.packed.examples import PackedTexts
from ptft.errors import DataError, are, counted, shortened
from ptft.runtime.system import write_text

FILE = "split.csv"
UNREADABLE = "can't be read"
TOLERATED = 0.01
"""Up to this share of a split may have been trained on and is only told: public sets hold some texts twice."""


def write(folder: Path, source: Source, splits: Mapping[str, Examples]) -> None:
    """`split.csv`: every example's name, its split, why it is in none, and its group. Raises StorageError.

    splits: the examples as they are trained on, which know what of them could not be read until now.
    """
    if not isinstance(source, DividedSource):
        return
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    more = [] if source.grouping is None else ["group"]
    rows.writerow(("name", "split", "left out because", *more))
    rows.writerows(_rows(source, {split: examples.unreadable for split, examples in splits.items()}))
    rows.writerows((name, "", why, *("" for _ in more)) for name, why in source.unusable)
    write_text(folder / FILE, out.getvalue())


def _rows(source: DividedSource, lost: Mapping[str, Collection[int]]) -> Iterator[tuple[str, ...]]:
    parts = {split: part for split in SPLITS if (part := source.part(split)) is not None}
    for own in dict.fromkeys(part.split for part in parts.values()):
        names = source.names(own)
        place, why = [""] * len(names), [_why_not(source, own)] * len(names)
        for row, reason in ({} if source.ignore is None else source.ignore.left_out.get(own, {})).items():
            why[row] = reason
        for split, part in parts.items():
            rows = part.rows.tolist() if part.split == own else []
            for row in rows:
                place[row], why[row] = split, ""
            for index in (index for index in lost.get(split, ()) if index < len(rows)):  # others are replayed
                place[rows[index]], why[rows[index]] = "", UNREADABLE
        more = [] if source.grouping is None else [source.groups_of(own)]
        yield from zip(names, place, why, *more, strict=True)


def names(source: Source, split: str, examples: Examples) -> list[str]:
    """What to call each of the examples of a split, as they are read, with what `split.csv` calls it."""
    if isinstance(source, DividedSource) and (rows := _read(source, split, examples)) is not None:
        part = source.part(split)
        assert part is not None
        own = source.names(part.split)
        return [own[row] for row in rows]
    return [f"{split} {i}" for i in range(len(examples))]


def groups(source: Source, split: str, examples: Examples) -> list[str] | None:
    """The group of each of the examples of a split, as they are read, or of each unit that they are parts of (`units`);
    None where no groups are asked for."""
    if not isinstance(source, DividedSource) or source.grouping is None or (part := source.part(split)) is None:
        return None
    own, rows = source.groups_of(part.split), _units(source, split, examples)
    return None if rows is None else [own[row] for row in rows]


def told(source: Source, other: Source, split: str, examples: Examples) -> list[str] | None:
    """As `groups` of examples of `source`, by what `other` says of them: the same dataset, which may be divided in
    another way, so that an example is found by its name. None where it is not known.

    Raises DataError where the other has it not, or says two things of it.
    """
    if not isinstance(source, DividedSource) or not isinstance(other, DividedSource) or other.grouping is None:
        return None
    rows, part = _units(source, split, examples), source.part(split)
    if rows is None or part is None:
        return None
    own = source.names(part.split)
    if part.split in other.splits and list(other.names(part.split)) == list(own):
        alike = other.groups_of(part.split)
        return [alike[row] for row in rows]
    said_of = _by_name(other, {own[row] for row in rows})
    for name in (own[row] for row in rows):
        if len(said := said_of.get(name, ())) != 1:
            what = "is there no more where it is read again" if not said else f"has several: {shortened(sorted(said))}"
            raise DataError(f"{other.grouping.shown}: {name} {what}")
    return [next(iter(said_of[own[row]])) for row in rows]


def _by_name(source: DividedSource, wanted: set[str]) -> dict[str, set[str]]:
    """The groups that the examples of these names have, in whichever of the dataset's own splits they are."""
    found: dict[str, set[str]] = {}
    for own in source.splits:
        if not wanted.isdisjoint(there := source.names(own)):
            for name, group in zip(there, source.groups_of(own), strict=True):
                if name in wanted:
                    found.setdefault(name, set()).add(group)
    return found


def _units(source: DividedSource, split: str, examples: Examples) -> list[int] | None:
    """As `_read`, of examples that are parts of units the unit of each."""
    units = getattr(examples, "units", None)
    return _read(source, split, examples) if units is None else units.tolist()


def rows(source: Source, split: str, examples: Examples) -> Tensor | None:
    """Long [N], which of the dataset's own examples these are, as they are read; None where it is not known."""
    known = _read(source, split, examples) if isinstance(source, DividedSource) else None
    return None if known is None else torch.tensor(known, dtype=torch.long)


def shown(source: Source, split: str, examples: Examples) -> dict[str, list[str]]:
    """Columns that show what each of the examples of a split is, as they are read: texts, say."""
    if not isinstance(source, DividedSource) or (rows := _read(source, split, examples)) is None:
        return {}
    part = source.part(split)
    assert part is not None
    return {name: [values[row] for row in rows] for name, values in source.shown(part.split).items()}


def _read(source: DividedSource, split: str, examples: Examples) -> list[int] | None:
    """Which of the dataset's own examples these are, or the rows of texts hold; None where it is not known."""
    if (part := source.part(split)) is None:
        return None
    rows: list[int] = part.rows.tolist()
    return rows if len(rows) == len(examples.texts if isinstance(examples, PackedTexts) else examples) else None


def _why_not(source: DividedSource, own: str) -> str:
    """Why an example of one of the dataset's own splits is used for nothing."""
    amounts = {"limit": source.limit, "fraction": source.fraction, "per_class": source.per_class}
    keys = [f"dataset.{key}={value}" for key, value in amounts.items() if value is not None and own == source.train]
    return " or ".join([*keys, *(["dataset.classes"] if source.classes is not None else [])])


def identities(source: Source, split: str) -> Tensor | None:
    """Long [n], a number for the content of each example of "train", "val" or "test"; None where it is not known."""
    if not isinstance(source, DividedSource) or (part := source.part(split)) is None:
        return None
    contents = source.identities(part.split)
    if contents is None and len(part.rows) <= files.MOST:  # the split has too many, the part of it that is used not
        return source.loaded(part.split).identities_of(part.rows)
    return None if contents is None else contents[part.rows]


def uncompared(source: Source) -> Iterator[str]:
    """That there are too many files to be compared: what copies there are nobody says, now or later."""
    part = source.part("train") if isinstance(source, DividedSource) else None
    if part is not None and len(part.rows) > files.MOST and identities(source, "train") is None:
        assert isinstance(source, DividedSource)
        yield (
            f"{len(part.rows):,} {source.noun} of train are not compared with others, as they are over {files.MOST:,}: "
            "whether val or test has copies of them is not known, nor will it be of what these weights are measured on"
        )


def trained_on(source: Source, train: Examples, before: Tensor | None) -> Tensor | None:
    """Identities of what is trained on, and of what was `before`, long [n]; None where neither is known.

    train: as it is trained on, which knows what of it could not be read beforehand. What a dataset holds twice, in
    train and in what it is measured on, is its own affair and not counted.
    """
    own = identities(source, "train")
    if own is None:
        return before
    if len(train.unreadable):
        readable = torch.ones(len(own), dtype=torch.bool)
        readable[list(train.unreadable)] = False
        own = own[readable]
    for split in ("val", "test"):
        if (held_out := identities(source, split)) is not None:
            own = own[~torch.isin(own, held_out)]
    return own if before is None else torch.cat([own, before[~torch.isin(before, own)]])


def replaced(source: Source, train: Examples, before: Tensor | None, path: str) -> list[str]:
    """What to say of files that took the place of those that a run which goes on was trained on until now.

    Its fingerprint knows names and sizes alone, so that a copy of a large set is known without being read. before: as
    `trained_on` gave it then.
    """
    part = source.part("train") if isinstance(source, DividedSource) else None
    if part is None or before is None or not isinstance(source, DividedSource):
        return []
    own = trained_on(source, train, None) if isinstance(source.loaded(part.split), OnDemandExamples) else None
    other = 0 if own is None else int((~torch.isin(own, before)).sum())
    if own is None or not other:
        return []
    which = f"{other:,} of {counted(len(own), source.noun)} to train on"
    return [f"{which} {are(other)} not what {path} was trained on: files were replaced, so the run is another one now"]


def is_other_root(checkpoint: Checkpoint, root: object) -> bool:
    """Whether a dataset's root is not the one that the checkpoint was trained on."""
    dataset = (checkpoint.config or {}).get("dataset")
    stored = dataset.get("root") if isinstance(dataset, dict) else None
    return stored is None or os.path.realpath(os.path.expanduser(str(stored))) != os.path.realpath(str(root))


def changed(source: Source, split: str, examples: Examples, run: str | None) -> str | None:
    """What to say of a split that is not the one that the run had, by its `split.csv`; None where that is not known."""
    if run is None or not isinstance(source, DividedSource):
        return None
    try:
        with open(Path(run) / FILE, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        then = {row["name"] for row in rows if row["split"] == split}
        unread = {row["name"] for row in rows if row["left out because"] == UNREADABLE}
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    now = [name for name in names(source, split, examples) if name not in unread]
    new, gone = [name for name in now if name not in then], then.difference(now)
    if not (new or gone):
        return None
    kinds = {"new": new, "gone": sorted(gone)}
    differ = [
        f"{len(some):,} {'is' if len(some) == 1 else 'are'} {kind}, e.g. {some[0]}"
        for kind, some in kinds.items()
        if some
    ]
    return f"{len(now):,} {split} {source.noun}, {len(then):,} when it was trained: {'; '.join(differ)}"


def check(source: Source, split: str, checkpoint: Checkpoint, *, allowed: bool) -> str | None:
    """What to say of examples of a split that a checkpoint was trained on; None where there are none.

    What a dataset holds twice in splits of its own is its own affair, as long as it is the checkpoint's dataset.
    Raises DataError where they are many and not `allowed`.
    """
    trained = checkpoint.trained_on
    if not isinstance(source, DividedSource) or not (source.drawn or is_other_root(checkpoint, source.root)):
        return None
    own, part = identities(source, split), source.part(split)
    if trained is None or own is None or part is None:
        return _of_folds(source, split, checkpoint, allowed) or _unknown(source, split, checkpoint)
    known = torch.isin(own, trained)
    if (before := source.earlier_identities(part.split)) is not None:
        known |= torch.isin(before[part.rows], trained)
    if not len(overlap := known.nonzero().flatten()):
        return None
    first = source.names(part.split)[int(part.rows[overlap[0]])]
    sentence = (
        f"{len(overlap)} of {len(own)} {split} {source.noun} were trained on by {checkpoint.path} or what it started "
        "from"
    )
    if len(overlap) > TOLERATED * len(own) and not allowed:
        own_test = "split=test measures the test split of that division alone, " * (source.whole and bool(source.test))
        raise DataError(f"{sentence}, e.g. {first}; {own_test}split_overlap=allow measures them all the same")
    return f"{sentence}, e.g. {first}"


def _of_folds(source: DividedSource, split: str, checkpoint: Checkpoint, allowed: bool) -> str | None:
    """As `check`, of a set whose examples are not known one by one: a checkpoint of it without this fold was trained on
    what the fold tests, and any of it on what other folds test, which this one trains on."""
    dataset = (checkpoint.config or {}).get("dataset")
    if source.fold is None or not isinstance(dataset, Mapping):
        return None
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    here = dataset.get("root") is None if source.root is None else not is_other_root(checkpoint, source.root)
    theirs = dataset.get("fold")
    if dataset.get("_target_") != kind or not here or (split == "test" and theirs == str(source.fold)):
        return None
    of = f"dataset.fold={theirs}" if theirs else "all of what there was to train on"
    sentence = f"{split} {source.noun} of dataset.fold={source.fold} were trained on by {checkpoint.path} ({of})"
    if not allowed:
        raise DataError(f"{sentence}; split_overlap=allow measures them all the same")
    return sentence


def _unknown(source: DividedSource, split: str, checkpoint: Checkpoint) -> str | None:
    """That nobody knows which files a checkpoint was trained on, where others are measured."""
    dataset = (checkpoint.config or {}).get("dataset")
    theirs = isinstance(dataset, Mapping) and dataset.get("root")
    if not theirs or source.root is None or not is_other_root(checkpoint, source.root):
        return None
    return (
        f"whether {checkpoint.path} was trained on some of the {split} {source.noun} is not known: it does not say on "
        f"what it was trained, or there are more than the {files.MOST:,} files that are compared"
    )
