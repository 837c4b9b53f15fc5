"""What a prediction has answered so far: kept in a file beside its output, counted, and made a table at the end.

Memory does not grow with the number of items.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from ptft import __version__
from ptft.builders.predictor import BATCH, Answer, Predictor
from ptft.builders.reading import Remarks
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.config.resume import FREE_ON_REPEAT
from ptft.core import Columns, Spec
from ptft.data import readers
from ptft.data.label_sets.cells import mark_of
from ptft.data.readers import Row
from ptft.errors import ConfigError, DataError
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runs.part_file import PartFile
from ptft.runs.table_file import Kinds, kinds_of
from ptft.runtime import json_lines
from ptft.stages import in_turn, new_files

Given = tuple[Row, dict[str, Any]]
"""A row of answers, and what is handed on beside it."""
DESCRIPTION = "predict.json"
NO_OTHER_ANSWER = (*FREE_ON_REPEAT, "resume", "input", "output")
"""Keys that may be typed otherwise where it goes on; of checkpoint, input and output it is known what they name."""
ROWS = 10_000
"""Rows that are written at a time."""


def about(
    job: Job, target: Path, items: Sequence[Any], predictor: Predictor, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What is answered, by which weights, how and where to: with equal ones it goes on."""
    cfg = job.config
    typed = job.overrides.where(lambda key: key not in NO_OTHER_ANSWER and not key.startswith("hydra."))
    return {
        "ptft": __version__,
        "weights": predictor.checkpoint.sha256,
        "items": len(items),
        "input": _digest(cfg, items),
        "options": {**predictor.options, **options, "precision": cfg.precision},
        "typed": sorted(typed.texts),
        "output": str(target),
    }


def complete(cfg: Config, folder: RunFolder, about: dict[str, Any]) -> bool:
    """Whether all of it is answered in this folder. Raises ConfigError where that holds other answers."""
    before = read_json(folder.path / DESCRIPTION) if folder.goes_on and not cfg.overwrite else {}
    if before and before != about:
        differ = [name for name in about if before.get(name) != about[name]]
        raise ConfigError(f"{folder.path}: {_changed(cfg, before, differ)}; overwrite=true begins again")
    finished = read_json(folder.path / "summary.json").get("status") == "finished"
    return bool(before) and finished and Path(about["output"]).exists()


def _changed(cfg: Config, before: Mapping[str, Any], differ: Sequence[str]) -> str:
    """What is other than when these answers were begun, `differ` of what they are `about`."""
    if "input" in differ or "items" in differ:
        given = "the text" if cfg.text is not None else f"input={cfg.input}"
        return f"{given} has changed since its first answers were made"
    if "weights" in differ:
        return f"its first answers were made by other weights than ckpt={cfg.ckpt} has now"
    if differ == ["ptft"]:
        return f"its first answers were made by ptft {before.get('ptft')}"
    return "its first answers were made with other keys"


def opened(cfg: Config, target: Path, folder: RunFolder, about: dict[str, Any], spec: Spec) -> Answers:
    """What was answered of it before. Raises ConfigError for an output that exists, or of which that is other."""
    new_files.refuse_existing(cfg, target)
    beside = target.parent if target.is_file() or not target.exists() else folder.path  # or no file at all
    part = PartFile(beside / f"{target.name}.part", about, "choose another output", anew=bool(cfg.overwrite))
    if not part.matches:
        part.close()
        other = f"{part.path} is what was answered of other files, or by other weights or keys"
        raise ConfigError(f"{other}; overwrite=true begins again")
    write_json(folder.path / DESCRIPTION, about)
    return Answers(part, spec)


def _digest(cfg: Config, items: Sequence[Any]) -> str:
    """Of the names of all items and of the sizes and times of their files; of what stands in no file of the texts."""
    digest, known = hashlib.sha256(), dict[str, str]()
    typed = cfg.text is not None or cfg.input == new_files.STDIN
    for item in items:
        name = repr(item) if typed else str(item)
        digest.update(f"{name}\0{'' if typed else _state(name, known)}\0".encode("utf-8", "surrogateescape"))
    if not typed and os.path.isfile(os.path.expanduser(str(cfg.input))):  # a folder changes with what is written there
        digest.update(_state(str(cfg.input), {}).encode())
    return digest.hexdigest()


def _state(name: str, known: dict[str, str]) -> str:
    """Size and time of the file called so, or of the one that it is a line of; known: of the last one of these."""
    with suppress(OSError, ValueError):
        found = os.stat(os.path.expanduser(name))
        return f"{found.st_size} {found.st_mtime_ns}"
    file = name.rpartition(":")[0]
    if file not in known:
        known.clear()
        known[file] = _state(file, {}) if file else ""
    return known[file]


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
        passed = [readers.passed(spec, answer.item) for answer in some]
        rows += zip(made, passed if len(passed) == len(made) else [{} for _ in made], strict=True)
    return rows


def _rows_of(spec: Spec, answer: Answer) -> list[Given]:
    """As `_rows`, of one that has as many as it takes: what is handed on stands beside each of them."""
    bare = [{"path": str(answer.item)}]
    made = bare if answer.row is None else readers.finish(spec, [(answer.item, answer.row)])
    return [(row, readers.passed(spec, answer.item)) for row in made]
