"""What belongs together, of one patient, speaker, series or document, so that one split holds all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from ptft.data import files
from ptft.data.files import nfc
from ptft.data.labels import plain
from ptft.data.own.filename_pattern import Pattern
from ptft.data.own.text_record import Column
from ptft.data.records import text_of
from ptft.errors import ConfigError, DataError, are, counted, unknown

FILES = (
    "folder groups by the folder that a file lies in, below that of its class (folder:1 by the first of several), "
    "dataset.pattern names parts of its name, a CSV has columns"
)


class Told(str):
    """A column that is only told of, by `evaluate.by`, and keeps nothing together."""


class Grouping:
    """`dataset.group`: a column, a part of the names of files, or "folder"; "folder:2" for the first two of several.

    pattern: what the names of files say, where one is given. of_files: whether they, or their folders, said it.
    """

    def __init__(self, key: Column, pattern: Pattern | None = None) -> None:
        self.key, self.pattern, self.of_files = key, pattern, False
        match = re.fullmatch(r"folder(?::([1-9]\d*))?", str(key))
        self.levels = None if match is None else int(match[1] or 0)

    @property
    def divides(self) -> bool:
        """Whether one split is to have all of a group."""
        return not isinstance(self.key, Told)

    @property
    def shown(self) -> str:
        return f"dataset.group={self.key}" if self.divides else f"evaluate.by={self.key}"

    @property
    def is_of_names(self) -> bool:
        """Whether it is a part of the names of files."""
        return self.pattern is not None and self.key in self.pattern.fields

    def check_files(self) -> None:
        """Raises ConfigError where files that no table lists can't say it."""
        if not self.is_of_names and self.levels is None:
            fields = "" if self.pattern is None else f" ({self.pattern.text} names {', '.join(self.pattern.fields)})"
            raise ConfigError(f"{self.shown}: is said by no column, folder or part of dataset.pattern{fields}; {FILES}")

    def of_file(self, path: Path, base: Path) -> str:
        """The group of a file below the folder `base`. Raises DataError naming a file that has none."""
        self.of_files = True
        if self.is_of_names:
            assert self.pattern is not None
            return nfc(self.pattern.read(path)[str(self.key)])
        assert self.levels is not None
        parts = [part for part in files.relative(path, base).split("/")[:-1] if part != ".."]
        if not parts or len(parts) < self.levels:
            deep = counted(len(parts), "folders") if parts else "no folder"
            raise DataError(f"{path}: lies in {deep} below {base}, so it has no group ({self.shown}); {FILES}")
        return "/".join(parts[: self.levels or None])

    def of_row(self, fields: Mapping[str, Any], path: Path, base: Path, where: str) -> str:
        """The group of a file that a row lists, "" where its cell is empty. Raises DataError at `where`."""
        if self.key in fields:
            return nfc(text_of(fields, self.key, where))
        if self.is_of_names or self.levels is not None:
            return self.of_file(path, base)
        raise DataError(f"{where}: {unknown('column', str(self.key), list(fields))} ({self.shown})")

    def values(self, groups: Sequence[str]) -> list[str]:
        """What cells of a column mean, so that 7 and 7.0 are one: a gap somewhere in a column of whole numbers makes
        floats of all of it in pandas. Names of files and folders as they are."""
        if self.of_files:
            return list(groups)
        value = {group: plain(group) for group in set(groups)}
        return [value[group] for group in groups]

    def missing(self, where: str) -> DataError:
        return DataError(f"{where}: has no group, column {self.key!r} is empty ({self.shown}); fill it in")

    def check_parts(self, groups: Sequence[str], parts: Mapping[str, Sized]) -> None:
        """Raises DataError where one of the parts that groups were divided into is empty."""
        if empty := [name for name, part in parts.items() if not len(part)]:
            count = len(set(groups))
            few = f"{counted(count, 'groups')} {are(count)}"
            raise DataError(
                f"{self.shown}: {few} too few to divide, so that {' and '.join(empty)} would be empty: every split "
                "needs one, and train one of every class; give the splits, or group otherwise"
            )


class SharedGroups:
    """Counts the groups of splits, and finds those that several hold. why: how it comes that several may."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping, self.splits, self.why = grouping, dict[str, set[str]](), "the splits are left as they are given"

    def add(self, split: str, groups: Sequence[str]) -> None:
        self.splits[split] = set(groups)

    def notes(self) -> list[str]:
        return [sentence for sentence in (self._counted(), self._leak()) if sentence] if self.splits else []

    def _counted(self) -> str:
        """ "dataset.group=patient: 40 groups in train, 5 in val, 5 in test"."""
        first, *others = map(len, self.splits.values())
        names = list(self.splits)
        more = "".join(f", {count:,} in {name}" for count, name in zip(others, names[1:], strict=True))
        return f"{self.grouping.shown}: {counted(first, 'groups')} in {names[0]}{more}"

    def _leak(self) -> str | None:
        """What to say of groups that are in the splits to train on and to measure on."""
        train = self.splits.get("train", set())
        held = {name: groups & train for name, groups in self.splits.items() if name != "train" and groups & train}
        if not held:
            return None
        counts = " and ".join(
            f"{len(shared):,} of {len(self.splits[name]):,} in {name}" for name, shared in held.items()
        )
        first = min(next(iter(held.values())))
        return (
            f"groups ({self.grouping.shown}) that are trained on are measured too: {counts}, e.g. {first}; {self.why}"
        )
