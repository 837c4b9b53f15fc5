"""The protocol of a modality's reader, and the keys of `Spec.shape` (images: `image/shape.py`).

A modality that is read in several ways has a module for each, with the same functions; `Spec.shape["reader"]` names it.
Beside those of `Modality` a module may have `items(path, spec)`, in the place of `find` where a file means something
else for another Spec, `of_lines(lines, spec)`, items of texts that stand in no file, `of_values`, of other values,
`remark(item, value)`, what is to be said of one that was read, `whole(spec)`, the Spec by which items longer than
examples are read whole, `finish(answered, spec)`, which makes rows of parts of something, with `part_of(item)`, of what
(neighbours with equal ones make a row), or several rows of an item where `several` is true, and `preparation(spec)`,
what else than its shape is to be said of an input. An item may have `passed`, what else is known of it by name, which
is handed on with its answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar, cast

from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.own import file_columns, separator
from ptft.data.own.text_record import Columns, TextRecord
from ptft.data.own.text_rows import text_rows
from ptft.data.records import JSON, RowError, cells_of, first_cells, records
from ptft.errors import ConfigError, DataError

T = TypeVar("T")

Row = dict[str, Any]
"""What is written of an item: named columns of text, numbers, or None where there is no answer."""


@dataclass(frozen=True)
class Unreadable:
    """Stands in the place of an item, or of a file of items, that can't be read."""

    name: str
    error: DataError
    passed: dict[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Listed:
    """An item that a row of a list names, and the fields of that row."""

    item: Any
    passed: dict[str, Any] = field(compare=False)

    def __str__(self) -> str:
        return str(self.item)


@dataclass(frozen=True)
class Held:
    """An item in no file: what to call it, its value as `Modality.read` has it, of an image its own (height, width)."""

    name: str
    value: Tensor
    whole: tuple[int, int] | None = None
    remark: str | None = None

    def __str__(self) -> str:
        return self.name


class Items(list[Any]):
    """Items to predict for, in order; notes: sentences about how they were read."""

    notes: tuple[str, ...] = ()


class TextShape(TypedDict, total=False):
    """`Spec.shape` of texts; `tokenizer` and `length` are always there."""

    tokenizer: dict[str, Any]  # Tokenizer.to_dict()
    length: int  # tokens of an example at the most, special ones included
    around: list[int]  # of public weights: the ids before and after a text, -1 for none
    pooling: str  # and how they make one vector of its tokens, where that lies beside them
    beyond: list[str]  # what that goes through there
    most: int  # and how many tokens they embed at the most
    keep: str  # "end": of longer running text the end counts
    separate: bool  # of running text and conversations: whether they were told apart in a row
    messages: str  # of conversations: the field that holds the messages, where it has another name
    template: str | dict[str, Any]  # and how they are written: plain, or what packed/template.py makes of a public one
    end: int  # and the id that ends an answer
    reader: str  # the module that reads it: reader, sentences, huggingface, words, questions or packed.conversations
    columns: list[str | int]  # of tables: the columns of the texts
    named: bool  # of new files: whether a user named the columns, which must be there then
    header: bool | None  # of tables, where columns have numbers: whether the first line is a header
    token: int  # of words in columns: that of the words, where it is not the first
    tag: int  # and that of their tags
    scheme: str  # of tags: as `metrics/chunk_tags.py` writes it, where it is not IOB2
    stride: int  # of questions: tokens from one window's start to the next one's
    impossible: bool  # of questions: whether one may have no answer


class AudioShape(TypedDict, total=False):
    """`Spec.shape` of recordings; `rate` and `seconds` are always there."""

    rate: int  # samples a second
    seconds: float | None  # the longest recording; None for any length
    path: str  # the column of the files in lists, where it has another name
    units: str  # of transcripts: characters, words or bpe
    tokenizer: dict[str, Any]  # Tokenizer.to_dict(), of bpe
    language: dict[str, Any]  # what builds the language model again that ranks what is heard
    whole: bool  # of new files: whether those that last longer than `seconds` are read whole


class Modality(Protocol):
    """A module of `ptft.data`: from what a user has to a batch, for sources and `stage=predict` alike."""

    def find(self, path: str) -> Sequence[Any]:
        """The items at `path` (a file, a folder, a glob); `str` of an item is its name. Empty where there is none."""

    def read(self, item: Any, spec: Spec) -> Tensor:
        """The item as the Spec has it, without a batch's axis. Raises DataError naming it where it can't be read."""

    def collate(self, items: Sequence[Tensor], spec: Spec) -> Batch:
        """What `read` returned as a batch: `input`, and `mask` (bool [B, T]) where items are uneven."""

    def describe(self, spec: Spec) -> str:
        """What an example is, for the header of a run: 28×28×1, say."""


def of(spec: Spec) -> Modality:
    """The module that reads the Spec's examples."""
    return cast(Modality, importlib.import_module(f"ptft.data.{spec.modality}.{spec.shape.get('reader', 'reader')}"))


def of_files(files: Iterable[Path], items_of: Callable[[Path], Iterable[T]]) -> list[T | Unreadable]:
    """The items of all files; of one that can't be read (DataError) an Unreadable."""
    items: list[T | Unreadable] = []
    for file in files:
        try:
            items += items_of(file)
        except DataError as error:
            items.append(Unreadable(str(file), error))
    return items


def of_rows(
    file: Path, spec: Spec, suffixes: Collection[str], item_of: Callable[[dict[str, Any], str, str], Any]
) -> Items:
    """An item for each row of a list of files with these suffixes; Unreadable where that fails.

    item_of: makes it of the fields, of file and line, and of the column that names the file: the one that was trained
    on, else the one that can be it.
    """
    items = Items()
    items.notes = separator.notes(file)
    try:
        rows = records(file)
        head = list(islice(rows, file_columns.ROWS))
        wanted = str(spec.shape.get("path", file_columns.PATH))
        column = file_columns.path_of(file, head, wanted, suffixes)
        items.notes += () if column == wanted else (f"{file.name} names the files in its column {column}",)
        for line, fields in chain(head, rows):
            where = f"{file}:{line}"
            try:
                if isinstance(fields, RowError):
                    items.append(Unreadable(where, fields))
                else:
                    items.append(Listed(item_of(fields, where, column), fields))
            except DataError as error:
                items.append(Unreadable(where, error, fields if isinstance(fields, dict) else {}))
    except DataError as error:
        items.append(Unreadable(str(file), error))
    return items


def with_fields(
    file: Path, columns: Columns, notes: list[str]
) -> Iterator[tuple[TextRecord | RowError, dict[str, Any]]]:
    """The rows of a table as `text_rows` has them, each with all of its fields; without names only its texts.

    notes: gets a sentence where names can't be handed on. Raises DataError as `text_rows` does.
    """
    fields = _fields(file, columns, notes)
    for row in text_rows(file, columns):
        yield row, fields.get(row.where) or ({} if isinstance(row, RowError) else text_fields(row.texts))


def text_fields(texts: tuple[str, ...]) -> dict[str, Any]:
    """The text, and the second one of a pair, of a row whose columns have no names."""
    return {f"text_{number}" if number > 1 else "text": text for number, text in enumerate(texts, 1)}


def _fields(file: Path, columns: Columns, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Place of a row -> its fields by name; empty where the file names no columns."""
    if file.suffix.lower() not in JSON:
        named = columns.header or set(columns.text) & {cell.strip() for cell in first_cells(file)}
        if not named or columns.header is False:
            return _numbered(file, columns)
    try:
        return {f"{file}:{line}": fields for line, fields in records(file, True) if isinstance(fields, dict)}
    except DataError as error:
        notes.append(f"the columns are not handed on: {error}")
        return {}


def _numbered(file: Path, columns: Columns) -> dict[str, dict[str, Any]]:
    """Place of a row -> its cells where columns have no names: the texts, and others by their number from 0.

    Empty where there are no others, or nobody says which columns the texts are.
    """
    numbered = all(isinstance(name, int) for name in columns.text)
    places = columns.text if numbered else columns.numbers[: len(columns.text)]
    names = dict(zip(places, text_fields(("",) * len(places)), strict=True))
    rows = ((line, row) for line, row in (cells_of(file, True) if names else ()) if isinstance(row, list))
    return {
        f"{file}:{line}": {names.get(place, f"column_{place}"): cell for place, cell in enumerate(row)}
        for line, row in rows
        if len(row) > len(names)
    }


def find(spec: Spec, path: str, whole: bool = False, text: Sequence[str] = ()) -> Sequence[Any]:
    """As `Modality.find`; with `whole` a file is one item where else its lines are, by the module's `find_whole`.

    text: the columns of texts in tables, where they have other names than in training. Raises ConfigError for either
    where it does not apply.
    """
    module = of(spec)
    if text:
        if not hasattr(module, "with_columns"):
            raise ConfigError(f"input_text: is for texts, and the checkpoint was trained on {_kind(spec)}")
        spec = module.with_columns(spec, text, whole)
    if not whole:
        return module.items(path, spec) if hasattr(module, "items") else module.find(path)
    if not hasattr(module, "find_whole"):
        raise ConfigError(f"whole=true: is for text, the checkpoint was trained on {spec.modality}")
    return cast(Sequence[Any], module.find_whole(path))


def read(spec: Spec, item: Any) -> Tensor:
    """As `Modality.read`, also of an item that can't be, which raises its DataError."""
    if isinstance(item, Unreadable):
        raise item.error
    if isinstance(item, Held):
        return item.value
    return of(spec).read(item.item if isinstance(item, Listed) else item, spec)


def remark(spec: Spec, item: Any, value: Tensor) -> str | None:
    """What is to be said of an item that was read, by the module's `remark`."""
    if isinstance(item, Held) or not hasattr(module := of(spec), "remark"):
        return getattr(item, "remark", None)
    return cast("str | None", module.remark(item.item if isinstance(item, Listed) else item, value, spec))


def typed(spec: Spec, lines: Callable[[], Iterable[tuple[str, str]]], key: str) -> Sequence[Any]:
    """Items of texts that were typed or piped: (what to call it, text), without those that are blank.

    Raises ConfigError, which begins with the key, for a checkpoint that reads no such texts, and asks for none then.
    """
    of_lines: Callable[[Sequence[tuple[str, str]], Spec], Sequence[Any]] | None = getattr(of(spec), "of_lines", None)
    if of_lines is None:
        raise ConfigError(
            f"{key}: is for texts, and the checkpoint was trained on {_kind(spec)}; input=FILES names some"
        )
    return of_lines([(name, text) for name, text in lines() if text.strip()], spec)


def passed(spec: Spec, item: Any) -> dict[str, Any]:
    """What else is known of an item and handed on with its answer: the fields of its row, by name."""
    return cast(dict[str, Any], getattr(item, "passed", {}))


def part_of(spec: Spec, item: Any) -> Any:
    """What an item is a part of, where a row is made of several; None for one that has a row of its own."""
    part: Callable[[Any], Any] | None = getattr(of(spec), "part_of", None)
    return None if part is None or isinstance(item, Unreadable) else part(item)


def _kind(spec: Spec) -> str:
    return spec.modality if spec.modality != "text" else f"files of {spec.shape.get('reader', 'text')}"


def several(spec: Spec) -> bool:
    """Whether an item has as many rows as it takes, so that they are no answer of their own."""
    return bool(getattr(of(spec), "several", False))


def preparation(spec: Spec) -> str:
    """How an example becomes an input: mean and std, say. Empty where there is nothing to say."""
    preparation_of: Callable[[Spec], str] | None = getattr(of(spec), "preparation", None)
    return preparation_of(spec) if preparation_of is not None else ""


def finish(spec: Spec, answered: Sequence[tuple[Any, Row]]) -> list[Row]:
    """Items and their answers -> rows to write: one for each item under its name, or what the module makes of them."""
    finished: Callable[[Sequence[tuple[Any, Row]], Spec], list[Row]] | None = getattr(of(spec), "finish", None)
    return finished(answered, spec) if finished is not None else [{"path": str(item), **row} for item, row in answered]
