"""YOLO's layout: a text file an image with `class x y width height` a line, in shares of the image; names in a YAML."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ptft.data.files import find, nfc, read_file, read_lines, relative
from ptft.data.image.boxes.marks import Mark, Picture, Split
from ptft.data.image.reader import SUFFIXES, size_of
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import DataError, absent, are, counted, shortened

LAYOUT = "ROOT/data.yaml with names, images in ROOT/images/train and ROOT/labels/train/NAME.txt of each"


def config_of(root: Path) -> Path | None:
    """The YAML of a dataset that names its classes: `root` itself, or the first one there that does."""
    return next(iter(_configs(root)), None)


def _configs(root: Path) -> list[Path]:
    files = [root] if root.is_file() else sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    return [file for file in files if file.suffix in (".yaml", ".yml") and "names" in _read(file)]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_file(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file}: not readable as YAML ({str(error).splitlines()[0]})") from error
    return content if isinstance(content, dict) else {}


def found(root: Path) -> dict[str, list[Path]]:
    """Split -> its images; "" -> all of them where nothing divides them. Raises DataError where there are none."""
    config = config_of(root)
    base = root if root.is_dir() else root.parent
    content = _read(config) if config else {}
    splits, keys = {}, dict[str, str]()
    for key, entry in content.items():
        if key in SPLIT_NAMES and entry:
            if (other := keys.setdefault(SPLIT_NAMES[key], key)) != key and content[other] != entry:
                raise DataError(f"{config}: {other} and {key} are both the {SPLIT_NAMES[key]} split; name one of them")
            entries = entry if isinstance(entry, list) else [entry]
            splits[SPLIT_NAMES[key]] = [path for each in entries for path in _images(_place(base, content, str(each)))]
    if not splits:
        splits = _folders(base)
    if not any(splits.values()):
        raise DataError(f"dataset.root={root}: {'holds no images' if root.exists() else absent(root)}; {LAYOUT}")
    return {split: files for split, files in splits.items() if files}


def _place(base: Path, content: dict[str, Any], entry: str) -> Path:
    """Where an entry of the YAML is: below its `path`, or below the YAML, whatever folders lie before that."""
    own = Path(os.path.expanduser(str(content.get("path") or "")))
    below = entry.lstrip("./")
    for candidate in (base / own / entry, base / entry, base / below):
        if candidate.exists():
            return candidate
    raise DataError(f"{base}: {entry}: {absent(base / entry)}")


def _images(place: Path) -> list[Path]:
    """Those of a folder, or of a text file that lists them."""
    if place.suffix == ".txt" and place.is_file():
        return [place.parent / line.strip() for line in read_lines(place) if line.strip()]
    return find(place, SUFFIXES)


def _folders(base: Path) -> dict[str, list[Path]]:
    """images/train, or train/images; or images alone. Raises DataError for two folders of one split."""
    named = [folder for folder in _subfolders(base / "images") if folder.name.lower() in SPLIT_NAMES]
    named += [folder / "images" for folder in _subfolders(base) if folder.name.lower() in SPLIT_NAMES]
    splits, folders = dict[str, list[Path]](), dict[str, str]()
    for folder in named:
        place = str(folder.relative_to(base))
        split = SPLIT_NAMES[(folder.parent if folder.name == "images" else folder).name.lower()]
        if not (images := find(folder, SUFFIXES)):
            continue
        if (other := folders.setdefault(split, place)) != place:
            both = f"{other} and {place} are both the {split} split"
            raise DataError(f"dataset.root={base}: {both}; put their files into one of them")
        splits[split] = images
    alone = base / "images"
    return splits or {"": find(alone if alone.is_dir() else base, SUFFIXES)}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def unused(root: Path, splits: Mapping[str, Sequence[Path]]) -> list[str]:
    """What to say of images of no split, of labels of no image, and of files with classes that are not read."""
    base = root if root.is_dir() else root.parent
    real = cache(os.path.realpath)
    used = {(real(path.parent), path.name) for paths in splits.values() for path in paths}
    counts: Counter[str] = Counter()
    for folder in (base / "images", *(each / "images" for each in _subfolders(base))):
        left = [path for path in find(folder, SUFFIXES) if (real(path.parent), path.name) not in used]
        counts.update(relative(path.parent, base) for path in left)
    notes = []
    if counts:
        shown = shortened([f"{place} ({counted(count, 'images')})" for place, count in counts.items()])
        says = "train:, val: and test: of a YAML with names say which folders are"
        notes.append(f"{shown} {are(len(counts))} there and not used; {says}")
    if orphans := _orphans(path for paths in splits.values() for path in paths):
        what = f"{counted(len(orphans), 'files')} of labels {are(len(orphans))} of no image and not used"
        notes.append(f"{what}: {shortened([relative(path, base) for path in orphans])}")
    if others := [file.name for file in _configs(root)[1:]]:
        notes.append(f"{config_of(root)} is read; {shortened(others)} {are(len(others))} not (dataset.root names one)")
    return notes


def _orphans(images: Iterable[Path]) -> list[Path]:
    """Text files beside those of some images, in folders of labels, that are of none of them."""
    known = {labels_of(image) for image in images}
    folders = {path.parent for path in known if "labels" in path.parts[:-1]}
    there = (path for folder in sorted(folders) for path in sorted(folder.glob("*.txt")))
    return [path for path in there if path not in known and path.name != "classes.txt"]


def parse(root: Path, images: Sequence[Path]) -> Split:
    """What the files of some images say; an image without a file has no box. Raises DataError naming file and line."""
    config = config_of(root)
    named = _read(config)["names"] if config else {}
    pairs = enumerate(named) if isinstance(named, list) else named.items()
    names = {int(number): nfc(str(name)) for number, name in pairs}
    pictures = [Picture(path, None, _marks(path)) for path in images]
    used = {mark.category for picture in pictures for mark in picture.marks}
    if not names:
        names = {number: str(number) for number in sorted(used)}
    return Split(pictures, names, str(config or root))


def labels_of(image: Path) -> Path:
    """The text file of an image: in `labels` where that is in `images`, else beside it."""
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _marks(image: Path) -> list[Mark]:
    file = labels_of(image)
    lines = [(i, line) for i, line in enumerate(read_lines(file), 1) if line.strip()] if file.is_file() else []
    if not lines:
        return []
    try:
        height, width = size_of(image)
    except DataError:
        return []  # which is told of the image
    return [_mark(line, f"{file.name}:{number}", file, width, height) for number, line in lines]


def _mark(line: str, name: str, file: Path, width: int, height: int) -> Mark:
    try:
        category, *numbers = line.split()
        values, number = [float(value) for value in numbers], int(category)
    except ValueError as error:
        raise DataError(f"{file}: {name} is {line.strip()!r:.60}; class x y width height are expected") from error
    outline = None
    if len(values) == 4:
        x, y, wide, high = values
        box = [(x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height]
    elif len(values) >= 6 and len(values) % 2 == 0:  # the corners of an outline
        across, down = values[0::2], values[1::2]
        box = [min(across) * width, min(down) * height, max(across) * width, max(down) * height]
        outline = [[value * (height if i % 2 else width) for i, value in enumerate(values)]]
    else:
        raise DataError(f"{file}: {name} has {len(values)} numbers behind its class; x y width height are expected")
    return Mark(box, number, False, None, f"line {name}", outline)
