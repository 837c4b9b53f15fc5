"""Recordings and parts of them, as the rows of a list name them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data import files
from ptft.data.folders import listed_path
from ptft.data.own.file_columns import PATH
from ptft.data.records import RowError, text_of

Span = tuple[float, float | None]
"""From one second to another, or to the end."""


class Clip(NamedTuple):
    """A recording, or its `span`."""

    path: Path
    span: Span | None

    def __str__(self) -> str:
        return str(self.path) if self.span is None else f"{self.path} {shown(self.span)}"


def shown(span: Span) -> str:
    """ "from 1.5 to 3 s"."""
    return f"from {span[0]:g} s on" if span[1] is None else f"from {span[0]:g} to {span[1]:g} s"


def known_by(clip: Clip, base: Path) -> str:
    """What a recording, or a part of it, is known by below the folder `base`."""
    name = files.relative(clip.path, base)
    return name if clip.span is None else f"{name} {shown(clip.span)}"


def clip_of(folder: Path, fields: Mapping[str, Any], where: str, column: str = PATH) -> Clip:
    """What a row of a list in `folder` names in a column, and its span by start and end, or offset and duration.

    Raises DataError at `where` for a row without a path, and for times that are none.
    """
    path = listed_path(folder, fields, where, column)
    begin = _seconds(fields, "start", where)
    begin = _seconds(fields, "offset", where) if begin is None else begin
    end = _seconds(fields, "end", where)
    if end is None and (duration := _seconds(fields, "duration", where)) is not None:
        end = (begin or 0.0) + duration
    if begin is None and end is None:
        return Clip(path, None)
    span = (begin or 0.0, end)
    if span[0] < 0 or (end is not None and end <= span[0]):
        raise RowError(where, f"{shown(span)} is no part of a recording")
    return Clip(path, span)


def _seconds(fields: Mapping[str, Any], name: str, where: str) -> float | None:
    text = text_of(fields, name, where)
    try:
        value = float(text) if text else None
    except ValueError as error:
        point = "; a number is written with a point" if "," in text else ""
        raise RowError(where, f"start and end are seconds, {name} is {text!r}{point}") from error
    if value is not None and not math.isfinite(value):
        raise RowError(where, f"{name} is {text}, no number of seconds")
    return value
