"""Words and their tags in columns, a word a line, empty lines between sentences: the layout of CoNLL's shared tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ptft.data.files import read_file
from ptft.data.source import unknown
from ptft.data.stratify import thirds
from ptft.data.text.examples import NO_LABEL, TextExamples, in_a_row, room
from ptft.data.text.source import LabelledTexts, TextKeys
from ptft.data.text.words import pieces, tokens, word_ids
from ptft.errors import ConfigError, DataError
from ptft.metrics.entities import tags_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

SPLITS = {"train": "train", "test": "test", "testb": "test"}
SPLITS |= dict.fromkeys(("dev", "val", "valid", "validation", "testa"), "val")
"""The word of a file's name that says which split it is."""


class Tagged(NamedTuple):
    """A sentence; `where` is the file and line of its first word."""

    words: list[str]
    tags: list[str]
    where: str


class Conll(LabelledTexts):
    """Sentences whose words have tags.

    root: a folder of files with train, dev (val, testa) and test (testb) in their names; or one file, divided 80/10/10.
    token, tag: numbers of the columns, from 0; negative ones count from the end.
    scheme: "iob": tags are O, B-TYPE and I-TYPE, and every type may begin and go on; "any": just names.
    split_seed: divides one file; not the run's seed.

    Sentences that are too long are cut into pieces between words. Raises DataError naming file and line.
    """

    noun = "sentences"

    def __init__(
        self, *, token: int = 0, tag: int = -1, scheme: str = "iob", split_seed: int = 0, **keys: Unpack[TextKeys]
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of files like train.conll and dev.conll")
        if scheme not in ("iob", "any"):
            raise ConfigError(f"dataset.scheme={scheme}: iob or any")
        self.token, self.tag, self.scheme = token, tag, scheme
        self.sentences = self._read(_files(self.root), split_seed)
        if self.train not in self.sentences:
            raise ConfigError(unknown("dataset.train", self.train, self.sentences))
        names = {tag for sentence in self.sentences[self.train] for tag in sentence.tags}
        if scheme == "iob":
            kinds = sorted({name[2:] for name in names if name != "O"})
            names = {"O", *(f"{part}-{kind}" for part in "BI" for kind in kinds)}
        self.describe(sorted(names), self.sentences, "tags", self._training_texts, reader="words")

    def load(self, split: str) -> TextExamples:
        sentences = self.sentences[split]
        self._check_tags(split)
        number = {name: k for k, name in enumerate(self.own_classes)}
        budget = room(self.tokenizer, 1, self.length)
        ids: list[list[int]] = []
        labels: list[list[int]] = []
        for sentence, words in zip(sentences, word_ids(self.tokenizer, [s.words for s in sentences]), strict=True):
            for first, last in pieces(words, budget):
                row, begins = tokens(self.tokenizer, words[first:last], budget)
                ids.append(row)
                labels.append([number[sentence.tags[first + place]] if place >= 0 else NO_LABEL for place in begins])
        if len(ids) > len(sentences):
            more = len(ids) - len(sentences)
            self.note(f"{split}: sentences of more than {self.length} tokens are cut, into {more} pieces more")
        return TextExamples(in_a_row(ids), self.tokenizer.pad, tags=in_a_row(labels))

    def _training_texts(self) -> list[str]:
        return [" ".join(sentence.words) for sentence in self.sentences[self.train]]

    def _read(self, files: dict[str, Path], seed: int) -> dict[str, list[Tagged]]:
        found = {split: self._parse(file) for split, file in files.items()}
        if "" not in found:
            return found
        parts = thirds(torch.zeros(len(found[""]), dtype=torch.long), seed)
        return {split: [found[""][i] for i in part.tolist()] for split, part in parts.items()}

    def _parse(self, file: Path) -> list[Tagged]:
        found: list[Tagged] = []
        words: list[str] = []
        tags: list[str] = []
        for number, line in enumerate([*read_file(file).split("\n"), ""], 1):
            if line.strip():
                word, tag = self._cells(line, f"{file}:{number}")
                words.append(word)
                tags.append(tag)
            elif words:
                if words != ["-DOCSTART-"]:
                    found.append(Tagged(words, tags, f"{file}:{number - len(words)}"))
                words, tags = [], []
        if not found:
            raise DataError(f"{file}: holds no sentences")
        return found

    def _cells(self, line: str, where: str) -> tuple[str, str]:
        """The word and the tag in a line."""
        cells = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        try:
            word, tag = cells[self.token].strip(), cells[self.tag].strip()
        except IndexError as error:
            raise DataError(
                f"{where}: has {len(cells)} columns; dataset.token={self.token}, .tag={self.tag}"
            ) from error
        if len(cells) < 2 or not word or not tag:
            raise DataError(f"{where}: has a word or a tag only ({line.strip()!r}); both are needed, in two columns")
        if self.scheme == "iob" and tags_of([tag]) is None:
            raise DataError(f"{where}: the tag {tag!r} is none of O, B-TYPE, I-TYPE; dataset.scheme=any takes any name")
        return word, tag

    def _check_tags(self, split: str) -> None:
        for sentence in self.sentences[split]:
            for place, tag in enumerate(sentence.tags):
                if tag not in self.own_classes:
                    file, _, line = sentence.where.rpartition(":")
                    raise DataError(
                        f"{file}:{int(line) + place}: {split} has the tag {tag!r}, which {self.train} has not "
                        f"({', '.join(self.own_classes[:8])})"
                    )


def _files(root: Path) -> dict[str, Path]:
    """Split -> file; under "" where one file holds all."""
    if root.is_file():
        return {"": root}
    found: dict[str, Path] = {}
    for file in sorted(root.iterdir()) if root.is_dir() else ():
        splits = [SPLITS[word] for word in re.split(r"[^a-z]+", file.name.lower()) if word in SPLITS]
        if not splits or file.name.startswith(".") or not file.is_file():
            continue
        if splits[0] in found:
            raise DataError(f"dataset.root={root}: {found[splits[0]].name} and {file.name} are both {splits[0]}")
        found[splits[0]] = file
    if not found:
        what = "holds none" if root.exists() else "does not exist"
        raise DataError(f"dataset.root={root}: {what}; expected files like train.conll, dev.conll and test.conll")
    return found


def sample(root: Path, count: int = 12) -> None:
    """Write a tiny set with two types below `root`: train.conll and dev.conll."""
    root.mkdir(parents=True, exist_ok=True)
    names, towns = [("Ada", "Lovelace"), ("Alan", "Turing")], ["Leiden", "Delft", "Gouda"]
    for split in ("train", "dev"):
        lines = []
        for i in range(count):
            first, last = names[i % 2]
            lines += [f"{first}\tB-PER", f"{last}\tI-PER", "saw\tO", f"{towns[i % 3]}\tB-LOC", ".\tO", ""]
        (root / f"{split}.conll").write_text("\n".join(lines), encoding="utf-8")
