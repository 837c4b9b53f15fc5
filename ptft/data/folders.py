"""Which files of a folder, or of a CSV file, belong to which class in which split. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ptft.data import files, splits
from ptft.data.files import located, nfc
from ptft.data.hub.cells import File
from ptft.data.hub.tables import option_of, parquet_in
from ptft.data.labels import fraction_among, unlabelled
from ptft.data.own import file_columns, foreign, separator
from ptft.data.own.file_columns import ALSO_PATH, PATH, USUAL, cell
from ptft.data.own.filename_pattern import proposed
from ptft.data.own.grouping import Grouping
from ptft.data.own.listing import Listing, Media, divided, refused
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError, records, text_of
from ptft.errors import DataError, absent, are, counted, shortened

if TYPE_CHECKING:
    from ptft.data.source import DividedSource


def listed_path(folder: Path, fields: Mapping[str, Any], where: str, column: str = PATH) -> Path:
    """The file that a row of a list in `folder` names in a column (or as `audio_filepath`, as NeMo calls it).

    Raises DataError at `where` for a row that names none.
    """
    name = cell(fields, column, where) or cell(fields, ALSO_PATH, where)
    if "\0" in name:
        raise RowError(where, "has a zero byte in its path")
    if name.startswith("file://"):
        name = unquote(urlsplit(name).path)
    if not name:
        raise RowError(where, f"has no {column} ({', '.join(map(str, list(fields)[:8]))})")
    return located(folder, name)


def list_all(
    source: DividedSource,
    root: Path,
    seed: int,
    media: Media,
    labelled: bool = True,
    columns: Mapping[str, str] = USUAL,
) -> dict[str, Listing]:
    """Split -> files; what is not divided is divided by class, a function of `seed`. `source` hears what is left out.

    labelled: whether every file must have a class. columns: those of a list, as `file_columns.find` has them.
    Raises DataError saying what is wrong with `root`, and expected.
    """
    if not root.exists():
        raise refused(root, absent(root), media)
    if root.is_file():
        listings = _list_table(root, media, labelled, UnusableRows(source.on_error), source, columns)
    else:
        listings = _list_folder(root, media, labelled, source)
    others = [path for listing in listings.values() for path in listing.others]
    if not any(listing.paths for listing in listings.values()):
        raise refused(
            root, f"has folders or rows, but no {media.noun} in them{foreign.instead(others, media.noun)}", media
        )
    names = set(listings.get(source.train, listings.get("", Listing([], []))).names)
    if not source.has_sets and (example := fraction_among(names)):
        what = f"{counted(len(names), 'classes')} {are(len(names))} all numbers"
        source.note(f"{what}, e.g. {example}; each is a class by itself")
    for sentence in [] if root.is_file() else [*_nested(root, listings), *_left_out(root, listings, media)]:
        source.note(sentence)
    foreign.tell(source, others, media.noun, root)
    return divided(source, root, listings[""], seed) if "" in listings else listings


def _list_folder(root: Path, media: Media, labelled: bool, source: DividedSource) -> dict[str, Listing]:
    """Undivided files stand under the name ""."""
    train, folders = source.train, splits.folders_by_name(_folders(root), (source.train, source.val, source.test))
    if not folders:
        flat = _holds(root, media)
        if flat and not labelled:
            return {"": _list_flat(root, media, source.grouping)}
        tables = f"; dataset={option_of(media.noun)} reads the Parquet files in it" if parquet_in(root) else ""
        none = f"holds no {media.noun}{tables}" if any(root.iterdir()) else "is empty"
        raise refused(root, _unnamed(root, media) if flat else none, media)
    if not _is_divided(folders, train):
        named = train in folders and folders.keys() <= splits.SPLIT_NAMES.keys()
        if named and any(_holds(folder, media) for folder in folders.values()):
            if not labelled:
                return {name: _list_flat(folder, media, source.grouping) for name, folder in folders.items()}
            raise refused(folders[train], _unnamed(folders[train], media), media)
        return {"": _list_classes(folders.values(), media, source.grouping)}
    for name, folder in folders.items() if labelled else ():
        if name != train and not _folders(folder) and _holds(folder, media):
            source.leave_out(name, f"{folder} has no folders of classes")
    return {name: _list_classes(_folders(folder), media, source.grouping) for name, folder in folders.items()}


def _unnamed(folder: Path, media: Media) -> str:
    return f"holds {media.noun}, but no folder for each class; {proposed(files.find(folder, media.suffixes))}"


def _is_divided(folders: Mapping[str, Path], train: str) -> bool:
    """Whether these are splits, by name: one that is called so holds folders. All other folders are classes."""
    called = [name for name in folders if name == train or name.lower() in splits.SPLIT_NAMES]
    if not called and all(map(splits.names_a_split, folders)):
        called = list(folders)
    return any(_folders(folders[name]) for name in called)


def _nested(root: Path, listings: dict[str, Listing]) -> list[str]:
    """What to say of folders of classes that hold folders themselves, where the level of the classes was not named, or
    there is one class only.
    """
    listing = listings.get("")
    if listing is None:
        return [_only(listing) for listing in listings.values() if len(listing.classes) == 1 and _only(listing)][:1]
    deep: dict[str, Path] = {}
    for path, name in zip(listing.paths, listing.names, strict=True):
        if name and name not in deep and isinstance(path, Path) and path.parent != root / name:
            deep[name] = path.parent
    if not deep:
        return []
    first, inside = next(iter(deep.items()))
    hold = f"{counted(len(deep), 'folders')} of {root} hold{'s' * (len(deep) == 1)} folders"
    return [f"{hold}; each is a class with all below it, e.g. {first} with {inside.relative_to(root)}"]


def _only(listing: Listing) -> str:
    """What to say of the folder of the only class, where it holds folders."""
    (name,) = listing.classes
    folder = next((path for path in Path(str(listing.paths[0])).parents if nfc(path.name) == name), None)
    inside = [] if folder is None else [path.name for path in _folders(folder)]
    if not inside:
        return ""
    return f"the only class is {name}: {folder} holds folders ({shortened(inside, 6)}), and all below it is one class"


def _left_out(root: Path, listings: dict[str, Listing], media: Media) -> list[str]:
    """What to say of links, and of files beside the folders of classes."""
    levels = [root, *(path for path in _folders(root) if {path.name, path.name.lower()} & listings.keys())]
    inside = [path for level in levels for path in sorted(level.iterdir())]
    flat = any(not name for listing in listings.values() for name in listing.names[:1])
    left_out = {
        ("linked folders", "leading back into a folder around"): [path for path in inside if files.leads_back(path)],
        (media.noun, "in no folder of a class"): []
        if flat
        else [path for path in inside if foreign.is_one(path, media.suffixes, media.noun)],
    }
    return [
        f"{counted(len(paths), nouns)} {which} {are(len(paths))} left out, the first: {paths[0]}"
        for (nouns, which), paths in left_out.items()
        if paths
    ]


def _list_classes(folders: Iterable[Path], media: Media, grouping: Grouping | None) -> Listing:
    listing = Listing([], [])
    blank, others, bases = [], list[Path](), dict[str, Path]()
    for folder in folders:
        paths = files.find(folder, media.suffixes, others)
        listing.paths.extend(paths)
        name = nfc(folder.name)
        listing.names.extend([name] * len(paths))
        bases[name] = folder
        if not paths:
            blank.append(name)
    listing = listing._replace(blank=tuple(blank), others=tuple(others))
    return listing.grouped(grouping, lambda path, name: bases[name])


def _list_flat(folder: Path, media: Media, grouping: Grouping | None) -> Listing:
    others = list[Path]()
    paths: list[File] = [*files.find(folder, media.suffixes, others)]
    return Listing(paths, [""] * len(paths), others=tuple(others)).grouped(grouping, lambda path, name: folder)


def _folders(folder: Path) -> list[Path]:
    """Those in it, without hidden ones and links back into a folder that they lie in."""
    folders = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in folders if not files.leads_back(path))


def _holds(folder: Path, media: Media) -> bool:
    return any(files.counts(path.name, media.suffixes) for path in folder.iterdir())


class Row(NamedTuple):
    """What a list, or a table, says of a file, or of what a cell holds in the place of one."""

    split: str
    path: File
    label: str
    where: str
    group: str = ""


def _list_table(
    file: Path,
    media: Media,
    labelled: bool,
    unusable: UnusableRows,
    source: DividedSource,
    typed_columns: Mapping[str, str],
) -> dict[str, Listing]:
    """Paths are relative to the file's folder. Rows without a split are undivided, under the name ""."""
    try:
        listed = list(records(file))
    except DataError as error:
        raise DataError(f"dataset.root: {error}; {media.layout}") from error
    try:
        others: list[object] = [*source.flags[1:], *([] if source.grouping is None else [source.grouping.key])]
        columns = file_columns.find(
            file, listed[: file_columns.ROWS], typed_columns, media.suffixes, others, labelled, source.has_sets
        )
        source.listed(columns)
        rows = _rows(file, listed, media, labelled, unusable, source, columns)
        listings = listings_of(source, rows, unusable, columns.key if labelled else None, separator.notes(file))
    except RowError as error:
        raise DataError(f"dataset.root: {error}") from error
    if "" in listings and len(listings) > 1:
        raise refused(file, "names the split of some rows only", media)
    return listings


