"""Words and their tags in columns, a word a line, empty lines between sentences: the layout of CoNLL's shared tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ptft.data import records
from ptft.data.cleaning.learned import learned
from ptft.data.files import nfc
from ptft.data.labels import to_labels
from ptft.data.ragged import starts_of
from ptft.data.splits import split_by_word, split_files, unnamed_notes
from ptft.data.text.examples import NO_LABEL, TextExamples, in_a_row, room
from ptft.data.text.source import TextKeys, TextSource
from ptft.data.text.words import FORM, NO_WORD, SUFFIXES, cut_points, read_columns, tokens, word_ids
from ptft.errors import ConfigError, DataError, are, counted
from ptft.metrics.chunk_tags import IOB, is_chunk_tag, scheme_of, to_iob

if TYPE_CHECKING:
    from typing_extensions import Unpack

ENDS = frozenset(".!?")
"""Words that end a sentence."""


class Tagged(NamedTuple):
    """A sentence, and the file and lines of its words."""

    words: list[str]
    tags: list[str]
    file: Path
    lines: list[int]


class PieceExamples(TextExamples):
    """Pieces of sentences. units: the row of its sentence's first piece in the own split of each, long [N]."""

    def __init__(self, *parts: Any, units: Tensor) -> None:
        super().__init__(*parts)
        self.units = units

    def at(self, rows: Tensor, labels: Tensor | None = None) -> PieceExamples:
        chosen = super().at(rows, labels)
        assert isinstance(chosen, PieceExamples)
        chosen.units = self.units[rows]
        return chosen

    def _like(self, *parts: Any) -> PieceExamples:
        return PieceExamples(parts[0], self.pad, *parts[1:], units=self.units)


