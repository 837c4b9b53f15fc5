"""Recordings and parts of them, as the rows of a list name them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.folders import listed_path
from ptft.data.hub.cells import File
from ptft.data.labels import number
from ptft.data.own.file_columns import BEGINS, ENDS, PATH
from ptft.data.records import RowError, records, text_of
from ptft.errors import DataError

Span = tuple[float, float | None]
"""From one second to another, or to the end."""
TIME_WORDS = frozenset(("start", "begin", "end", "stop", "onset", "offset", "from", "to", "time", "duration", "ms"))
"""Words by which a column's name looks like a time."""


class Clip(NamedTuple):
    """A recording, or its `span`."""

    path: File
    span: Span | None

    def __str__(self) -> str:
        return str(self.path) if self.span is None else f"{self.path} {shown(self.span)}"


def shown(span: Span) -> str:
    """ "from 1.5 to 3 s"."""
    return f"from {span[0]:g} s on" if span[1] is None else f"from {span[0]:g} to {span[1]:g} s"


def name_of_part(name: str, span: Span | None) -> str:
    """What a recording of this name, or a part of it, is called."""
    return name if span is None else f"{name} {shown(span)}"


class Times(NamedTuple):
    """Which columns of a list say when a part begins and ends, or how long it is; None where none does."""

    begin: str | None
    end: str | None
    duration: str | None


@lru_cache
def times_of(names: tuple[str, ...]) -> Times:
    """Those among the columns of a list.

    `offset` is where a part begins, as NeMo has it; beside `onset` it is where it ends, as in lists of sound events.
    """
    by_word = {_word(name): name for name in reversed(names)}
    begin = next((by_word[word] for word in BEGINS if word in by_word), None)
    ends = (*ENDS, "offset") if begin is not None and _word(begin) == "onset" else ENDS
    end = next((by_word[word] for word in ends if word in by_word), None)
    if begin is None and "offset" in by_word:
        begin = by_word["offset"]
    return Times(begin, end, by_word.get("duration"))


def time_notes(file: Path, read: bool = True) -> tuple[str, ...]:
    """What to say of columns of a list that hold numbers in the first row and look like times, and are not read.

    read: whether parts of recordings are read at all.
    """
    try:
        fields = next(records(file), (0, None))[1]
    except DataError:
        return ()  # reading it says so
    if not isinstance(fields, dict):
        return ()
    times = times_of(tuple(fields)) if read else ()
    unread = [
        name
        for name, value in fields.items()
        if name not in times and number(str(value)) is not None and TIME_WORDS & set(_words(name))
    ]
    if not unread:
        return ()
    hint = "start and end, or offset and duration, are seconds" if read else "dataset=audio_manifest reads parts"
    return (f"columns that look like times are not read: {', '.join(unread)} ({hint})",)


def clip_of(folder: Path, fields: Mapping[str, Any], where: str, column: str = PATH) -> Clip:
    """What a row of a list in `folder` names in a column, and its span by the columns of `times_of`.

    Raises DataError at `where` for a row without a path, and for times that are none.
    """
    path, times = listed_path(folder, fields, where, column), times_of(tuple(fields))
    begin, end, duration = (_seconds(fields, name, where) for name in times)
    if begin is None and times.begin is not None:
        value = fields[times.begin]
        if end is not None or (duration is not None and value is not None and value != value):
            raise RowError(where, f"has no {times.begin}, but {times.duration if end is None else times.end}")
    if end is None and duration is not None:
        end = (begin or 0.0) + duration
    if begin is None and end is None:
        return Clip(path, None)
    span = (begin or 0.0, end)
    if span[0] < 0 or (end is not None and end <= span[0]):
        raise RowError(where, f"{shown(span)} is no part of a recording")
    return Clip(path, span)


def _seconds(fields: Mapping[str, Any], name: str | None, where: str) -> float | None:
    text = "" if name is None else text_of(fields, name, where)
    try:
        value = float(text) if text else None
    except ValueError as error:
        point = "; a number is written with a point" if "," in text else ""
        raise RowError(where, f"start and end are seconds, {name} is {text!r}{point}") from error
    if value is not None and not math.isfinite(value):
        raise RowError(where, f"{name} is {text}, no number of seconds")
    return value


def _words(name: str) -> list[str]:
    """The words of a column's name, which underscores, blanks or capitals may separate."""
    return re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name)).lower())


def _word(name: str) -> str:
    return "_".join(_words(name)) if re.fullmatch(r"[A-Za-z_ -]+", str(name)) else str(name)
