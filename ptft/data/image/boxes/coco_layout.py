"""COCO's layout: images in folders, and a JSON file a split with images, categories and annotations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.data.files import located, nfc, parse_json, read_file
from ptft.data.image.boxes.marks import Mark, Picture, Split
from ptft.data.splits import split_by_word
from ptft.errors import ConfigError, DataError, absent, shortened

LAYOUT = "ROOT/annotations/instances_train2017.json with images in ROOT/train2017, and the same of val2017"
ROBOFLOW = "_annotations.coco.json"
"""What lies beside the images of a split in exports of some tools."""
PARTS = ("images", "annotations", "categories")


def found(root: Path, annotations: Any) -> dict[str, Path]:
    """Split -> its annotation file; "" -> the only one where it is of no split by its name.

    annotations: what is typed: a file, or {SPLIT: file}. Raises DataError where there is none.
    """
    if isinstance(annotations, Mapping):
        return {str(split): _below(root, file, "annotations") for split, file in annotations.items()}
    if annotations is not None:
        return {"": _below(root, annotations, "annotations")}
    if root.is_file():
        return {"": root}
    splits: dict[str, Path] = {}
    for path in sorted(root.glob(f"*/{ROBOFLOW}")):
        split = split_by_word(Path(path.parent.name)) or path.parent.name
        if (other := splits.setdefault(split, path)) != path:
            both = f"{other.parent.name} and {path.parent.name} are both the {split} split"
            raise DataError(f"dataset.root={root}: {both}; dataset.annotations={{train: …, val: …}} names some")
    if splits:
        return splits
    return _by_name(root, sorted(root.glob("annotations/*.json")) or sorted(root.glob("*.json")))


def _by_name(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    files = [file for file in files if file.name.startswith("instances")] or files
    splits: dict[str, Path] = {}
    for file in files:
        split = split_by_word(file) or (file.stem if len(files) > 1 else "")
        if (other := splits.setdefault(split, file)) != file:
            both = f"{other.name} and {file.name} are both the {split} split"
            raise DataError(f"dataset.root={root}: {both}; dataset.annotations={{train: …, val: …}} names some")
    if not splits:
        raise DataError(f"dataset.root={root}: {'holds no annotations' if root.exists() else absent(root)}; {LAYOUT}")
    return {"": next(iter(splits.values()))} if splits.keys() == {"train"} else splits


def _below(root: Path, name: Any, key: str) -> Path:
    path = (root if root.is_dir() else root.parent) / os.path.expanduser(str(name))
    if not path.exists():
        raise ConfigError(f"dataset.{key}={name}: {path}: {absent(path)}")
    return path


def parse(root: Path, split: str, file: Path, folders: Any) -> Split:
    """What the file of a split says. Raises DataError naming the file and what is wrong with it.

    folders: where the images are, as typed: a folder, {SPLIT: folder}, or None.
    """
    content = _content(file)
    folder = _folder(root, split, file, folders)
    pictures: dict[Any, Picture] = {}
    names: dict[str, Any] = {}
    for entry in content["images"]:
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("file_name"), str):
            raise DataError(f"{file}: an image has no id or no file_name ({entry!r:.80})")
        if (key := _key(entry["id"])) in pictures:
            raise DataError(f"{file}: two images have the id {entry['id']} (the second: {entry['file_name']})")
        if (other := names.setdefault(entry["file_name"], entry["id"])) != entry["id"]:
            raise DataError(f"{file}: {entry['file_name']} is there twice, as image {other} and {entry['id']}")
        pictures[key] = Picture(image_in(folder, entry["file_name"]), _size(entry))
    for entry in content["annotations"]:
        _add(entry, pictures, file)
    return Split(list(pictures.values()), _categories(content["categories"], file), str(file))


def _key(value: Any) -> Any:
    """Ids that are numbers may be written as text in one list and not in the other."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content = parse_json(read_file(file))
    except ValueError as error:
        raise DataError(f"{file}: not readable as JSON ({error})") from error
    lacking = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if lacking:
        raise DataError(f"{file}: has no list {' and '.join(lacking)}, as annotations in COCO's layout have")
    if not content["images"]:
        raise DataError(f"{file}: lists no images")
    return content  # type: ignore[no-any-return]


def _categories(entries: Sequence[Any], file: Path) -> dict[Any, str]:
    categories: dict[Any, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or "id" not in entry or not str(entry.get("name", "")).strip():
            raise DataError(f"{file}: a category has no id or no name ({entry!r:.80})")
        name = nfc(str(entry["name"]).strip())
        if categories.setdefault(_key(entry["id"]), name) != name:
            raise DataError(f"{file}: {categories[_key(entry['id'])]} and {name} both are category {entry['id']}")
    return categories


def _add(entry: Any, pictures: Mapping[Any, Picture], file: Path) -> None:
    if not isinstance(entry, dict) or "image_id" not in entry:
        raise DataError(f"{file}: an annotation has no image_id ({entry!r:.80})")
    picture = pictures.get(_key(entry["image_id"]))
    if picture is None:
        raise DataError(f"{file}: annotation {entry.get('id')} is of image {entry['image_id']}, which is not listed")
    box, area = entry.get("bbox"), entry.get("area")
    if isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box):
        box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    area = float(area) if isinstance(area, int | float) else None
    name = f"annotation {entry.get('id')}"
    mark = Mark(box, _key(entry.get("category_id")), bool(entry.get("iscrowd")), area, name, entry.get("segmentation"))
    picture.marks.append(mark)


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = entry.get("height"), entry.get("width")
    return (int(sides[0]), int(sides[1])) if all(isinstance(side, int | float) and side for side in sides) else None  # type: ignore[arg-type]


def image_in(folders: Sequence[Path], name: str) -> Path:
    """Where an image lies: below the first of the folders that has it, perhaps without the folders of its own name."""
    for folder in folders:
        for candidate in (located(folder, name), folder / Path(name).name):
            if candidate.exists():
                return candidate
    return folders[0] / name


def _folder(root: Path, split: str, file: Path, typed: Any) -> list[Path]:
    """Where the images of a split may be. Raises DataError where none of these is there."""
    if isinstance(typed, Mapping):
        if split not in typed:
            raise ConfigError(f"dataset.folders={dict(typed)}: names no folder for {split}")
        return [_below(root, typed[split], "folders")]
    if typed is not None:
        return [_below(root, typed, "folders")]
    base = root if root.is_dir() else root.parent
    word = file.stem.rpartition("_")[2]  # train2017 of instances_train2017
    names = [word, f"images/{word}", split, f"images/{split}", "images", ""] if split else [word, "images", ""]
    folders = [file.parent] if file.name == ROBOFLOW else [base / name for name in names]
    there = [folder for folder in folders if folder.is_dir()]
    if not there:
        raise DataError(f"dataset.root={root}: no folder of images for {file.name} ({shortened(names)})")
    return there
