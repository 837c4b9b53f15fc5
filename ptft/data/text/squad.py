"""Questions about texts whose answer is a part of the text, or (SQuAD 2.0) is not there. Axes: N windows, T tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ptft.core import Batch, Columns, Examples
from ptft.data.cleaning.learned import learned
from ptft.data.ragged import Ragged
from ptft.data.splits import Part, apart, split_by_word, split_files, unnamed_notes
from ptft.data.text.examples import TextExamples, in_a_row
from ptft.data.text.questions import LONGEST_QUESTION, SUFFIXES, Question, Window, best_answers, parse, windows
from ptft.data.text.source import TextKeys, TextSource, numbers_of
from ptft.errors import ConfigError, DataError
from ptft.metrics.squad import exact_match, f1

if TYPE_CHECKING:
    from typing_extensions import Unpack


TITLE = "title"
"""What `dataset.group` may be."""


class QuestionExamples(TextExamples):
    """Windows of questions, with the tokens of the answer in `span` and where one can be in `context`.

    impossible: whether a question may have no answer.
    """

    def __init__(
        self, ids: Ragged, pad: int, more: dict[str, Tensor], windows: Sequence[Window], impossible: bool
    ) -> None:
        super().__init__(ids, pad, more=more)
        self.windows, self.impossible = windows, impossible

    def take(self, indices: Tensor) -> Batch:
        batch = super().take(indices)
        begin, count = batch.pop("part").unsqueeze(-1).unbind(1)
        place = torch.arange(batch["input"].shape[1], device=begin.device)
        return {**batch, "context": (place >= begin) & (place < begin + count)}

    def of_questions(self, numbers: Tensor) -> QuestionExamples:
        """The windows of the questions `numbers` (long [n])."""
        rows = torch.isin(self.more["question"], numbers).nonzero().flatten()
        more = {name: value[rows] for name, value in self.more.items()}
        return QuestionExamples(
            self.ids.at(rows), self.pad, more, [self.windows[i] for i in rows.tolist()], self.impossible
        )

    def _like(
        self, ids: Ragged, labels: Tensor | None, tags: Ragged | None, more: dict[str, Tensor]
    ) -> QuestionExamples:
        assert len(ids) == len(self.windows)
        return QuestionExamples(ids, self.pad, more, self.windows, self.impossible)

    def score(self, lists: dict[str, Tensor]) -> dict[str, float]:
        """exact_match and f1 of the questions' best answers, by SQuAD's rules; means over questions."""
        best = self._best({name: values.tolist() for name, values in lists.items()})
        answers = [(answer, _right(window)) for window, answer, _ in best.values()]
        exact, shared = (sum(metric(*pair) for pair in answers) / len(answers) for metric in (exact_match, f1))
        return {"exact_match": exact, "f1": shared}

    @property
    def units(self) -> Tensor:
        """Of which question each window is, long [N]."""
        return self.more["question"].cpu()

    def ratios(self, lists: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `score`, of the windows that were measured: float64 [n, 2] by name, what each adds above and below the
        line. A question's first one stands for it."""
        best = self._best({name: values.tolist() for name, values in lists.items()})
        first = {self.windows[index].number: row for row, index in reversed([*enumerate(lists["index"].tolist())])}
        added = {name: torch.zeros(len(lists["index"]), 2, dtype=torch.float64) for name in ("exact_match", "f1")}
        for number, (window, answer, _) in best.items():
            for name, metric in (("exact_match", exact_match), ("f1", f1)):
                added[name][first[number]] = torch.tensor([metric(answer, _right(window)), 1.0])
        return added

    def table(self, columns: Columns) -> Columns:
        """A row for each question: `item` (its id), `question`, `true` (the first right answer, empty for none),
        `predicted`, `score`, `exact_match`, `f1`, and `loss`, the mean over its windows."""
        best, losses = self._best(columns), dict[int, list[float]]()
        for index, loss in zip(columns["index"], columns["loss"], strict=True):
            losses.setdefault(self.windows[index].number, []).append(loss)
        rows = [
            {
                "index": number,
                "item": window.question.name,
                "question": window.question.question,
                "true": next(iter(_right(window)), ""),
                "predicted": answer,
                "score": score,
                "exact_match": exact_match(answer, _right(window)),
                "f1": f1(answer, _right(window)),
                "loss": sum(losses[number]) / len(losses[number]),
            }
            for number, (window, answer, score) in best.items()
        ]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _best(self, columns: Columns) -> dict[int, tuple[Window, str, float]]:
        """As `best_answers`, of the windows at `index`."""
        names = ("start", "end", "score", "margin")
        values = zip(*(columns[name] for name in names), strict=True)
        pairs = [
            (self.windows[index], dict(zip(names, row, strict=True)))
            for index, row in zip(columns["index"], values, strict=True)
        ]
        return best_answers(pairs, self.impossible)


