"""Pascal VOC's layout: an XML file an image in Annotations, and lists of names in ImageSets/Main."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ptft.data.files import nfc, read_file, read_lines
from ptft.data.image.boxes.marks import Mark, Picture, Split
from ptft.data.image.reader import SUFFIXES
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import DataError, absent

LAYOUT = "ROOT/Annotations/NAME.xml, ROOT/JPEGImages/NAME.jpg, and perhaps ROOT/ImageSets/Main/train.txt and val.txt"


def found(root: Path) -> dict[str, list[Path]]:
    """Split -> its XML files; "" -> all of them where no list divides them. Raises DataError where there are none."""
    folder = root / "Annotations"
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise DataError(f"dataset.root={root}: {'holds no annotations' if root.exists() else absent(root)}; {LAYOUT}")
    lists = {
        SPLIT_NAMES[path.stem]: path for path in (root / "ImageSets" / "Main").glob("*.txt") if path.stem in SPLIT_NAMES
    }
    return {split: _listed(folder, path) for split, path in lists.items()} or {"": files}


def _listed(folder: Path, path: Path) -> list[Path]:
    names = [line.split()[0] for line in read_lines(path) if line.strip()]
    if missing := [name for name in names if not (folder / f"{name}.xml").exists()]:
        raise DataError(f"{path}: {folder / missing[0]}.xml: no such file ({len(missing)} of {len(names)} are missing)")
    return [folder / f"{name}.xml" for name in names]


def parse(root: Path, files: Sequence[Path]) -> Split:
    """What XML files say; difficult objects count as crowds: they are not learned, and finding one is no mistake."""
    pictures = [_picture(root, file) for file in files]
    names = sorted({str(mark.category) for picture in pictures for mark in picture.marks})
    return Split(pictures, {name: name for name in names}, str(root / "Annotations"))


def _picture(root: Path, file: Path) -> Picture:
    try:
        tree = ElementTree.fromstring(read_file(file))
    except ElementTree.ParseError as error:
        raise DataError(f"{file}: not readable as XML ({error})") from error
    sides = [tree.findtext(f"size/{side}") or "0" for side in ("height", "width")]
    high, wide = (int(side) if side.strip().isdecimal() else 0 for side in sides)
    marks = [_mark(item, f"object {number} of {file.name}") for number, item in enumerate(tree.iter("object"), 1)]
    return Picture(_image(root, file, tree.findtext("filename")), (high, wide) if high and wide else None, marks)


def _mark(item: ElementTree.Element, name: str) -> Mark:
    """Pixels are counted from 1 there, and the last one is inside."""
    texts = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
        box: list[float] | None = [left - 1, top - 1, right, bottom]
    except ValueError:
        box = None
    label = nfc((item.findtext("name") or "").strip())
    return Mark(box, label or None, item.findtext("difficult") == "1", None, name)


def _image(root: Path, file: Path, named: str | None) -> Path:
    folder = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
    if named and (folder / named.strip()).exists():
        return folder / named.strip()
    there = (folder / f"{file.stem}{suffix}" for suffix in sorted(SUFFIXES))
    return next((path for path in there if path.exists()), folder / (named or f"{file.stem}.jpg"))
