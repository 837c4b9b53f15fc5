"""Pascal VOC's layout: an XML file an image in Annotations, and lists of names in ImageSets/Main."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from ptft.data.files import nfc, read_file, read_lines
from ptft.data.image.boxes.marks import Mark, Picture, Split
from ptft.data.image.reader import SUFFIXES
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import DataError, absent, are, counted, shortened

LAYOUT = "ROOT/Annotations/NAME.xml, ROOT/JPEGImages/NAME.jpg, and perhaps ROOT/ImageSets/Main/train.txt and val.txt"


def found(root: Path) -> dict[str, list[Path]]:
    """Split -> its XML files; "" -> all of them where no list divides them. Raises DataError where there are none."""
    folder = root / "Annotations"
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise DataError(f"dataset.root={root}: {'holds no annotations' if root.exists() else absent(root)}; {LAYOUT}")
    lists: dict[str, Path] = {}
    for path in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        split = SPLIT_NAMES.get(path.stem.lower())
        if split is not None and (other := lists.setdefault(split, path)) != path:
            raise DataError(
                f"{path}: {other.name} and {path.name} are both lists of the {split} split; keep one of them"
            )
    return {split: _listed(folder, path) for split, path in lists.items()} or {"": files}


def unused(root: Path, splits: Mapping[str, Sequence[Path]]) -> list[str]:
    """What to say of XML files that no list of a split has."""
    used = {file for files in splits.values() for file in files}
    left = [file.name for file in sorted((root / "Annotations").glob("*.xml")) if file not in used]
    if not left:
        return []
    where = "in no list of a split (ImageSets/Main)"
    return [f"{counted(len(left), 'XML files')} {are(len(left))} {where} and not used: {shortened(left)}"]


def _listed(folder: Path, path: Path) -> list[Path]:
    names = [line.split()[0] for line in read_lines(path) if line.strip()]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise DataError(f"{path}: {twice} is there twice")
    if missing := [name for name in names if not (folder / f"{name}.xml").exists()]:
        raise DataError(f"{path}: {folder / missing[0]}.xml: no such file ({len(missing)} of {len(names)} are missing)")
    return [folder / f"{name}.xml" for name in names]


def parse(root: Path, files: Sequence[Path]) -> Split:
    """What XML files say; difficult objects count as crowds: they are not learned, and finding one is no mistake.

    Raises DataError for two of one picture, as where pictures were renamed and what the XML files call them was not.
    """
    pictures, others = list[Picture](), list[str]()
    file_of: dict[Path, Path] = {}
    for file in files:
        picture = _picture(root, file, others)
        if (other := file_of.setdefault(picture.path, file)) != file and picture.path.exists():
            both = f"{other.name} and {file.name} are both of {picture.path.name}"
            raise DataError(f"{file}: {both}, by their <filename>; name in each its own picture")
        pictures.append(picture)
    names = sorted({str(mark.category) for picture in pictures for mark in picture.marks})
    notes = []
    if others:
        what = f"{len(others):,} of {counted(len(files), 'XML files')}"
        notes.append(
            f"{what} name another picture than the one called as they are, which is taken: {shortened(others)}"
        )
    return Split(pictures, {name: name for name in names}, str(root / "Annotations"), notes)


def _picture(root: Path, file: Path, others: list[str]) -> Picture:
    try:
        tree = ElementTree.fromstring(read_file(file))
    except ElementTree.ParseError as error:
        raise DataError(f"{file}: not readable as XML ({error})") from error
    sides = [tree.findtext(f"size/{side}") or "0" for side in ("height", "width")]
    high, wide = (int(side) if side.strip().isdecimal() else 0 for side in sides)
    marks = [_mark(item, f"object {number} of {file.name}") for number, item in enumerate(tree.iter("object"), 1)]
    path = _image(root, file, (tree.findtext("filename") or "").strip(), others)
    return Picture(path, (high, wide) if high and wide else None, marks)


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


def _image(root: Path, file: Path, named: str, others: list[str]) -> Path:
    """The picture of an XML file: the one that it names, unless another one is there that is called as the file is;
    `others` gets these. An XML file goes with its picture by their names, and what it says is left from before they
    were renamed.
    """
    folder = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
    there = bool(named) and (folder / named).exists()
    if there and nfc(Path(named).stem) == nfc(file.stem):
        return folder / named
    called = (folder / f"{file.stem}{suffix}" for suffix in sorted(SUFFIXES))
    own = next((path for path in called if path.exists()), None)
    if own is not None and there:
        others.append(f"{file.name} {named}")
    return own or folder / (named or f"{file.stem}.jpg")
