"""What a prediction has answered so far: kept in a file beside its output, counted, and made a table at the end.

Memory does not grow with the number of items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from types import TracebackType
from typing import Any

from ptft.builders.predictor import BATCH, Answer, Predictor
from ptft.builders.reading import Remarks
from ptft.core import Columns, Spec
from ptft.data import readers
from ptft.data.answers.rows import firsts
from ptft.data.label_sets.cells import mark_of
from ptft.data.readers import Row
from ptft.errors import DataError
from ptft.runs.part_file import PartFile
from ptft.runs.table_file import Kinds, kinds_of
from ptft.runtime import json_lines
from ptft.stages.asking import in_turn, new_files

Given = tuple[Row, dict[str, Any]]
"""A row of answers, and what is handed on beside it."""
ROWS = 10_000
"""Rows that are written at a time."""


Bare = tuple[Row | None, str | None, str | None]
"""An Answer as processes hand it on: the row, the error's text, the remark. All of them know the items."""


def _asked(
    predictor: Predictor, items: Sequence[Any], options: Mapping[str, Any]
) -> Callable[[int, int], Iterator[list[Bare]]]:
    """What `in_turn.blocks` asks for: the answers to this process's blocks."""

    def of(begin: int, apart: int) -> Iterator[list[Bare]]:
        answers = predictor.answers(items, begin, apart, **options)
        bare = ((row, None if error is None else str(error), remark) for _, row, error, remark in answers)
        while block := list(islice(bare, BATCH)):
            yield block

    return of


def _answer(item: Any, row: Row | None, error: str | None, remark: str | None) -> Answer:
    return Answer(item, row, None if error is None else DataError(error), remark)


def help_out(predictor: Predictor, items: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Answer this process's blocks for the first one, which keeps them."""
    for _ in in_turn.blocks(None, len(items), _asked(predictor, items, options)):
        pass


class Answers:
    """The rows that there are, and what is to be said of all of them.

    done: items that are answered. rows: how many there are of them. names: of the columns of answers; passed: of what
    is handed on. classes: how often each was answered. first: rows to show. unread, remarks: of the items.
    """

    def __init__(self, part: PartFile, spec: Spec) -> None:
        self.part, self.spec = part, spec
        self.done = self.rows = 0
        self.names: dict[str, Kinds] = {}
        self.passed: dict[str, Kinds] = {}
        self.classes = Counter[str]()
        self.first: list[Given] = []
        self.unread, self.remarks = new_files.Unread(), Remarks()
        for line in part.parts():
            self._count(line)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.part.close()

    def remove(self) -> None:
        self.part.remove()

    def go_on(self, predictor: Predictor, items: Sequence[Any], options: Mapping[str, Any]) -> Iterator[int]:
        """Answer what is left, BATCH items at a time, and yield how many are done.

        A row that is made of several items is kept when the last of them is answered.
        """
        known = self.done % BATCH
        number = self.done - known
        answered: list[Answer] = []
        for block in in_turn.blocks(self.done, len(items), _asked(predictor, items, options)):
            asked = items[number : number + len(block)]
            answered += [_answer(item, *bare) for item, bare in zip(asked, block, strict=True)][known:]
            number, known = number + len(block), 0
            whole = len(answered) if number == len(items) else _whole(self.spec, answered)
            if whole:
                self._keep(answered[:whole])
                answered = answered[whole:]
            yield number

    def _keep(self, answered: Sequence[Answer]) -> None:
        remarks = Remarks()
        for answer in answered:
            remarks.add(answer.remark, answer.item)
        line = {
            "done": self.done + len(answered),
            "rows": _rows(self.spec, answered),
            "unread": [str(answer.error) for answer in answered if answer.error],
            "remarks": remarks.found,
        }
        self.part.add(line)
        self._count(line)

    def _count(self, line: Mapping[str, Any]) -> None:
        self.done = line["done"]
        self.rows += len(line["rows"])
        for row, passed in line["rows"]:
            _add_kinds(self.names, row)
            _add_kinds(self.passed, passed)
            self.classes.update(_named(row, self.spec))
        self.first += [(row, passed) for row, passed in line["rows"][: new_files.SHOWN - len(self.first)]]
        self.unread.add(line["unread"])
        for remark, (count, first) in line["remarks"].items():
            self.remarks.add(remark, first, count)

    @property
    def answered(self) -> int:
        """How many there are that could be read: items, or what several of them make."""
        return (self.done if readers.several(self.spec) else self.rows) - self.unread.count

    def kinds(self, called: Mapping[str, str]) -> dict[str, Kinds]:
        """Of each column: the path, what is handed on by the name that it is called, the answers."""
        handed_on = {new: self.passed[name] for name, new in called.items()}
        return {"path": self.names["path"], **handed_on, **self.names}

    def table(self, called: Mapping[str, str], told: bool = True) -> Iterator[Columns]:
        """Some rows at a time, as columns; each is told to a program that listens, if it is to be."""
        names = list(self.kinds(called))
        rows: list[list[Any]] = []
        for line in self.part.parts():
            for row, passed in line["rows"]:
                fields = {**{new: passed.get(name) for name, new in called.items()}, **row}
                if told and json_lines.enabled():
                    json_lines.emit("prediction", row={name: fields.get(name) for name in names})
                rows.append([fields.get(name) for name in names])
            if len(rows) >= ROWS:
                yield _columns(names, rows)
                rows = []
        yield _columns(names, rows)


def _named(row: Row, spec: Spec) -> list[str]:
    """The class that is answered, or the labels."""
    if (several := row.get("labels")) is not None:
        return str(several).split(mark_of(spec.classes)) if several else ["none"]
    return [str(row["class"])] if row.get("class") is not None else []


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Columns:
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)} if rows else {}


def _add_kinds(kinds: dict[str, Kinds], fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        known = kinds.get(name)
        if known is None:
            kinds[name] = kinds_of([value])
        elif value is not None and (type(value) not in known or type(value) is int):
            kinds[name] = known | kinds_of([value])


def _whole(spec: Spec, answered: Sequence[Answer]) -> int:
    """How many of them make whole rows, whatever comes after."""
    last = readers.part_of(spec, answered[-1].item)
    if last is None:
        return len(answered)
    whole = len(answered)
    while whole and readers.part_of(spec, answered[whole - 1].item) == last:
        whole -= 1
    return whole


def _rows(spec: Spec, answered: Sequence[Answer]) -> list[Given]:
    """A row each in order, and what is handed on of it; without an answer there is a path only."""
    if readers.several(spec):
        return [each for answer in answered for each in _rows_of(spec, answer)]
    rows: list[Given] = []
    for is_answered, group in groupby(answered, lambda answer: answer.row is not None):
        some = list(group)
        if is_answered:
            made = readers.finish(spec, [(answer.item, answer.row) for answer in some if answer.row is not None])
        else:
            made = [{"path": str(answer.item)} for answer in some]
        whole = [some[first].item for first in firsts(spec, [answer.item for answer in some])]
        rows += zip(made, [readers.passed(spec, item) for item in whole], strict=True)
    return rows


def _rows_of(spec: Spec, answer: Answer) -> list[Given]:
    """As `_rows`, of one that has as many as it takes: what is handed on stands beside each of them."""
    bare = [{"path": str(answer.item)}]
    made = bare if answer.row is None else readers.finish(spec, [(answer.item, answer.row)])
    return [(row, readers.passed(spec, answer.item)) for row in made]
