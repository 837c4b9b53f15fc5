"""Which file is which split, and how data that come undivided are divided."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ptft.data.label_sets.cells import most_common
from ptft.data.label_sets.vectors import to_vectors
from ptft.data.labels import to_labels
from ptft.data.stratify import train_val_test
from ptft.errors import DataError, absent, are, counted, shortened

SPLITS = ("train", "val", "test")
T = TypeVar("T")

OTHER_CLASS = -1
"""The label of an example whose class is none of the training split's, where `dataset.classes` says which to keep."""


class Part(NamedTuple):
    """Some rows (long [n]) of one of the dataset's own splits, with labels (long [n]) as `spec.classes` counts them.

    Where the target is label sets the labels are uint8 [n, K]. Where it is neither they are all 0: they only say what
    to keep in proportion.
    """

    split: str
    rows: Tensor
    labels: Tensor

    def at(self, indices: Tensor) -> Part:
        return Part(self.split, self.rows[indices], self.labels[indices])


SPLIT_NAMES = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev", "dev_matched", "validation_matched", "testa"), "val"),
    **dict.fromkeys(("test", "test_matched", "testb"), "test"),
}
"""What published datasets call a split -> what it is called here. Those with an underscore are GLUE's, testa and testb
CoNLL's."""
VAL_WORDS = {word for word, split in SPLIT_NAMES.items() if split == "val"} | {"eval", "evaluation"}
"""What the name of a split to measure with while training may hold."""
HELD_OUT = {word for word, split in SPLIT_NAMES.items() if split == "test"} | {"testing", "holdout", "held", "hold"}
"""What the name of a split to measure with at the end may hold."""
TENTH = 0.1
"""The share of the training split that is val where there is none."""
SHARD = re.compile(r"(?P<name>.+?)[-_](?P<number>\d+)(?P<total>[-_]of[-_]\d+)?")
"""What a part of a split is called, without its suffix: train-00000-of-00003, train_1."""


def names_a_split(name: str) -> bool:
    """Whether one of the words of a folder's name says that it is a split, e.g. `training` or `val2017`."""
    words = re.split(r"[^a-z]+", name.lower())
    return any(word in SPLIT_NAMES or word in ("training", "testing", "eval", "evaluation") for word in words)


def own_name(name: str, typed: Iterable[object] = ()) -> str:
    """What a split is called here that somebody calls `Train` or `TEST`; as it is written where a key names it so."""
    return name.lower() if name.lower() in SPLIT_NAMES and name not in typed else name


def folders_by_name(folders: Iterable[Path], typed: Iterable[object] = ()) -> dict[str, Path]:
    """As `own_name`, name -> folder. Raises DataError for two that have one name."""
    named: dict[str, Path] = {}
    for folder in folders:
        if (other := named.setdefault(own_name(folder.name, typed), folder)) != folder:
            raise DataError(
                f"dataset.root={folder.parent}: {other.name} and {folder.name} are both the "
                f"{folder.name.lower()} split; put their files into one of them"
            )
    return named


def val_among(names: Iterable[str]) -> str | float | None:
    """What measures while training where no split is called val: the split whose name says so, a tenth of train where
    no name does; None where several do, so that one must be named.
    """
    called = [name for name in names if not VAL_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))]
    return TENTH if not called else called[0] if len(called) == 1 else None


def unused_note(sizes: Mapping[str, int | None], noun: str, *, train: bool) -> str:
    """What to say of splits that are there and not used, name -> how many examples, None where nobody counted them.

    train: whether something is trained, so that one of them may be what to train on.
    """
    shown = [name if size is None else f"{name} ({size:,} {noun})" for name, size in sizes.items()]
    test = next((name for name in sizes if not HELD_OUT.isdisjoint(re.split(r"[^a-z]+", name.lower()))), None)
    key, name = ("test", test or next(iter(sizes)))
    if test is None and train and any(word in name.lower() for word in ("unlabel", "unsup", "train", "extra")):
        key = "train"
    does = "trains on it" if key == "train" else "measures it"
    listed = f"{shortened(shown, 6)} {'is' if len(shown) == 1 else 'are'} there and not used"
    return f"{listed}; dataset.{key}={shlex.quote(name)} {does}"


def first_of(files: Sequence[Path], root: Path) -> str:
    """ "a/b.txt and 3 files more" of some files below `root`."""
    more = f" and {counted(len(files) - 1, 'files')} more" if len(files) > 1 else ""
    return f"{files[0].relative_to(root)}{more}"


def beside_note(files: Sequence[Path], root: Path) -> str:
    """What to say of files that lie beside those of the training split, and are of no split."""
    size = sum(file.stat().st_size for file in files)
    which = f"{first_of(files, root)} ({size:,} bytes) {are(len(files))} beside what is called train"
    return f"{which} and not trained on; dataset.root of a folder where nothing is called train reads all"


def unnamed_notes(root: Path, suffixes: frozenset[str], split_of: Callable[[Path], str | None]) -> list[str]:
    """What to say of files in a folder that have one of the suffixes and are of no split by their name."""
    files = _visible(root) if root.is_dir() else []
    names = [file.name for file in files if file.suffix.lower() in suffixes and split_of(file) is None]
    if not names or len(names) == len(files):  # where all are so, there is no split, which is told
        return []
    verb = "is of no split by its name and is" if len(names) == 1 else "are of no split by their names and are"
    return [f"{shortened(names, 6)} {verb} not used; a file called test… is measured at the end"]


