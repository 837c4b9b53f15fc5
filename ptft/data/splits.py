"""Which file is which split, and how data that come undivided are divided."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from ptft.data.labels import to_labels
from ptft.data.stratify import train_val_test
from ptft.errors import DataError

T = TypeVar("T")

SPLIT_NAMES = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation", "dev", "dev_matched", "testa"), "val"),
    **dict.fromkeys(("test", "test_matched", "testb"), "test"),
}
"""What published datasets call a split -> what it is called here. Those with an underscore are GLUE's, testa and testb
CoNLL's."""


def names_a_split(name: str) -> bool:
    """Whether one of the words of a folder's name says that it is a split, e.g. `training` or `val2017`."""
    words = re.split(r"[^a-z]+", name.lower())
    return any(word in SPLIT_NAMES or word in ("training", "testing", "eval", "evaluation") for word in words)


def split_by_word(file: Path) -> str | None:
    """The split of a file that has the name of one among the words of its own, e.g. `eng.testa` or `dev-v1.1.json`."""
    words = re.split(r"[^a-z]+", file.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def split_by_stem(file: Path) -> str:
    """The split of a file that is called as one; another name is a split of its own."""
    return SPLIT_NAMES.get(file.stem, file.stem)


def split_files(
    root: Path, split_of: Callable[[Path], str | None], expected: str, whole: bool = False
) -> dict[str, Path]:
    """Split -> its file in the folder `root`; or "" -> `root`, where that is one file which holds all.

    split_of: the split of a file, None for one that is no part of the dataset. Hidden files are none. whole: whether
    all that there is is measured, so that one file is the test split. Raises DataError saying what is `expected` where
    there are no files, or for two files of one split.
    """
    if root.is_file():
        return {"test" if whole else "": root}
    files: dict[str, Path] = {}
    for file in sorted(root.iterdir()) if root.is_dir() else ():
        split = split_of(file) if file.is_file() and not file.name.startswith(".") else None
        if split is None:
            continue
        if split in files:
            raise DataError(f"dataset.root={root}: {files[split].name} and {file.name} are both the {split} split")
        files[split] = file
    if not files and whole and root.is_dir():
        visible = [file for file in root.iterdir() if file.is_file() and not file.name.startswith(".")]
        files = {"test": visible[0]} if len(visible) == 1 else {}
    if not files:
        what = "holds none" if root.exists() else "does not exist"
        raise DataError(f"dataset.root={root}: {what}; expected {expected}")
    return files


def divide(items: Sequence[T], seed: int, names: Sequence[str] | None = None) -> dict[str, list[T]]:
    """80, 10 and 10 percent of the items as train, val and test; in proportion by the `names` of their classes."""
    labels = torch.zeros(len(items), dtype=torch.long) if names is None else to_labels(names, sorted(set(names)))
    return {split: [items[i] for i in rows.tolist()] for split, rows in train_val_test(labels, seed).items()}
