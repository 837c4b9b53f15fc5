"""Which files of a folder, or of a CSV file, belong to which class in which split. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ptft.data import files, splits
from ptft.data.records import read_records
from ptft.errors import DataError


class Media(NamedTuple):
    """A kind of files: what they are called in messages, an example of a name, and their suffixes."""

    noun: str
    example: str
    suffixes: frozenset[str]

    @property
    def layout(self) -> str:
        return (
            f"expected root/train/CLASS/{self.example} and root/val/CLASS/…, or root/CLASS/{self.example}, "
            "or a CSV of path,label"
        )


class Listing(NamedTuple):
    """One split: files, the name of each one's class ("" where there are none), and class folders without a file."""

    paths: list[Path]
    names: list[str]
    blank: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.names)))

    def firsts(self, most: int = 20) -> list[Path]:
        """The first file of each of the first classes."""
        found: dict[str, Path] = {}
        for path, name in zip(self.paths, self.names, strict=True):
            if name not in found:
                found[name] = path
                if len(found) == most:
                    break
        return list(found.values())


def list_all(
    root: Path, train: str, seed: int, media: Media, labelled: bool = True, whole: bool = False
) -> tuple[dict[str, Listing], list[str]]:
    """(split -> files, what to say of them).

    `train` is the split to train on, `labelled` says whether every image must have a class. What is not divided is
    divided by class, a function of `seed`; with `whole` all of it is "test". Raises DataError saying what is wrong with
    `root` and what is expected.
    """
    if not root.exists():
        raise refused(root, "does not exist", media)
    listings = _list_table(root, media) if root.is_file() else _list_folder(root, train, media, labelled)
    if not any(listing.paths for listing in listings.values()):
        raise refused(root, f"has folders or rows, but no {media.noun} in them", media)
    notes = [] if root.is_file() else [*_nested(root, listings), *_left_out(root, listings)]
    if "" not in listings:
        return listings, notes
    if whole:
        return {"test": listings[""]}, notes
    notes.append(f"{root} is not divided: 80 % train, 10 % val, 10 % test (dataset.split_seed={seed})")
    return divide(listings[""], seed), notes


def _list_folder(root: Path, train: str, media: Media, labelled: bool) -> dict[str, Listing]:
    """Undivided files stand under the name ""."""
    folders = _folders(root)
    if not folders:
        flat = _holds(root, media)
        if flat and not labelled:
            return {"": _list_flat(root, media)}
        empty = not any(root.iterdir())
        named = f"holds {media.noun}, but no folder for each class"
        raise refused(root, named if flat else "is empty" if empty else f"holds no {media.noun}", media)
    names = {folder.name for folder in folders}
    if not _is_divided(root, folders, train):
        if train in names and names <= splits.SPLIT_NAMES.keys() and any(_holds(folder, media) for folder in folders):
            if not labelled:
                return {folder.name: _list_flat(folder, media) for folder in folders}
            raise refused(root / train, f"holds {media.noun}, but no folder for each class", media)
        return {"": _list_classes(folders, media)}
    return {folder.name: _list_classes(_folders(folder), media) for folder in folders}


def _is_divided(root: Path, folders: list[Path], train: str) -> bool:
    """Whether the folders of `root` are splits: one that is called so holds folders. All other folders are classes."""
    if (root / train).is_dir() and _folders(root / train):
        return True
    called = [folder for folder in folders if folder.name.lower() in splits.SPLIT_NAMES]
    if not called and all(splits.names_a_split(folder.name) for folder in folders):
        called = folders
    return any(_folders(folder) for folder in called)


def _nested(root: Path, listings: dict[str, Listing]) -> list[str]:
    """What to say of folders of classes that hold folders themselves, where the level of the classes was not named."""
    listing = listings.get("")
    if listing is None:
        return []
    deep: dict[str, Path] = {}
    for path, name in zip(listing.paths, listing.names, strict=True):
        if name and name not in deep and path.parent != root / name:
            deep[name] = path.parent
    if not deep:
        return []
    first, inside = next(iter(deep.items()))
    return [
        f"{len(deep)} folders of {root} hold folders; each is a class with all below it, e.g. {first} with "
        f"{inside.relative_to(root)}"
    ]


def _left_out(root: Path, listings: dict[str, Listing]) -> list[str]:
    levels = [root, *(root / split for split in listings if split and (root / split).is_dir())]
    found = [path for level in levels for path in sorted(level.iterdir()) if files.leads_back(path)]
    if not found:
        return []
    return [f"{len(found)} linked folders lead back into a folder they lie in and are left out, the first: {found[0]}"]


def _list_classes(folders: Iterable[Path], media: Media) -> Listing:
    listing = Listing([], [])
    blank = []
    for folder in folders:
        paths = files.find(folder, media.suffixes)
        listing.paths.extend(paths)
        listing.names.extend([folder.name] * len(paths))
        if not paths:
            blank.append(folder.name)
    return listing._replace(blank=tuple(blank))


def _list_flat(folder: Path, media: Media) -> Listing:
    paths = files.find(folder, media.suffixes)
    return Listing(paths, [""] * len(paths))


def _folders(folder: Path) -> list[Path]:
    """Those in it, without hidden ones and links back into a folder that they lie in."""
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if not files.leads_back(path))


def _holds(folder: Path, media: Media) -> bool:
    return any(files.counts(path.name, media.suffixes) for path in folder.iterdir())


def _list_table(file: Path, media: Media) -> dict[str, Listing]:
    """Paths are relative to the file's folder. Rows without a split are undivided, under the name ""."""
    try:
        rows = list(read_records(file))
    except DataError as error:
        raise DataError(f"dataset.root: {error}; {media.layout}") from error
    listings: dict[str, Listing] = {}
    for line, row in rows:
        if missing := {"path", "label"} - row.keys():
            raise refused(file, f"has no column {' and no column '.join(sorted(missing))}", media)
        if row["path"] in (None, "") or row["label"] in (None, ""):
            raise refused(file, f"has no path or no label in line {line}", media)
        listing = listings.setdefault(str(row.get("split") or ""), Listing([], []))
        listing.paths.append(file.parent / str(row["path"]))
        listing.names.append(str(row["label"]))
    if "" in listings and len(listings) > 1:
        raise refused(file, "names the split of some rows only", media)
    return listings


def divide(listing: Listing, seed: int) -> dict[str, Listing]:
    """80, 10 and 10 percent of the files as train, val and test, by class."""
    pairs = list(zip(listing.paths, listing.names, strict=True))
    parts = splits.divide(pairs, seed, listing.names)
    return {
        split: Listing([path for path, _ in part], [name for _, name in part], listing.blank)
        for split, part in parts.items()
    }


def refused(path: Path, what: str, media: Media) -> DataError:
    return DataError(f"dataset.root: {path.absolute()} {what}; {media.layout}")
