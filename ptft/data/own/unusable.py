"""Rows of tables and lists, and files, that are left out, or end the run."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from ptft.data.examples import too_many
from ptft.data.records import NoRow, RowError
from ptft.errors import DataError, are

UNREADABLE = "can't be read"


class Unread(NamedTuple):
    """A file that could not be used when a source was made: its name as examples have one, its own split, and why."""

    name: str
    split: str
    why: str


class UnusableRows:
    """Rows that can't be used, as `dataset.on_error` says: the first one ends the run, or they are left out.

    Lines that hold no row are left out anyway. what: what one of them is called in messages.
    """

    def __init__(self, on_error: str, what: str = "line") -> None:
        self.what = what
        self.skip, self.errors, self.none = on_error == "skip", list[RowError](), dict[tuple[str, str], list[NoRow]]()

    def __call__(self, error: RowError) -> None:
        if isinstance(error, NoRow):
            self.none.setdefault(error.kind, []).append(error)
            return
        if not self.skip:
            raise RowError(error.where, f"{error.what}; dataset.on_error=skip leaves such {self.what}s out")
        self.errors.append(error)

    def notes(self, used: int, where: str) -> list[str]:
        """What to say of those that are left out beside so many that are used. Raises DataError for too many."""
        sentences, count = [], len(self.errors)
        for kind, lines in self.none.items():
            sentences.append(f"{_lines(len(lines), *kind)} left out, the first: {lines[0].where}")
        if self.errors:
            total, first = used + count, self.errors[0]
            if why := too_many(count, total, total):
                raise DataError(f"{where}: {count:,} of its {self.what}s can't be used, the first: {first}; {why}")
            sentences.append(f"{_lines(count, self.what, f'{self.what}s')} left out, the first: {first}")
        return sentences

    def named(self) -> list[tuple[str, str]]:
        """Each row that is left out, and why."""
        return [(error.where, error.what) for error in (*chain(*self.none.values()), *self.errors)]


def _lines(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several} {are(count)}"
