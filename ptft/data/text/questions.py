"""Questions about texts: windows of a text that is longer than an example, and the answer that the best window gives.

Axes: T tokens. Sources and `stage=predict` read through the same functions; an item is a window.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.files import nfc, parse_json, read_file
from ptft.data.ragged import padded
from ptft.data.readers import Row, Unreadable, of_files
from ptft.data.text import reader as text_reader
from ptft.data.text.examples import room
from ptft.data.tokenizer import Offsets, Tokenizer
from ptft.errors import ConfigError, DataError

SUFFIXES = frozenset({".json"})
LONGEST_QUESTION = 64
"""Tokens of a question at most (Devlin et al. 2018), or half of what an example has room for where that is less."""
ANSWER = ("text", "answer_start")
"""What is said of an answer."""


@dataclass(frozen=True)
class Question:
    """One question of a file; answers: (text, first character) of those that are right, none for no answer.

    impossible: whether the file says that there is none, where answers may also be missing because nobody gave them.
    contradicted: whether the file says that and gives answers all the same, or says that there is one and gives none.
    title: of the article that the text is from, "" where it has none.
    """

    name: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()
    impossible: bool = False
    title: str = ""
    contradicted: bool = False


@dataclass(frozen=True)
class Window:
    """A part of a question's text that fits into an example: [CLS] question [SEP] part [SEP].

    number: the question's. begin: where the part begins among the example's tokens. offsets: characters of the text
    [start, end) that each token of the part stands for. asked: how many tokens of the question are read where it has
    more, else None.
    """

    number: int
    question: Question
    ids: list[int]
    begin: int
    offsets: Offsets = field(repr=False)
    asked: int | None = None

    def __str__(self) -> str:
        return self.question.name

    def text_of(self, start: int, end: int) -> str:
        """What the tokens from `start` to `end` (inclusive, as the example counts them) stand for."""
        return self.question.context[self.offsets[start - self.begin][0] : self.offsets[end - self.begin][1]]

    def tokens_of(self, answer: tuple[str, int]) -> tuple[int, int]:
        """First and last token of an answer, both 0 ([CLS]) where it is not all in the window."""
        first, last = answer[1], answer[1] + len(answer[0])
        inside = self.offsets and self.offsets[0][0] <= first and last <= self.offsets[-1][1]
        if not inside:
            return 0, 0
        start = bisect_right(self.offsets, first, key=lambda pair: pair[1])
        end = bisect_left(self.offsets, last, key=lambda pair: pair[0]) - 1
        return self.begin + start, self.begin + max(start, end)


def parse(file: Path) -> list[Question]:
    """The questions of a JSON file in the layout of SQuAD 1.1 or 2.0, with or without answers.

    An empty answer means that there is none, as no answers do. Raises DataError naming the file, and the place or the
    question where one is broken.
    """
    try:
        content = parse_json(read_file(file))
    except ValueError as error:
        what = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"{file}: is not in SQuAD's layout, data/paragraphs/qas ({what})") from error
    whole = _Part(content, "", file)
    return [
        question
        for article in whole.parts("data")
        for paragraph in article.parts("paragraphs")
        for question in _of_paragraph(paragraph, _title(article))
    ]


def _title(article: _Part) -> str:
    title = article.value.get("title")
    return nfc(title.strip()) if isinstance(title, str) else ""


class _Part(NamedTuple):
    """A value in a file and its place there, e.g. `data[0].paragraphs[3]`."""

    value: Any
    place: str
    file: Path

    def get(self, key: str, kinds: type | tuple[type, ...], noun: str) -> Any:
        """What stands under the key. Raises DataError where it is not of these kinds."""
        if not isinstance(self.value, dict):
            raise self.refused("", "an object")
        value = self.value.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.refused(key, noun)
        return value

    def parts(self, key: str) -> list[_Part]:
        return self.of(self.get(key, list, "a list"), key)

    def of(self, values: Sequence[Any], key: str) -> list[_Part]:
        dot = "." if self.place else ""
        return [_Part(value, f"{self.place}{dot}{key}[{i}]", self.file) for i, value in enumerate(values)]

    def refused(self, key: str, noun: str) -> DataError:
        place = f"{self.place}.{key}" if self.place and key else self.place or key or "the file"
        return DataError(f"{self.file}: is not in SQuAD's layout, data/paragraphs/qas ({place} is not {noun})")


def _of_paragraph(paragraph: _Part, title: str) -> Iterator[Question]:
    context = paragraph.get("context", str, "a text")
    for entry in paragraph.parts("qas"):
        name = str(entry.get("id", (str, int), "a text"))
        said = _impossible(entry)
        given = tuple(_answers(entry))
        impossible, answers = bool(said), () if said else given
        for answer, first in answers:
            if first < 0 or not context.startswith(answer, first):
                raise DataError(f"{entry.file}: question {name}: the answer {answer!r} does not stand at {first}")
        yield Question(
            name, entry.get("question", str, "a text").strip(), context, answers, impossible, title, said is bool(given)
        )


def _impossible(entry: _Part) -> bool | None:
    """What the file says of it, None for nothing."""
    impossible = entry.value.get("is_impossible")
    if impossible not in (None, False, True):
        raise entry.refused("is_impossible", "true or false")
    return None if impossible is None else bool(impossible)


def _answers(entry: _Part) -> Iterator[tuple[str, int]]:
    """Those that are not empty; a list of objects, or one object of lists, as Hugging Face has them."""
    listed = entry.value.get("answers")
    if isinstance(listed, dict):
        columns = [_Part(listed, f"{entry.place}.answers", entry.file).get(key, list, "a list") for key in ANSWER]
        if len(columns[0]) != len(columns[1]):
            raise entry.refused("answers", "as many texts as starts")
        listed = [dict(zip(ANSWER, row, strict=True)) for row in zip(*columns, strict=True)]
    if listed is None:
        return
    if not isinstance(listed, list):
        raise entry.refused("answers", "a list")
    for answer in entry.of(listed, "answers"):
        if isinstance(answer.value, dict) and answer.value.get("text") is None:
            continue
        if (text := answer.get("text", str, "a text")) and text.strip():
            yield text, int(answer.get("answer_start", int, "a whole number"))


def windows(tokenizer: Tokenizer, questions: Sequence[Question], length: int, stride: int) -> list[Window]:
    """All windows of all questions; of one question they begin `stride` tokens of its text apart, or less.

    Raises ConfigError for a length that has no room for a question and a text.
    """
    space = room(tokenizer, 2, length)
    if (most := min(LONGEST_QUESTION, space // 2)) < 1:
        raise ConfigError(
            f"dataset.length={length}: has no room for a question and a text; at least {length + 2 - space}"
        )
    question_ids = tokenizer.encode([question.question for question in questions])
    contexts = list(dict.fromkeys(question.context for question in questions))
    encoded = dict(zip(contexts, zip(*tokenizer.encode_with_offsets(contexts), strict=True), strict=True))
    all_windows = []
    for number, (question, whole) in enumerate(zip(questions, question_ids, strict=True)):
        ids, offsets = encoded[question.context]
        head, asked = whole[:most], most if len(whole) > most else None
        opening, closing = [tokenizer.cls, *head, *[tokenizer.sep] * tokenizer.between], [tokenizer.sep]
        size = space - len(head)
        for start in range(0, max(1, len(ids) - size + stride), min(stride, size)):
            part = slice(start, start + size)
            example = [*opening, *ids[part], *closing]
            all_windows.append(Window(number, question, example, len(opening), offsets[part], asked))
            if start + size >= len(ids):
                break
    return all_windows


def best_answers(answered: Sequence[tuple[Window, Row]], impossible: bool) -> dict[int, tuple[Window, str, float]]:
    """Number of a question -> a window of it, the answer, and its score, from rows of start, end, score and margin.

    impossible: whether no answer (an empty one) is given where its score exceeds that of every window's best.
    """
    best: dict[int, tuple[Window, str, float]] = {}
    for number, group in groupby(sorted(answered, key=lambda pair: pair[0].number), lambda pair: pair[0].number):
        pairs = list(group)
        window, row = max(pairs, key=lambda pair: pair[1]["score"])
        margin = min(float(row["margin"]) for _, row in pairs)
        score = float(row["score"])
        nothing = not math.isfinite(score) or (impossible and margin > score)
        answer = "" if nothing else window.text_of(int(row["start"]), int(row["end"]))
        best[number] = window, answer, score - margin
    return best


def items(path: str, spec: Spec) -> list[Window | Unreadable]:
    """The windows of all questions in the JSON files at `path`; of a file in another layout an Unreadable."""
    parsed = of_files(text_reader.text_files(path, SUFFIXES), parse)
    questions = [question for question in parsed if not isinstance(question, Unreadable)]
    all_windows = windows(text_reader.tokenizer_of(spec), questions, spec.shape["length"], spec.shape["stride"])
    of_question = (list(group) for _, group in groupby(all_windows, lambda window: window.number))
    parts: list[Window | Unreadable] = []
    for item in parsed:
        parts += [item] if isinstance(item, Unreadable) else next(of_question)
    return parts


def of_values(values: Sequence[Any], spec: Spec) -> list[Window]:
    """The windows of questions that stand in no file, `{"question": …, "context": …}` each. Raises DataError."""
    questions = []
    for i, value in enumerate(values):
        asked = value if isinstance(value, Mapping) else {}
        if not all(isinstance(text := asked.get(key), str) and text.strip() for key in ("question", "context")):
            what = 'the model reads {"question": a text, "context": a text}'
            raise DataError(f"input {i} is {value!r:.60}; {what}")
        questions.append(Question(f"input {i}", asked["question"].strip(), asked["context"]))
    return windows(text_reader.tokenizer_of(spec), questions, spec.shape["length"], spec.shape["stride"])


def read(item: Window, spec: Spec) -> Tensor:
    """Long [T, 2]: ids, and 1 where a token is of the text that is asked about."""
    return torch.stack([torch.tensor(item.ids), in_context(len(item.ids), item.begin, len(item.offsets)).long()], 1)


def remark(item: Window, value: Tensor, spec: Spec) -> str | None:
    """What is to be said of a question that was too long."""
    return None if item.asked is None else f"only the first {item.asked} tokens of the question are read"


def in_context(length: int, begin: int, count: int) -> Tensor:
    """Bool [T]: the `count` tokens from `begin` on."""
    place = torch.arange(length)
    return (place >= begin) & (place < begin + count)


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """`input` long [B, T], `mask` bool [B, T], and `context` bool [B, T], where an answer can be."""
    values, mask = padded(items)
    pad = spec.shape["tokenizer"]["pad"]
    return {"input": values[..., 0].masked_fill(~mask, pad), "mask": mask, "context": values[..., 1].bool()}


def describe(spec: Spec) -> str:
    return text_reader.describe(spec)


def part_of(item: Window) -> int:
    """The number of its question."""
    return item.number


def finish(answered: Sequence[tuple[Window, Row]], spec: Spec) -> list[Row]:
    """A row for each question: its id, the answer of its best window (empty for none), and how much better it is."""
    best = best_answers(answered, spec.shape["impossible"])
    return [
        {"path": str(window), "question": window.question.question, "answer": answer, "score": score}
        for window, answer, score in best.values()
    ]
