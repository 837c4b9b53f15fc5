"""Conversations that are to be answered: the reader of what `stage=predict` is given by those who trained on `chat`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Spec
from ptft.data.files import read_file
from ptft.data.readers import Row, Unreadable, of_files
from ptft.data.records import JSON, RowError
from ptft.data.text import reader as text_reader
from ptft.data.text.packed import template
from ptft.data.text.packed.messages import Conversation, Message, conversations_in
from ptft.errors import DataError

collate, describe = text_reader.collate, text_reader.describe


@dataclass(frozen=True)
class Asked:
    """A conversation up to the question that is to be answered.

    answered: whether an answer stood behind it, which is left out.
    """

    conversation: Conversation
    answered: bool = False

    @property
    def passed(self) -> dict[str, Any]:
        return self.conversation.rest or {}

    def __str__(self) -> str:
        return self.conversation.where


def items(path: str, spec: Spec) -> list[Asked | Unreadable]:
    """The rows of JSON files with messages, and of other files the lines, each a question."""
    return of_files(text_reader.text_files(path, text_reader.SUFFIXES | JSON), lambda file: _of_file(file, spec))


def of_lines(lines: Sequence[tuple[str, str]], spec: Spec) -> list[Asked]:
    """Questions that stand in no file, each with what to call it."""
    return [_asked(Conversation((Message("user", text),), name)) for name, text in lines]


def find_whole(path: Path | str) -> list[Asked | Unreadable]:
    """Each file as one question."""
    return of_files(
        text_reader.text_files(path),
        lambda file: [_asked(Conversation((Message("user", read_file(file)),), str(file)))],
    )


def _of_file(file: Path, spec: Spec) -> list[Asked | Unreadable]:
    if file.suffix.lower() not in JSON:
        return [_asked(Conversation((Message("user", item.text),), item.name, item.passed)) for item in _lines(file)]
    rows = conversations_in(file, spec.shape.get("messages", "auto"), rest=True)
    return [Unreadable(row.where, row) if isinstance(row, RowError) else _asked(row) for row in rows]


def _lines(file: Path) -> list[Any]:
    return [item for item in text_reader.lines_of(file) if isinstance(item, text_reader.TextItem)]


def _asked(conversation: Conversation) -> Asked:
    """Without the answers at its end."""
    messages = conversation.messages
    while messages and messages[-1].role == template.ASSISTANT:
        messages = messages[:-1]
    return Asked(conversation._replace(messages=messages), len(messages) < len(conversation.messages))


def read(item: Asked, spec: Spec) -> Tensor:
    """Its ids up to where the answer begins, long [T]; of a longer one the end. Raises DataError."""
    if not item.conversation.messages:
        raise DataError(f"{item}: asks nothing")
    return torch.tensor(_prompt(item, spec)[-int(spec.shape["length"]) :], dtype=torch.long)


def _prompt(item: Asked, spec: Spec) -> list[int]:
    return template.made(text_reader.tokenizer_of(spec), spec.shape["template"]).prompt(item.conversation)


def remark(item: Asked, value: Tensor, spec: Spec) -> str | None:
    """What is to be said of one that ends with an answer, or was too long."""
    ends = "end with an answer, which is left out" if item.answered else None
    end = replace(spec, shape={**spec.shape, "keep": "end"})
    cut = text_reader.only_a_part(value, end, lambda: len(_prompt(item, spec)))
    return ", and ".join(filter(None, [ends, cut])) or None


def finish(answered: Sequence[tuple[Asked, Row]], spec: Spec) -> list[Row]:
    """A row each: the last question, and the answer."""
    return [
        {
            "path": str(item),
            "question": item.conversation.messages[-1].content,
            "answer": str(row["continuation"]).strip(),
        }
        for item, row in answered
    ]
