"""Images with boxes in files: COCO's layout, YOLO's, or Pascal VOC's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from ptft.data import files
from ptft.data.image.boxes import coco_layout, voc_layout, yolo_layout
from ptft.data.image.boxes.annotated import IMAGES, MASKS, Annotated, AnnotatedSource
from ptft.data.image.boxes.marks import Problems, Split, boxes_of, sized
from ptft.data.image.boxes.tensors import Boxes
from ptft.data.image.listed.images import MEAN, STD, FileExamples
from ptft.data.image.masks.examples import BACKGROUND, Painter
from ptft.data.image.masks.fitting import IGNORED
from ptft.data.image.masks.outlines import OutlinePainter, Outlines, outlines_of
from ptft.data.image.source import pair
from ptft.data.label_sets.cells import joined
from ptft.errors import ConfigError, DataError

LAYOUTS: dict[str, ModuleType] = {"coco": coco_layout, "yolo": yolo_layout, "voc": voc_layout}


class Coco(AnnotatedSource):
    """Annotated images, in splits or in one that is divided into 80, 10 and 10 percent by `split_seed`.

    root: a folder (or its annotation file). layout: coco, yolo or voc, by whose files there are where it is "auto".
    annotations: of coco, a file or {split: file}, below root; folders: of coco, where the images are, likewise.
    own_size: the size where neither `size` nor a checkpoint of boxes says one; None: the longer side is 512 pixels.
    model_size: finds (H, W) that a model is published for, which only labels are brought to.
    background: of masks, whether pixels that no annotation covers are of a class `background`, or of none.
    labelled: whether boxes are needed; they are read in any case.
    Annotations and files are compared before anything is learned. Raises DataError naming annotation, file and why.
    """

    def __init__(
        self,
        *,
        layout: str = "auto",
        annotations: str | Mapping[str, str] | None = None,
        folders: str | Mapping[str, str] | None = None,
        own_size: int | Sequence[int] | None = None,
        background: bool = True,
        split_seed: int = 0,
        labelled: bool = True,
        **keys: Any,
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError(f"dataset.root is not set; {coco_layout.LAYOUT}")
        self.made: dict[str, tuple[list[Path], Boxes | Outlines]] = {}
        splits = self._parsed(_layout(self.root, layout, annotations), annotations, folders)
        ids, names = _categories(splits, self.leading(splits) if "" not in splits else "")
        if background and self.target == MASKS and BACKGROUND not in names:
            ids, names = [0, *ids], [BACKGROUND, *names]
        self.empty = BACKGROUND if background else None
        ids, names = self.in_order(ids, names)
        for split, parsed in splits.items():
            self._read(split, parsed, names)
        if "" in self.made:
            self._divide(self.root, split_seed, names)
        if self.size is None and (self.like is None or self.like.target != self.target):
            sizes = torch.cat([marks.size for _, marks in self.made.values()])
            self.size = self.whole_size(sizes) if own_size is None else pair(own_size)
        self.describe_marks(ids, names, tuple(self.made), None, 3, MEAN, STD)

    def _parsed(self, layout: str, annotations: Any, folders: Any) -> dict[str, Split]:
        assert self.root is not None
        if layout != "coco" and (key := "annotations" if annotations else "folders" if folders else ""):
            raise ConfigError(f"dataset.{key}: is for dataset.layout=coco, these files are in that of {layout}")
        if layout == "coco":
            found = coco_layout.found(self.root, annotations)
            return {split: coco_layout.parse(self.root, split, file, folders) for split, file in found.items()}
        module = LAYOUTS[layout]
        parts = module.found(self.root)
        for sentence in module.unused(self.root, parts):
            self.note(sentence)
        return {split: module.parse(self.root, part) for split, part in parts.items()}

    def _read(self, split: str, parsed: Split, names: Sequence[str]) -> None:
        """Keep what can be used of a split; say, or raise, what can't be."""
        for sentence in parsed.notes:
            self.note(sentence)
        unread, unusable = Problems(), Problems()
        numbers = {id: names.index(name) for id, name in parsed.categories.items() if name in names}
        pictures = sized(parsed.pictures, unread)
        self.tell(split, unread, IMAGES)
        marks = (
            outlines_of(pictures, numbers, unusable) if self.target == MASKS else boxes_of(pictures, numbers, unusable)
        )
        self.tell(split, unusable, self.target if self.target == MASKS else "boxes")
        if not pictures:
            raise DataError(f"{parsed.file}: none of its images can be used; {unread.shown()}")
        self.made[split] = [picture.path for picture, _ in pictures], marks

    def _divide(self, root: Path, seed: int, names: Sequence[str]) -> None:
        paths, marks = self.made.pop("")
        sets = [joined(names[k] for k in row.nonzero().flatten().tolist()) for row in marks.sets(len(names))]
        known = partial(self._relative, paths)
        parts = self.divide(root, range(len(paths)), seed, known, names=sets if any(sets) else None)
        for split, rows in parts.items():
            self.made[split] = [paths[row] for row in rows], marks.at(torch.tensor(rows, dtype=torch.long))

    def _relative(self, paths: Sequence[Path]) -> list[str]:
        return [files.relative(path, self._base) for path in paths]

    @property
    def _base(self) -> Path:
        assert self.root is not None
        return self.root if self.root.is_dir() else self.root.parent

    def annotated(self, split: str) -> Annotated:
        paths, marks = self.made[split]
        sets = marks.sets(len(self.own_classes))
        return Annotated(FileExamples(paths, sets, self.plain, self._base, self.on_error), marks)

    def painter(self, split: str) -> Painter:
        outlines = self.made[split][1]
        assert isinstance(outlines, Outlines)
        empty = IGNORED if self.empty is None else self.own_classes.index(self.empty)
        return OutlinePainter(outlines, empty, self.plain)

    def sizes(self, splits: Sequence[str]) -> Mapping[str, int | None]:
        return {split: len(self.made[split][0]) for split in splits}