def listings_of(
    source: DividedSource, rows: list[Row], unusable: UnusableRows, key: str | None, notes: Iterable[str] = ()
) -> dict[str, Listing]:
    """Split -> the files of rows, "" of those that say none; key: of what each must have, None where it need not.

    `source` hears what is left out, after `notes`. Raises DataError for a row that has no group.
    """
    typed = (source.train, source.val, source.test)
    rows = [row._replace(split=splits.own_name(row.split, typed)) for row in rows]
    kept = rows if key is None else _with_label(rows, unusable, source, key)
    for sentence in [*notes, *unusable.notes(len(kept), str(source.root or source._where()))]:
        source.note(sentence)
    source.unusable += unusable.named()
    by_split: dict[str, list[Row]] = {row.split: [] for row in rows}
    for row in kept:
        if source.divided_by is not None and not row.group:
            raise source.divided_by.missing(row.where)
        by_split[row.split].append(row)
    return {
        split: Listing(
            [row.path for row in split_rows],
            [row.label for row in split_rows],
            groups=[row.group for row in split_rows],
        )
        for split, split_rows in by_split.items()
    }


def _rows(
    file: Path,
    listed: list[tuple[int, dict[str, Any] | RowError]],
    media: Media,
    labelled: bool,
    unusable: UnusableRows,
    source: DividedSource,
    columns: file_columns.ListColumns,
) -> list[Row]:
    rows, grouping, sets = list[Row](), source.grouping, source.has_sets
    targets = [*(source.flags or [columns.target])] if labelled else []
    needed = {name for name in (columns.path, *targets) if name.isascii()}
    for line, fields in listed:
        where = f"{file}:{line}"
        if isinstance(fields, RowError):
            unusable(fields)
            continue
        if missing := sorted(needed - fields.keys()):
            raise refused(file, f"has no column {' and no column '.join(missing)} (line {line})", media)
        try:
            path = listed_path(file.parent, fields, where, columns.path)
            group = "" if grouping is None else grouping.of_row(fields, path, file.parent, where)
            label = source.set_of(fields, columns, where) if sets else nfc(cell(fields, columns.target, where))
            rows.append(Row(text_of(fields, "split", where), path, label, where, group))
        except RowError as error:
            unusable(error)
    return rows


def _with_label(rows: list[Row], unusable: UnusableRows, source: DividedSource, what: str) -> list[Row]:
    """Without those that have none; of a split that is not trained on where none has, it is said."""
    empty = unlabelled(((row.split, row.label) for row in rows), source.train)
    for split in empty:
        source.leave_out(split, f"{split} has no {what}s")
    kept = []
    for row in rows:
        if (row.label or source.has_sets) and row.split not in empty:
            kept.append(row)
        elif row.split not in empty:
            unusable(RowError(row.where, f"has no {what}"))
    return kept
