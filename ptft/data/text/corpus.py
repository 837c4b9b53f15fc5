"""Running text for language modelling: tokenised once, kept as one row of ids, read in blocks.

Documents follow one another with the separator (`sep`) between them, and blocks cross from one into the next: no
token is padding, and a model learns from the separator where to start anew (Brown et al. 2020, appendix B).

Axes: B batch, N blocks, L `dataset.length`.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ptft.core import Source, Spec
from ptft.data import records
from ptft.data.cleaning.ignore import IgnoreList
from ptft.data.files import relative
from ptft.data.splits import SPLIT_NAMES, SPLITS, find_splits, split_by_stem, whole_name
from ptft.data.stratify import check_amounts, check_choices, check_shares, draws, held_out
from ptft.data.text import reader as text_reader
from ptft.data.text.blocks import Blocks, chunks, division_note, row_of, shared_out
from ptft.data.text.packed.documents import UNITS, documents_in, separated
from ptft.data.text.packed.examples import PackedTexts
from ptft.errors import ConfigError, DataError, absent, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CorpusKeys(TypedDict, total=False):
    """The keys of every corpus beside `root`; CorpusSource says what they mean."""

    tokenizer: str | None
    vocabulary: int
    length: int | None
    train: str
    val: str | float | None
    test: str | float | None
    fraction: float | None
    seed: int
    like: Spec | None
    whole: bool
    ignore: str | Path | None
    separate: bool


class CorpusSource(Source):
    """A source of blocks of running text. A subclass implements `documents`, then calls `describe`.

    tokenizer: bytes, bpe, wordpiece or unigram (trained on the training text), a tokenizer.json or Hugging Face folder;
        None is the checkpoint's, else bytes. vocabulary: how many ids a trained one has at the most.
    length: tokens of a block; None is the checkpoint's, else 256.
    val, test: a split that `documents` knows, a share of the training text (the last characters of it are test, those
        before them val, because random blocks of the same text would leak), or None.
    fraction: use only this share of the training text, its beginning.
    like: the Spec of the checkpoint that a run starts from.
    whole: whether nothing is trained on, and the test text is all that there is.
    ignore: the file that names documents which are left out, by their contents; see `ptft.data.cleaning.ignore`.
    separate: whether blocks hold whole documents that do not see each other (`text/packed/documents.py`).
    """

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        tokenizer: str | None = None,
        vocabulary: int = 4096,
        length: int | None = None,
        train: str = "train",
        val: str | float | None = 0.1,
        test: str | float | None = None,
        fraction: float | None = None,
        seed: int = 0,
        like: Spec | None = None,
        whole: bool = False,
        ignore: str | Path | None = None,
        separate: bool = False,
    ) -> None:
        self.ignore = None if ignore is None else IgnoreList(ignore)
        self.root = None if root is None else Path(os.path.expanduser(root))
        self.names: dict[str, str | float | None] = {"train": train, "val": val, "test": test}
        if whole:
            self.names |= {"val": None, "test": self.measured(train)}
        self.fraction, self.seed = fraction, seed
        self._parts: dict[str, list[str]] = {}
        check_amounts(None, fraction, None)
        check_shares(val, test, "text")
        self.tokenizer = text_reader.choose_tokenizer(tokenizer, vocabulary, self._training_chunks, like)
        length = length or (int(like.shape["length"]) if like is not None else 256)
        if length < 2:
            raise ConfigError(f"dataset.length={length}: at least 2 tokens, one to read and one to predict")
        apart: dict[str, Any] = {"separate": True} if separate else {}
        self.spec = text_reader.text_spec(self.tokenizer, length, "none", keep="end", **apart)
        self._made: dict[str, Blocks | PackedTexts | None] = {}

    def measured(self, train: str) -> str:
        """The split that is measured where nothing is trained on: all of the text where none is for that."""
        return train

    @abstractmethod
    def documents(self, split: str) -> list[str]:
        """All texts of one of the corpus's own splits. Raises DataError where there are none."""

    def split(self, name: str) -> Blocks | PackedTexts | None:
        if name not in self._made:
            self._made[name] = self._blocks(name)
        return self._made[name]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([self.spec.shape, self.fraction], sort_keys=True).encode())
        for name in SPLITS:
            if (blocks := self.split(name)) is not None:
                digest.update(name.encode() + blocks.digest())
        return digest.hexdigest()[:16]

    def _blocks(self, name: str) -> Blocks | PackedTexts | None:
        if self.names[name] is None:
            return None
        texts, least = self.texts(name), self.spec.shape["length"]
        self._parts.pop(name, None)
        if self.spec.shape.get("separate") and any(map(str.strip, texts)):
            return separated(texts, self.tokenizer, least)
        values = row_of(texts, self.tokenizer)
        if len(values) < (least if name == "train" else 2):
            if not any(map(str.strip, texts)):
                hint = {"val": "; dataset.val=0.1 takes a share of train", "test": "; dataset.test=null leaves it out"}
                raise DataError(f"{self._where()}: the {name} text is empty{hint.get(name, '')}")
            raise DataError(
                f"{self._where()}: the {name} text has {len(values):,} tokens, a block has {least:,}; "
                "lower dataset.length or give more text"
            )
        return Blocks(values, least, self.tokenizer.pad, round=name == "train")

    def texts(self, name: str) -> list[str]:
        """The documents of "train", "val" or "test" that are used; of one that is cut its part counts as one."""
        texts = self._texts(name)
        texts = texts if self.ignore is None else self.ignore.without(name, texts)
        return shared_out(texts, [self.fraction])[0] if name == "train" and self.fraction is not None else texts

    def ignore_notes(self) -> list[str]:
        """As sources of examples say it."""
        used = {name for name in SPLITS if self.names[name] is not None}
        return [] if self.ignore is None else self.ignore.notes(used, used <= self.ignore.left_out.keys())

    def _texts(self, name: str) -> list[str]:
        """The documents of a split, before any are left out of it."""
        own = self.names[name]
        if name != "train" and isinstance(own, str):
            return self.documents(own)
        if name not in self._parts:  # a text is read once, and forgotten where its ids are there
            shares = [share if isinstance(share := self.names[part], float | int) else 0.0 for part in ("val", "test")]
            self._parts = dict(zip(SPLITS, self.shared_out(*shares), strict=True))
        return self._parts[name]

    def shared_out(self, val: float, test: float) -> list[list[str]]:
        """The training documents without these shares of them, and the shares, which may be 0: the end of the text."""
        return shared_out(self.documents(str(self.names["train"])), [1 - val - test, val, test])

    def _training_chunks(self) -> Iterator[str]:
        return (chunk for document in self.texts("train") for chunk in chunks(document))

    def _where(self) -> str:
        return type(self).__name__ if self.root is None else f"dataset.root={self.root}"