def _right(window: Window) -> list[str]:
    return [answer for answer, _ in window.question.answers]


class Squad(TextSource):
    """JSON files in the layout of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018).

    root: a folder of files with train and dev (val) and perhaps test in their names; or one file, divided 80/10/10.
    stride: tokens from where one window of a long text begins to where the next one does.
    split_seed: divides one file; not the run's seed.
    group: "title" keeps all questions about an article together.

    Windows that the answer is not in count as without answer in training (Devlin et al. 2018, section 4.3).
    Raises DataError naming the file and the question's id.
    """

    skips: ClassVar[bool] = False
    has_groups: ClassVar[bool] = True
    noun, own_length, longer = "questions", 384, "are read in windows of"

    def __init__(self, *, stride: int = 128, split_seed: int = 0, **keys: Unpack[TextKeys]) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of train-v1.1.json and dev-v1.1.json, or a file")
        if stride < 1:
            raise ConfigError(f"dataset.stride={stride}: must be at least 1")
        self.stride = stride
        if self.grouping is not None and self.grouping.key != TITLE:
            raise ConfigError(f"{self.grouping.shown}: questions are grouped by the {TITLE} of their article")
        self.questions = self._read(self.root, split_seed)
        leading = self.leading(self.questions)
        self._leave_out_unanswered(leading)
        self._say_contradictions()
        self.impossible = any(not question.answers for question in self.questions[leading])
        if self.whole and self.like is not None:
            self.impossible = bool(self.like.shape.get("impossible", self.impossible))
        shape = {"reader": "questions", "stride": stride, "impossible": self.impossible}
        self.describe((), self.questions, "span", self._training_texts, **shape)

    def _read(self, root: Path, seed: int) -> dict[str, list[Question]]:
        for sentence in unnamed_notes(root, SUFFIXES, _split_of):
            self.note(sentence)
        files = split_files(root, _split_of, "files like train-v1.1.json and dev-v1.1.json", self.whole)
        questions = {split: [question for file in parts for question in parse(file)] for split, parts in files.items()}
        for each in questions if self.grouping is not None else ():
            if nameless := next((question for question in questions[each] if not question.title), None):
                raise DataError(f"{self._where()}: the article of question {nameless.name} has no {TITLE}")
        if "" not in questions:
            return questions
        every = questions[""]
        titles = [question.title for question in every]
        return self.divide(root, every, seed, lambda: [question.name for question in every], titles)

    def _leave_out_unanswered(self, leading: str) -> None:
        """Splits whose answers are kept back, where no question has one or is said to have none.

        Raises DataError where it is the one that is trained on, or measured.
        """
        for split, questions in self.questions.items():
            if not questions or any(question.answers or question.impossible for question in questions):
                continue
            if split == leading:
                raise DataError(f"{self._where()}: no question of {split} has an answer; stage=predict answers them")
            self.leave_out(split, f"{split} has no answers")

    def _say_contradictions(self) -> None:
        for split in [split for split in self.questions if split not in self.left_out]:
            for impossible, what in (
                (True, "answers and is_impossible=true"),
                (False, "no answer and is_impossible=false"),
            ):
                names = [
                    each.name for each in self.questions[split] if each.contradicted and each.impossible is impossible
                ]
                if names:
                    count = "1 question has" if len(names) == 1 else f"{len(names):,} questions have"
                    self.note(f"{split}: {count} {what}; this counts as no answer, the first: {names[0]}")

    def load(self, split: str) -> QuestionExamples:
        all_windows = windows(self.tokenizer, self.questions[split], self.length, self.stride)
        if cut := {window.number: window for window in all_windows if window.asked}:
            first, of = next(iter(cut.values())), f"{len(cut):,} of {len(self.questions[split]):,} questions"
            longer = "; dataset.length takes more" if first.asked != LONGEST_QUESTION else ""
            self.note(f"{split}: of {of} only the first {first.asked} tokens are read, the first: {first}{longer}")
        spans = [
            window.tokens_of(window.question.answers[0]) if window.question.answers else (0, 0)
            for window in all_windows
        ]
        more = {
            "span": torch.tensor(spans),
            "part": torch.tensor([(window.begin, len(window.offsets)) for window in all_windows]),
            "question": torch.tensor([window.number for window in all_windows]),
        }
        ids = in_a_row([window.ids for window in all_windows])
        return QuestionExamples(ids, self.tokenizer.pad, more, all_windows, self.impossible)

    def groups(self, split: str) -> Tensor:
        return torch.zeros(len(self.questions[split]), dtype=torch.long)

    def grouped(self, split: str) -> list[str]:
        return [question.title for question in self.questions[split]]

    def names(self, split: str) -> list[str]:
        return apart({each: self.known_by(each) for each in self.questions}, split)

    def known_by(self, split: str) -> list[str]:
        return [question.name for question in self.questions[split]]

    def shown(self, split: str) -> dict[str, list[str]]:
        """The question, and the text that it is about."""
        questions = self.questions[split]
        return {"question": [each.question for each in questions], "context": [each.context for each in questions]}

    def compared(self, split: str) -> list[str]:
        """The text and the question, whatever its id, which home-made files count from 0."""
        return [f"{question.context}\0{question.question}" for question in self.questions[split]]

    def earlier_identities(self, split: str) -> Tensor:
        return numbers_of(self.known_by(split))

    def choose(self, part: Part) -> Examples:
        examples = self.loaded(part.split)
        assert isinstance(examples, QuestionExamples)
        return examples.of_questions(part.rows)

    def _training_texts(self) -> Iterator[str]:
        questions = learned(self, lambda own: own.questions[own.train])
        yield from dict.fromkeys(question.context for question in questions)
        yield from (question.question for question in questions)


def _split_of(file: Path) -> str | None:
    return split_by_word(file) if file.suffix.lower() == ".json" else None


def sample(root: Path, count: int = 8) -> None:
    """Write a tiny set below `root`, train.json and dev.json; every second question has no answer."""
    root.mkdir(parents=True, exist_ok=True)
    towns = ["Leiden", "Delft", "Gouda", "Breda"]
    for split in ("train", "dev"):
        paragraphs = []
        for i in range(count):
            context = f"The fair of {1900 + i} was held in {towns[i % 4]}, as ever."
            answer = {"text": towns[i % 4], "answer_start": context.index(towns[i % 4])}
            answerable = {
                "id": f"{split}{i}",
                "question": "Where was the fair?",
                "answers": [answer],
                "is_impossible": False,
            }
            unanswerable = {"id": f"{split}{i}b", "question": "Who won?", "answers": [], "is_impossible": True}
            paragraphs.append({"context": context, "qas": [answerable, unanswerable]})
        content = {"version": "v2.0", "data": [{"title": "Fairs", "paragraphs": paragraphs}]}
        (root / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