class Conll(TextSource):
    """Sentences whose words have tags.

    root: a folder of files with train, dev (val, testa) and test (testb) in their names; or one file, divided 80/10/10.
    token, tag: numbers of the columns, from 0; negative ones count from the end.
    scheme: "iob": tags are O, B-TYPE and I-TYPE, or say the same as BIOES, BILOU, BMES or BMEOW, and every type may
        begin and go on; the classes are those of IOB2. "any": just names.
    split_seed: divides one file; not the run's seed.

    Sentences that are too long are cut into pieces between words. Raises DataError naming file and line.
    """

    skips: ClassVar[bool] = False
    cuts: ClassVar[bool] = True
    noun, longer = "sentences", "are cut into pieces by"

    def __init__(
        self, *, token: int = 0, tag: int = -1, scheme: str = "iob", split_seed: int = 0, **keys: Unpack[TextKeys]
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of files like train.conll and dev.conll")
        if scheme not in ("iob", "any"):
            raise ConfigError(f"dataset.scheme={scheme}: iob or any")
        self.token, self.tag, self.scheme = token, tag, scheme
        self.pieces: dict[str, list[int]] = {}
        for sentence in unnamed_notes(self.root, SUFFIXES, split_by_word):
            self.note(sentence)
        files = split_files(self.root, split_by_word, "files like train.conll, dev.conll and test.conll", self.whole)
        self.sentences = self._read(files, split_seed)
        leading = self.leading(self.sentences)
        names = {tag for sentence in self.sentences[leading] for tag in sentence.tags}
        shape: dict[str, Any] = {} if (token, tag) == (0, -1) else {"token": token, "tag": tag}
        if scheme == "iob":
            shape |= self._to_iob()
            kinds = sorted({name[1:] for name in names if name != "O"})
            names = {"O", *(f"{part}{kind}" for part in "BI" for kind in kinds)}
            if "" in kinds:
                shape.setdefault("scheme", IOB)
        self.describe(sorted(names), self.sentences, "tags", self._training_texts, reader="words", **shape)

    def _to_iob(self) -> dict[str, str]:
        """Every tag in IOB2; the scheme that they were in, for the Spec, where it is another."""
        every = [sentence for part in self.sentences.values() for sentence in part]
        scheme = scheme_of({tag for sentence in every for tag in sentence.tags}, self._where())
        if scheme == IOB:
            return {}
        self.note(
            f"the tags are read as IOB2 ({scheme[2]}- as I-, {scheme[3]}- as B-), and predicted as they are written"
        )
        for sentence in every:
            sentence.tags[:] = map(to_iob, sentence.tags)
        return {"scheme": scheme}

    def load(self, split: str) -> TextExamples:
        sentences = self.sentences[split]
        budget = room(self.tokenizer, 1, self.length)
        ids: list[list[int]] = []
        labels: list[list[int]] = []
        pieces = self.pieces[split] = list[int]()
        for sentence, words in zip(sentences, word_ids(self.tokenizer, [s.words for s in sentences]), strict=True):
            numbers, cuts = self._tag_numbers(sentence, split), list(cut_points(words, budget))
            pieces.append(len(cuts))
            for first, last in cuts:
                row, begins = tokens(self.tokenizer, words[first:last], budget)
                ids.append(row)
                labels.append([numbers[first + place] if place != NO_WORD else NO_LABEL for place in begins])
        if len(ids) > len(sentences):
            more = counted(len(ids) - len(sentences), "pieces")
            self.note(f"{split}: sentences of more than {self.length} tokens are cut, into {more} more")
        counts = torch.tensor(pieces, dtype=torch.long)
        units = starts_of(counts).repeat_interleave(counts)
        return PieceExamples(in_a_row(ids), self.tokenizer.pad, None, in_a_row(labels), units=units)

    def names(self, split: str) -> list[str]:
        pairs = zip(self.sentences[split], self._cut(split), strict=True)
        return [self.below(f"{sentence.file}:{sentence.lines[0]}") for sentence, pieces in pairs for _ in range(pieces)]

    def shown(self, split: str) -> dict[str, list[str]]:
        """The words of the sentence, also beside its pieces."""
        pairs = zip(self.sentences[split], self._cut(split), strict=True)
        return {"text": [" ".join(sentence.words) for sentence, pieces in pairs for _ in range(pieces)]}

    def known_by(self, split: str) -> list[str]:
        """Of the pieces that sentences are cut into: that of their sentence, so that they stay together."""
        pairs = zip(_keys(self.sentences[split]), self._cut(split), strict=True)
        return [key for key, pieces in pairs for _ in range(pieces)]

    def _cut(self, split: str) -> list[int]:
        """Into how many pieces each sentence is cut: one, while there is no tokenizer."""
        if not self.has_tokens:
            return [1] * len(self.sentences[split])
        self.loaded(split)
        return self.pieces[split]

    def _training_texts(self) -> list[str]:
        return _keys(learned(self, lambda own: own.sentences[own.train]))

    def _read(self, files: dict[str, list[Path]], seed: int) -> dict[str, list[Tagged]]:
        sentences = {
            split: [sentence for file in parts for sentence in self._parse(file)] for split, parts in files.items()
        }
        if "" not in sentences:
            return sentences
        return self.divide(self.root, sentences[""], seed, lambda: _keys(sentences[""]))

    def _parse(self, file: Path) -> list[Tagged]:
        columns = read_columns(file, self.token)
        if columns.counts:
            what = f"column {self.token} counts the words; dataset.token={FORM} is the column that holds them"
            raise DataError(f"{file}: {what}")
        if columns.comments:
            count = len(columns.comments)
            what = f"{counted(count, 'lines')} beginning with # {are(count)} left out, as comments are"
            self.note(f"{what}, the first: {file}:{columns.comments[0]}")
        table = file.suffix.lower() in records.SUFFIXES - {".tsv"}
        if table and any("," in cell for rows, _ in columns.sentences[:1] for cell in rows[0]):
            raise DataError(
                f"{file}: is a table with commas or JSON; write a word a line, its tag after a blank or a tab"
            )
        sentences = []
        for rows, lines in columns.sentences:
            cells = [self._cells(row, f"{file}:{line}") for row, line in zip(rows, lines, strict=True)]
            sentences.append(Tagged([word for word, _ in cells], [tag for _, tag in cells], file, lines))
        if len(sentences) == 1 and not ENDS.isdisjoint(sentences[0].words[:-1]):
            what = f"holds one sentence of {len(sentences[0].words):,} words, though some of them end one"
            self.note(f"{file} {what}; an empty line stands behind each sentence")
        return sentences

    def _cells(self, cells: list[str], where: str) -> tuple[str, str]:
        """The word and the tag in the columns of a line."""
        try:
            word, tag = cells[self.token], nfc(cells[self.tag])
        except IndexError as error:
            raise DataError(
                f"{where}: has {counted(len(cells), 'columns')}; dataset.token={self.token}, .tag={self.tag}"
            ) from error
        if len(cells) > 1 and not (word and tag):
            key, column = ("tag", self.tag) if word else ("token", self.token)
            raise DataError(f"{where}: column {column} (dataset.{key}) is empty, of {len(cells)} ({' | '.join(cells)})")
        if len(cells) < 2:
            shown = " ".join(cells)
            raise DataError(f"{where}: has a word or a tag only ({shown!r}); both are needed, in two columns")
        if self.scheme == "iob" and not is_chunk_tag(tag):
            raise DataError(
                f"{where}: the tag {tag!r} is none of O, B-TYPE, I-TYPE, B, I (nor of BIOES, BILOU, BMES); "
                "dataset.scheme=any takes any name, and counts no entities"
            )
        return word, tag

    def _tag_numbers(self, sentence: Tagged, split: str) -> list[int]:
        def where(place: int) -> str:
            return f"{sentence.file}:{sentence.lines[place]}: {split}"

        return to_labels(sentence.tags, self.own_classes, where, what="tag", train=self.train).tolist()


def _keys(sentences: Sequence[Tagged]) -> list[str]:
    return [" ".join(sentence.words) for sentence in sentences]


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