class Text(CorpusSource):
    """Files of plain UTF-8 text: `root` is a file, or a folder with everything below it.

    A folder that holds `train`, `val` or `test` (folders, or files of that name with a suffix of text; dev, valid and
    validation are val) has these splits; else all of it is "train". What is called val or test is never trained on.
    documents: what is one document: a "file", a "line", a "paragraph" (between empty lines), or a "row" of tables,
        whose texts stand in `column`.
    divide_by: how val and test are taken from several files where they are shares: "name", whole files by their names,
        so that others that come or go do not move them; or "order", the end of all, as in runs whose configuration has
        not the key. Of a single file it is the end.
    """

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        documents: str = "file",
        column: str = "text",
        divide_by: str = "order",
        **keys: Unpack[CorpusKeys],
    ) -> None:
        if root is None:
            raise ConfigError("dataset.root: name a file or a folder of text")
        if documents not in UNITS:
            raise ConfigError(f"dataset.documents={documents}: one of {', '.join(UNITS)}")
        self.unit, self.column, self.divide_by = documents, column, divide_by
        self.suffixes = records.SUFFIXES if documents == "row" else text_reader.SUFFIXES
        check_choices("raise", divide_by)
        super().__init__(root=root, **keys)

    def documents(self, split: str) -> list[str]:
        files = self._files(split)
        if not files:
            if self.root is not None and not self.root.exists():
                raise DataError(f"{self._where()}: {absent(self.root)}")
            raise DataError(
                f"{self._where()}: no text for the split {split} there ({', '.join(sorted(self.suffixes))})"
            )
        for file in files:
            if self.unit != "row" and file.suffix.lower() in records.SUFFIXES:
                as_texts = "dataset.documents=row trains on the texts in it"
                self._note(f"{file.name} is read as it stands, with its commas, quotes and braces; {as_texts}")
        return self.documents_of(files)

    def shared_out(self, val: float, test: float) -> list[list[str]]:
        files = self._files(str(self.names["train"]))
        shares = {split: share for split, share in (("val", val), ("test", test)) if share}
        if not shares or self.divide_by == "order":
            return super().shared_out(val, test)
        if len(files) <= len(shares):
            if files:
                self._note(f"{' and '.join(shares)}: the end of {files[-1].name}; of more files whole ones")
            return super().shared_out(val, test)
        draw = draws((relative(file, str(self.root)) for file in files), 0)
        place = held_out(draw, torch.zeros(len(files), dtype=torch.long), list(shares.values())).tolist()
        chosen = {
            split: [file for file, part in zip(files, place, strict=True) if part == number]
            for number, split in enumerate((*shares, "train"))
        }
        texts = {split: self.documents_of(parts) for split, parts in chosen.items()}
        self._note(
            division_note({split: (len(chosen[split]), sum(map(len, texts[split]))) for split in reversed(chosen)})
        )
        return [texts.get(split, []) for split in SPLITS]

    def measured(self, train: str) -> str:
        return next((split for split in ("test", "val") if self._files(split)), train)

    def _files(self, split: str) -> list[Path]:
        """Those of the folder of that name, or those that are called as the split; "train" are else all that are not
        called val or test.
        """
        assert self.root is not None
        split = SPLIT_NAMES.get(split.lower(), split)
        if not self.root.is_dir():
            return text_reader.text_files(self.root, self.suffixes) if split == "train" else []
        typed = {SPLIT_NAMES.get(name.lower(), name) for name in self.names.values() if isinstance(name, str)}
        wanted = typed | {split}

        def split_of(file: Path) -> str | None:
            named = split_by_stem(file) if file.suffix.lower() in self.suffixes else None
            return named if named in wanted else None

        named = find_splits(self.root, split_of)
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            if (own := SPLIT_NAMES.get(folder.name.lower(), folder.name)) in wanted:
                named[own] = text_reader.text_files(folder, self.suffixes)
        if split != "train":
            return named.get(split, [])
        held_out = self._held_out(typed)
        others = {file for files in named.values() for file in files}.union(*held_out.values())
        files = named.get(split) or [
            file for file in text_reader.text_files(self.root, self.suffixes) if file not in others
        ]
        if not files:  # what is called so is all that there is
            return [file for parts in held_out.values() for file in parts]
        for name, parts in held_out.items():
            first = parts[0].relative_to(self.root)
            more = f" and {counted(len(parts) - 1, 'files')} more" if len(parts) > 1 else ""
            self._note(f"{first}{more} is called {name} and not trained on; dataset.{name}={name} measures it")
        return files

    def _held_out(self, typed: set[str]) -> dict[str, list[Path]]:
        """Split -> the files that are called val or test, where the keys do not ask for them."""
        assert self.root is not None
        by_split: dict[str, list[Path]] = {}
        for path in sorted(self.root.iterdir()):
            own = SPLIT_NAMES.get((path.name if path.is_dir() else path.with_name(whole_name(path)).stem).lower())
            if own in ("val", "test") and own not in typed and not path.name.startswith("."):
                texts = path.is_dir() or path.suffix.lower() in self.suffixes
                by_split.setdefault(own, []).extend(text_reader.text_files(path, self.suffixes) if texts else [])
        return {split: files for split, files in by_split.items() if files}

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes = (*self.notes, sentence)

    def documents_of(self, files: list[Path]) -> list[str]:
        notes: list[str] = []
        found = [part for file in files for part in documents_in(file, self.unit, self.column, notes)]
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))
        return found


def sample(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)  # and a small text in a file there
    lines = (f"{i} bottles of water on the wall, {i} bottles of water." for i in range(99, 0, -1))
    (root / "bottles.txt").write_text("\n".join(lines), encoding="utf-8")