def _layout(root: Path, typed: str, annotations: Any) -> str:
    """Whose layout it is. Raises ConfigError for another word, DataError where the files are of none."""
    if typed != "auto":
        if typed not in LAYOUTS:
            raise ConfigError(f"dataset.layout={typed}: one of auto, {', '.join(LAYOUTS)}")
        return typed
    if annotations is not None or root.suffix == ".json":
        return "coco"
    if next(root.glob("Annotations/*.xml"), None):
        return "voc"
    if any(next(root.glob(pattern), None) for pattern in ("annotations/*.json", f"*/{coco_layout.ROBOFLOW}")):
        return "coco"
    if yolo_layout.config_of(root) or next(root.glob("**/labels"), None):
        return "yolo"
    if next(root.glob("*.json"), None):
        return "coco"
    expected = "; or ".join(module.LAYOUT for module in LAYOUTS.values())
    raise DataError(
        f"dataset.root={root}: {'no annotations there' if root.exists() else 'no such folder'}; expected {expected}"
    )


def _categories(splits: Mapping[str, Split], leading: str) -> tuple[list[int], list[str]]:
    """(id, name) of each class: of the split that is trained on by its ids, then those that only others have."""
    found: dict[str, Any] = {}
    for split in (leading, *(name for name in splits if name != leading)):
        for id, name in sorted(splits[split].categories.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])):
            found.setdefault(name, id)
    if not found:
        raise DataError(f"{splits[leading].file}: names no classes")
    whole = all(isinstance(id, int) for id in found.values()) and len(set(found.values())) == len(found)
    return [id if whole else number for number, id in enumerate(found.values(), 1)], list(found)


def sample(root: Path, count: int = 6) -> None:
    """Write a tiny set in COCO's layout below `root`: squares on noise, in train2017 and val2017."""
    generator = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train2017", "val2017"):
        (root / split).mkdir(exist_ok=True)
        images, annotations = [], list[dict[str, object]]()
        for i in range(count):
            pixels = generator.integers(0, 100, (48, 64, 3), dtype=np.uint8)
            left, top, side = (int(generator.integers(4, 20)) for _ in range(3))
            pixels[top : top + side, left : left + side] = 255
            Image.fromarray(pixels).save(root / split / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
            right, bottom = left + side, top + side
            outline = [[left, top, right, top, right, bottom, left, bottom]]
            box = {"bbox": [left, top, side, side], "area": side**2, "iscrowd": 0, "segmentation": outline}
            annotations += [{"id": len(annotations) + 1, "image_id": i, "category_id": 1 + 2 * (i % 2), **box}] * (
                i > 0
            )
        categories = [{"id": 3, "name": "dark"}, {"id": 1, "name": "light"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