def split_by_word(file: Path) -> str | None:
    """The split of a file that has the name of one among the words of its own, e.g. `eng.testa` or `dev-v1.1.json`."""
    words = re.split(r"[^a-z]+", file.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def split_by_stem(file: Path) -> str:
    """The split of a file that is called as one; another name is a split of its own."""
    return SPLIT_NAMES.get(file.stem.lower(), file.stem)


def split_files(
    root: Path, split_of: Callable[[Path], str | None], expected: str, whole: bool = False
) -> dict[str, list[Path]]:
    """Split -> its files in the folder `root`, in order; or "" -> `root`, where that is one file which holds all.

    Several files of a split are its parts (train-00000-of-00003.csv, or whatever lies in a folder `train`).
    split_of: the split of a file, None for one that is no part of the dataset. Hidden files are none. whole: whether
    all that there is is measured, so that one file is the test split. Raises DataError saying what is `expected` where
    there are no files, for parts that are missing, and for two files of one split.
    """
    if root.is_file():
        return {"test" if whole else "": [root]}
    splits = find_splits(root, split_of)
    if not splits and whole and root.is_dir() and len(only := [path for path in _visible(root) if path.is_file()]) == 1:
        return {"test": only}
    if not splits:
        what = "holds none" if root.exists() else absent(root)
        raise DataError(f"dataset.root={root}: {what}; expected {expected}")
    return splits


def find_splits(root: Path, split_of: Callable[[Path], str | None]) -> dict[str, list[Path]]:
    """As `split_files`, nothing where there are none."""
    splits: dict[str, list[Path]] = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        for file in _visible(path) if path.is_dir() and path.name.lower() in SPLIT_NAMES else [path]:
            named = path.with_suffix(file.suffix) if file != path else file.with_name(whole_name(file))
            split = split_of(named) if file.is_file() and not file.name.startswith(".") else None
            if split is not None:
                splits.setdefault(split, []).append(file)
    return {split: _parts(root, split, files) for split, files in splits.items()}


def in_folders(root: Path, wanted: Collection[str], files_of: Callable[[Path], list[Path]]) -> dict[str, list[Path]]:
    """Split -> the files of the folder that is called as it, however deep, of those `wanted` that have some.

    Raises DataError for two folders of one split.
    """
    folders, found = dict[str, Path](), dict[str, list[Path]]()
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        split = SPLIT_NAMES.get(folder.name.lower(), folder.name)
        if split not in wanted or not (files := files_of(folder)):
            continue
        if (other := folders.setdefault(split, folder)) != folder:
            both = f"{other.name} and {folder.name} are both the {split} split"
            raise DataError(f"dataset.root={root}: {both}; put their files into one of them")
        found[split] = files
    return found


def whole_name(file: Path) -> str:
    """The name of the file that this one is a part of, else its own."""
    shard = SHARD.fullmatch(file.stem)
    is_part = shard is not None and (shard["total"] or shard["name"].lower() in SPLIT_NAMES)
    return f"{shard['name']}{file.suffix}" if shard is not None and is_part else file.name


def parts_notes(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """What to say of splits that are read from several files."""
    return [
        f"{split} is read from {len(parts)} files, {parts[0].name} to {parts[-1].name}"
        for split, parts in files.items()
        if len(parts) > 1
    ]


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _parts(root: Path, split: str, files: list[Path]) -> list[Path]:
    """The files of a split by the numbers of the parts that they are. Raises DataError for other ones, and gaps."""
    shards = [shard for file in files if (shard := SHARD.fullmatch(file.stem)) is not None]
    below = root not in {file.parent for file in files}
    like = {(file.parent, file.suffix.lower(), "" if below else whole_name(file)) for file in files}
    if len(files) > 1 and (len(like) > 1 or (not below and len(shards) < len(files))):
        first_two = " and ".join(str(file.relative_to(root)) for file in files[:2])
        raise DataError(f"dataset.root={root}: {first_two} are both the {split} split")
    if len(shards) < len(files):
        return files
    numbers = [int(shard["number"]) for shard in shards]
    expected = max(int(shard["total"].lower().split("of")[1][1:]) if shard["total"] else 0 for shard in shards)
    first = int(expected in numbers)
    if missing := [number for number in range(first, first + expected) if number not in numbers]:
        raise DataError(
            f"dataset.root={root}: {len(files)} of {expected} files of the {split} split {are(len(files))} there, "
            f"number {missing[0]} is missing"
        )
    return [file for _, file in sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])]


def divide(
    items: Sequence[T],
    seed: int,
    names: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    *,
    sets: bool = False,
) -> dict[str, list[T]]:
    """80, 10 and 10 percent of the items as train, val and test.

    names: of their classes, or with `sets` of their labels. keys: what each is known by, which alone decides where it
    is; None: all of them do.
    """
    if names is None:
        labels = torch.zeros(len(items), dtype=torch.long)
    elif sets:
        labels = to_vectors(names, sorted(most_common(names)))[0]
    else:
        labels = to_labels(names, sorted(set(names)))
    return {split: [items[i] for i in rows.tolist()] for split, rows in train_val_test(labels, seed, keys).items()}


def percent(part: int, total: int) -> str:
    """How much of the total a part is, as it is shown."""
    share = 100 * part / max(1, total)
    return f"{share:.0f} %" if share >= 1 or not part else f"{share:.1g} %"


def apart(names: Mapping[str, Sequence[str]], split: str) -> list[str]:
    """The names of one split's examples, with the split in front of those that another split has too."""
    others = {name for other, theirs in names.items() if other != split for name in theirs}
    return [f"{split} {name}" if name in others else name for name in names[split]]
