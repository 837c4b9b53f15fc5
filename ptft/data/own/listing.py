"""Files by split, with the class and the group of each, and how they are divided where nobody has divided them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ptft.data import files
from ptft.data.hub.cells import File
from ptft.data.own.grouping import Grouping
from ptft.errors import DataError

if TYPE_CHECKING:
    from ptft.data.source import DividedSource


class Media(NamedTuple):
    """A kind of files: what they are called in messages, an example of a name, and their suffixes; listed: what a list
    of them has, where they can stand in a list alone."""

    noun: str
    example: str
    suffixes: frozenset[str]
    listed: str | None = None

    @property
    def layout(self) -> str:
        if self.listed is not None:
            return f"expected a CSV of {self.listed}"
        return (
            f"expected root/train/CLASS/{self.example} and root/val/CLASS/…, or root/CLASS/{self.example}, "
            "or a CSV of path,label"
        )


class Listing(NamedTuple):
    """One split: files, the name of each one's class ("" where there are none), class folders without a file, and files
    of another kind in folders of classes. groups: of each file, nothing where none is asked for.
    """

    paths: list[File]
    names: list[str]
    blank: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()
    groups: Sequence[str] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.names)))

    def firsts(self, most: int = 20) -> list[File]:
        """The first file of each of the first classes."""
        firsts: dict[str, File] = {}
        for path, name in zip(self.paths, self.names, strict=True):
            if name not in firsts:
                firsts[name] = path
                if len(firsts) == most:
                    break
        return list(firsts.values())

    def at(self, rows: Sequence[int]) -> Listing:
        groups = [self.groups[i] for i in rows] if self.groups else ()
        return Listing([self.paths[i] for i in rows], [self.names[i] for i in rows], self.blank, groups=groups)

    def grouped(self, grouping: Grouping | None, base_of: Callable[[Path, str], Path]) -> Listing:
        """With the groups that files say by themselves; base_of: the folder that a file of a class is seen from."""
        if grouping is None:
            return self
        grouping.check_files()
        pairs = [(Path(str(path)), name) for path, name in zip(self.paths, self.names, strict=True)]
        return self._replace(groups=[grouping.of_file(path, base_of(path, name)) for path, name in pairs])


def divided(source: DividedSource, root: Path, listing: Listing, seed: int) -> dict[str, Listing]:
    """Files that nobody divided, by class; as `GroupedSource.divide`."""
    base = root if root.is_dir() else root.parent
    rows = source.divide(
        root,
        range(len(listing.paths)),
        seed,
        lambda: [files.relative(path, base) for path in listing.paths],
        listing.groups,
        listing.names,
    )
    return {split: listing.at(part) for split, part in rows.items()}


def refused(path: Path, what: str, media: Media) -> DataError:
    return DataError(f"dataset.root: {path.absolute()} {what}; {media.layout}")
