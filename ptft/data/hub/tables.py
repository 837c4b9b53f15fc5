"""Where the tables of a dataset lie: on the hub, in what save_to_disk wrote, or in Parquet files; and their splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.own.arrow import kept_notes, open_tables, parts_of_parquet
from ptft.data.own.columns import AUTO
from ptft.data.own.text_record import Column
from ptft.data.splits import find_splits, parts_notes, split_by_stem, split_files
from ptft.errors import ConfigError, DataError, absent, shortened

SUFFIX = ".parquet"
MISSING = "holds no Parquet files, nor what save_to_disk writes"
UNDIVIDED = "data"
"""What rows of a table are called that is of no split."""
IMAGE, AUDIO = "image", "audio"
OPTIONS = {IMAGE: "huggingface_images", AUDIO: "huggingface_audio", "text": "huggingface"}
"""Modality -> the dataset that reads its tables."""
NOUNS = {IMAGE: "images", AUDIO: "recordings"}


class Part(NamedTuple):
    """A table. places: the first row of each file that it was read from, and what to call that file."""

    table: Any
    places: Sequence[tuple[int, str]]


class Tables(NamedTuple):
    """Split -> its tables, "" where nobody divided them; where: what to call them; notes: how they were read."""

    splits: Mapping[str, Sequence[Part]]
    where: str
    notes: Sequence[str] = ()

    @property
    def parts(self) -> list[Part]:
        return [part for parts in self.splits.values() for part in parts]


def opened(name: str | None, subset: str | None, root: Path | None, train: str = "train") -> Tables:
    """The tables of a dataset on the hub, or at `root`; what is of one split with any other name than that to train on
    is not divided. Raises ConfigError where not one of both is named, DataError for what can't be read."""
    if (name is None) == (root is None):
        raise ConfigError("dataset.name, a dataset on the hub, or dataset.root, a folder: set one of them")
    if root is None:
        found = open_tables(where := f"dataset.name={name}", name, subset, None, {})
        splits = {_called(split): [_whole(table, split) for table in tables] for split, tables in found.items()}
        return Tables(_undivided(splits, train), where)
    where = f"dataset.root={root}"
    if not root.exists():
        raise DataError(f"{where}: {absent(root)}; a folder of Parquet files, or one that save_to_disk wrote")
    if is_saved(root):
        found, one = open_tables(where, None, None, root, {}), not (root / "dataset_dict.json").is_file()
        splits = {
            "" if one else _called(split): [_whole(table, f"{root}/{UNDIVIDED if one else split}") for table in tables]
            for split, tables in found.items()
        }
        return Tables(_undivided(splits, train), where)
    files = parquet_splits(root, subset)
    read = {
        split: [Part(table, _places(counts)) for table, counts in parts_of_parquet(files[split])] for split in files
    }
    kept = kept_notes([file for parts in files.values() for file in parts])
    return Tables(_undivided(read, train), where, [*parts_notes(files), *kept])


def parquet_splits(root: Path, subset: str | None = None) -> dict[str, list[Path]]:
    """As `split_files`, of Parquet files, which may stand in a folder called as the subset, or in the only one that has
    some, as they do on the hub. Raises DataError where there are none, or where it is not clear which are meant."""
    if root.is_file():
        if not is_parquet(root):
            raise DataError(f"dataset.root={root}: is no Parquet file")
        return {"": [root]}
    folders = [root] if subset is None else [root / subset]
    if subset is None and not find_splits(root, _split_of):
        folders = [path for path in sorted(root.iterdir()) if path.is_dir() and find_splits(path, _split_of)]
        folders = [path for path in folders if path.name == UNDIVIDED] or folders
    if len(folders) > 1:
        named = shortened([path.name for path in folders], 6)
        raise DataError(f"dataset.root={root}: {named} hold Parquet files each; dataset.subset={folders[0].name}, say")
    if not folders or not find_splits(folders[0], _split_of):
        raise DataError(f"dataset.root={folders[0] if folders else root}: {MISSING}")
    return split_files(folders[0], _split_of, "Parquet files")


