"""Files and captions, one pair a row; a file may have several. A CSV says it, or the files of COCO and Flickr30k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ptft.core import Spec
from ptft.data.cleaning.learned import learned
from ptft.data.examples import OnDemandExamples
from ptft.data.hub.cells import File
from ptft.data.image.captions import coco
from ptft.data.image.captions.examples import CaptionExamples, Captions, captioned, numbered, spec_of_captions
from ptft.data.image.folder import ImageFolder
from ptft.data.image.listed.images import IMAGES, FileExamples
from ptft.data.image.source import NO_CLASS
from ptft.data.own.listing import Listing, Media, divided
from ptft.data.own.unusable import UnusableRows
from ptft.errors import ConfigError

T = TypeVar("T")
LENGTH = 64
"""Tokens of a caption at the most, where nobody says it."""
LISTS = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
"""What a list of captions is called in a folder; the last two by Hugging Face's datasets."""


def listed(root: str | Path | None) -> str | Path | None:
    """The list that a folder holds, the list itself, or a folder in COCO's layout. Raises ConfigError for a folder of
    none, or of several."""
    folder = None if root is None else Path(root).expanduser()
    if folder is None or not folder.is_dir() or coco.found(folder):
        return root
    found = [name for name in LISTS if (folder / name).is_file()]
    if len(found) != 1:
        there = f"holds {' and '.join(found)}; name one" if found else f"a folder without {', '.join(LISTS)}"
        raise ConfigError(f"dataset.root={root}: {there}; captions stand in a CSV of path,text, or {coco.LAYOUT}")
    return folder / found[0]


class Pictures(FileExamples):
    """Files of which some may be the same, as a picture with five captions is five times here; it is cached once."""

    def __init__(self, paths: Sequence[File], labels: Tensor, *keys: Any) -> None:
        super().__init__(paths, labels, *keys)
        number = {path: i for i, path in enumerate(dict.fromkeys(paths))}
        self.rows = torch.tensor([number[path] for path in paths], dtype=torch.long)
        self.files = FileExamples(list(number), torch.zeros(len(number), dtype=torch.long), *keys)

    def _read(self, index: int) -> Tensor | None:
        return self.files._read(int(self.rows[index]))

    def whole(self) -> tuple[OnDemandExamples, Tensor]:
        return self.files, self.rows


class CaptionFolder(ImageFolder):
    """Pairs of an image and a caption. Each row is an example; all rows of a file are in one split.

    text: the column of the captions; "auto": of this name, else the only one that can be it.
    tokenizer: of the captions: bytes, bpe, wordpiece or unigram, learned from those that are trained on and no others,
        or the path of one; None is the tower's or the checkpoint's, else bpe. vocabulary: its ids at the most, if that
        is learned.
    length: tokens of a caption at the most, of longer ones the beginning; None is the checkpoint's, else LENGTH.
    tower: the Spec of texts of a model that is to read the captions and has read others.
    keys: those of `ImageFolder`, but `root` must be a list, or a folder that holds one of LISTS; or what `coco` reads.
    """

    media: ClassVar[Media] = IMAGES._replace(listed="path,text")
    answer: ClassVar[str] = "text"

    def __init__(
        self,
        *,
        text: str = "text",
        tokenizer: str | None = None,
        vocabulary: int = 8000,
        length: int | None = None,
        tower: Spec | None = None,
        labelled: bool = False,
        **keys: Any,
    ) -> None:
        self.wanted, self.vocabulary, self.length = tokenizer, vocabulary, length
        keys["root"] = listed(keys.get("root"))
        super().__init__(label=text, labelled=True, **keys)
        self.plain = self.spec
        self.spec = captioned(self.spec, self.like, self._training_texts, tokenizer, vocabulary, length, LENGTH, tower)

    def describe(self, classes: Sequence[str], *description: Any) -> None:
        super().describe((NO_CLASS,), *description)

    def divide(
        self,
        where: object,
        items: Sequence[T],
        seed: int,
        known_by: Callable[[], Sequence[str]],
        groups: Sequence[str] = (),
        names: Sequence[str] | None = None,
    ) -> dict[str, list[T]]:
        """As GroupedSource.divide, and captions are no classes."""
        return super().divide(where, items, seed, known_by, groups)

    def list_files(self, root: Path, seed: int, labelled: bool, columns: Mapping[str, str]) -> dict[str, Listing]:
        if not (files := coco.found(root)):
            return super().list_files(root, seed, labelled, columns)
        unusable = UnusableRows(self.on_error, "caption")
        listings = coco.listings(files, root, unusable)
        for sentence in unusable.notes(sum(len(listing.paths) for listing in listings.values()), str(root)):
            self.note(sentence)
        self.unusable += unusable.named()
        listings = {split: each.grouped(self.grouping, lambda path, name: root) for split, each in listings.items()}
        return divided(self, root, listings[""], seed) if "" in listings else listings

    def load(self, split: str) -> OnDemandExamples:
        """The images alone, while there is no tokenizer for their captions."""
        assert self.root is not None
        listing, captions = self.listings[split], spec_of_captions(self.spec)
        labels = torch.zeros(len(listing.paths), dtype=torch.long)
        base = self.root if self.root.is_dir() else self.root.parent
        images = Pictures(listing.paths, labels, self.plain, base, self.on_error, self.first)
        if captions is None:
            return images
        return CaptionExamples(images, Captions.of(listing.names, captions, numbered(images.known_by())))

    def _training_texts(self) -> Sequence[str]:
        return learned(self, lambda own: own.listings[own.train].names)

    def groups(self, split: str) -> Tensor:
        return torch.zeros(len(self.listings[split].paths), dtype=torch.long)

    def _comparable(self, split: str) -> Listing:
        return self.listings[split]


def sample(root: Path, count: int = 12) -> None:
    """Write `count` random JPEG files of each of two brightnesses, and a list of them with captions, in `root`."""
    generator, rows = np.random.default_rng(0), ["path,text,split"]
    root.mkdir(parents=True, exist_ok=True)
    for i in range(2 * count):
        dark, split = i % 2, "val" if i % 3 == 2 else "train"
        pixels = generator.integers(0, 128, (40, 48, 3), dtype=np.uint8) + np.uint8(0 if dark else 127)
        Image.fromarray(pixels).save(root / f"{i}.jpg")
        rows.append(f"{i}.jpg,a {'dark' if dark else 'bright'} picture,{split}")
    (root / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
