"""Captions in COCO's layout (a JSON file a split), and in Karpathy's, one file with the splits that results are
published for: `dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json` (Karpathy & Fei-Fei 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.files import parse_json, read_file
from ptft.data.image.boxes.coco_layout import image_in
from ptft.data.own.listing import Listing
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError
from ptft.data.splits import split_by_word
from ptft.errors import DataError, shortened

LAYOUT = "ROOT/annotations/captions_train2017.json with images in ROOT/train2017, and the same of val2017"
PATTERNS = ("annotations/captions_*.json", "captions_*.json", "dataset_*.json")
"""Files that hold captions in a folder; those of the first pattern that there are."""
RESTVAL = {"restval": "train"}
"""Images of COCO's val2014 that are trained on in Karpathy's splits."""


class Said(NamedTuple):
    """A caption, the split and the file of its image, and where it stands."""

    split: str
    path: Path
    text: str
    where: str


def found(root: Path) -> list[Path]:
    """The files of captions that `root` means: itself, or those in it; nothing where it is something else."""
    if root.is_dir():
        return next((files for pattern in PATTERNS if (files := sorted(root.glob(pattern)))), [])
    return [root] if root.suffix.lower() == ".json" and root.is_file() and _begins_as_object(root) else []


def _begins_as_object(file: Path) -> bool:
    """Whether it holds one object, and no list of rows or a row a line."""
    with file.open("rb") as opened:
        start = opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith(b"{") and (b'"images"' in start or b'"annotations"' in start or b'"info"' in start)


def listings(files: Sequence[Path], root: Path, unusable: UnusableRows) -> dict[str, Listing]:
    """Split -> a row for each caption; "" where nobody says the split of any. Raises DataError for other layouts."""
    by_split: dict[str, Listing] = {}
    for file in files:
        split = split_by_word(file) or (file.stem if len(files) > 1 else "")
        for said in _of_file(file, root, "" if len(files) == 1 and split == "train" else split, unusable):
            listing = by_split.setdefault(said.split, Listing([], []))
            listing.paths.append(said.path)
            listing.names.append(said.text)
    return by_split


def _of_file(file: Path, root: Path, split: str, unusable: UnusableRows) -> Iterator[Said]:
    try:
        content = parse_json(read_file(file))
    except ValueError as error:
        raise DataError(f"{file}: not readable as JSON ({error})") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images or not all(isinstance(image, dict) for image in images):
        raise DataError(f"{file}: lists no images; expected {LAYOUT}")
    if "sentences" in images[0]:
        rows = _of_karpathy(file, images, _finder(root, file, "images", str(content.get("dataset"))))
    elif isinstance(content.get("annotations"), list):
        rows = _of_coco(file, split, images, content["annotations"], _finder(root, file, file.stem.rpartition("_")[2]))
    else:
        raise DataError(f"{file}: has neither annotations nor sentences of its images; expected {LAYOUT}")
    for row in rows:
        if isinstance(row, RowError):
            unusable(row)
        elif not row.text:
            unusable(RowError(row.where, "has no caption"))
        else:
            yield row


def _of_coco(
    file: Path, split: str, images: list[Any], annotations: list[Any], image: Callable[[str], Path]
) -> Iterator[Said | RowError]:
    """The captions in the order of their images, each image's together."""
    said: dict[Any, list[tuple[str, str]]] = {_key(entry.get("id")): [] for entry in images}
    for entry in annotations:
        key = _key(entry.get("image_id")) if isinstance(entry, dict) else None
        where = f"{file}: annotation {entry.get('id') if isinstance(entry, dict) else entry!r:.60}"
        if key not in said:
            yield RowError(where, f"is of image {key}, which is not listed")
        elif not isinstance(entry.get("caption"), str):
            raise DataError(f"{where} has no caption; dataset=coco reads boxes")
        else:
            said[key].append((" ".join(entry["caption"].split()), where))
    for entry in images:
        if not isinstance(name := entry.get("file_name"), str):
            raise DataError(f"{file}: an image has no file_name ({entry!r:.80})")
        captions = said[_key(entry.get("id"))]
        path = image(name) if captions else Path()
        yield from (Said(split, path, text, where) for text, where in captions)


def _of_karpathy(file: Path, images: list[Any], image: Callable[[str], Path]) -> Iterator[Said | RowError]:
    for entry in images:
        name, split, sentences = entry.get("filename"), entry.get("split"), entry.get("sentences")
        if not isinstance(name, str) or not isinstance(split, str) or not isinstance(sentences, list):
            raise DataError(f"{file}: an image has no filename, split or sentences ({entry!r:.80})")
        path = image(f"{entry['filepath']}/{name}" if entry.get("filepath") else name)
        for number, sentence in enumerate(sentences, 1):
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            text, where = " ".join(str(raw or "").split()), f"{file}: caption {number} of {name}"
            yield Said(RESTVAL.get(split, split), path, text, where)


def _key(value: Any) -> Any:
    """Ids that are numbers may be written as text in one list and not in the other."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _finder(root: Path, file: Path, *names: str) -> Callable[[str], Path]:
    """What finds an image by its name. names: folders that may hold them, below the root or beside the file."""
    bases = [root] if root.is_dir() else [file.parent, file.parent.parent]
    below = [part for name in names for part in (name, f"{name}-images", f"{name}_images", f"images/{name}")]
    folders = [base / name for base in bases for name in (*below, "images", "Images", "")]
    there = list(dict.fromkeys(folder for folder in folders if folder.is_dir()))
    if not there:
        raise DataError(f"dataset.root={root}: no folder of images for {file.name} ({shortened(below)})")
    return lambda name: image_in(there, name)