def files_of(root: Path, split_of: Callable[[Path], str | None], missing: str) -> dict[str, list[Path]]:
    """Split -> its files, which stand in the folder or in one called `data`; a file by itself is train."""
    inner = root / UNDIVIDED
    folder = inner if inner.is_dir() and not any(map(split_of, root.iterdir())) else root
    if folder.is_dir() and not find_splits(folder, split_of):
        raise DataError(f"dataset.root={root}: {missing}")
    files = split_files(folder, split_of, "a folder")
    kinds = {is_parquet(file) for parts in files.values() for file in parts}
    if len(kinds) > 1:
        raise DataError(f"dataset.root={root}: holds files of several formats (parquet, and csv or json)")
    return {"train": files[""]} if "" in files else files


def parquet_in(folder: Path) -> bool:
    """Whether there are Parquet files in a folder."""
    return any(is_parquet(file) for file in folder.iterdir())


def option_of(noun: str) -> str:
    """The dataset that reads tables of images, or of recordings."""
    return next(OPTIONS[kind] for kind, called in NOUNS.items() if called == noun)


def is_saved(root: Path) -> bool:
    """Whether save_to_disk wrote a folder."""
    return (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()


def is_parquet(file: Path) -> bool:
    return file.suffix.lower() == SUFFIX


def media_of(feature: Any) -> str | None:
    """What a column holds by its feature: "image", "audio", "" where it may be either, None where it is neither."""
    kind = type(feature).__name__.lower()
    if kind in (IMAGE, AUDIO):
        return kind
    inner = feature.get("bytes") if isinstance(feature, dict) else feature
    return "" if str(getattr(inner, "dtype", "")) in ("binary", "large_binary") else None


def media_columns(table: Any, kind: str) -> list[str]:
    """The columns of a table that hold pictures or recordings as they say, else those that may."""
    kinds = {name: media_of(feature) for name, feature in table.features.items()}
    return [name for name in kinds if kinds[name] == kind] or [name for name in kinds if kinds[name] == ""]


def other_option(table: Any, kind: str) -> str:
    """What to say of a table that has nothing of a kind: which dataset reads it."""
    kinds = {media_of(feature) for feature in table.features.values()} - {kind}
    columns = ", ".join(table.column_names[:8])
    if other := next((each for each in (IMAGE, AUDIO) if each in kinds), None):
        return f"holds {NOUNS[other]} ({columns}); dataset={OPTIONS[other]} reads them"
    if "" in kinds:
        both = " and ".join(f"dataset={OPTIONS[each]} {NOUNS[each]}" for each in NOUNS)
        return f"holds files in cells ({columns}); {both} of them"
    return f"has no column of {NOUNS[kind]} ({columns}); dataset={OPTIONS['text']} reads texts"


def without_media(table: Any, where: str = "", text: Column | Sequence[Column] | None = None) -> Any:
    """A table without its pictures and recordings, which the library would decode. text: the columns that are wanted.

    Raises DataError at `where` where these are not there by their names, or by the usual one, beside those.
    """
    media = [name for name, feature in table.features.items() if media_of(feature) is not None]
    names = [text] if isinstance(text, str | int) else list(text or ())
    if media and any(("text" if name == AUTO else name) not in table.column_names for name in names):
        raise DataError(f"{where}: {other_option(table, 'text')}")
    return table.remove_columns(media) if media else table


def _called(split: str) -> str:
    return "val" if split == "validation" else split


def _undivided(splits: dict[str, list[Part]], train: str) -> dict[str, list[Part]]:
    """One split that is called as none is, is a dataset that nobody divided."""
    only = next(iter(splits)) if len(splits) == 1 else None
    return {"": splits[only]} if only not in (None, train, "train", "val", "test") else splits


def _whole(table: Any, name: str) -> Part:
    return Part(table, [(0, name)])


def _places(counts: Sequence[tuple[Path, int]]) -> list[tuple[int, str]]:
    firsts = [0, *accumulate(count for _, count in counts[:-1])]
    return [(first, str(file)) for (file, _), first in zip(counts, firsts, strict=True)]


def _split_of(file: Path) -> str | None:
    return split_by_stem(file) if is_parquet(file) else None
