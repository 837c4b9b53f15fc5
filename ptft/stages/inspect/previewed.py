"""previews.json: what of the examples on the page can be seen or heard, while they are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.data.inspected.reading import on_error
from ptft.data.inspected.subject import Subject
from ptft.errors import first_line
from ptft.export.report import inspection, media
from ptft.export.report.previews import of_rows
from ptft.loggers.console import Console
from ptft.runtime.system import write_text


def write(folder: Path, subject: Subject, found: Mapping[str, Any], out: Console) -> None:
    """found: as inspect.json has it. It is not worth an inspection, whatever it meets."""
    try:
        keys = inspection.wanted(found)
        uris = _uris(subject, keys)
        if uris:
            shown = media.fitting((key, uris.get(key)) for key in keys)
            write_text(folder / inspection.PREVIEWS, json.dumps(shown))
    except Exception as error:
        out.say(f"{inspection.PREVIEWS}: can't be made ({first_line(error)}); the page goes without it", "yellow")


def _uris(subject: Subject, keys: list[str]) -> dict[str, str]:
    """Of each example by its key, `SPLIT INDEX`."""
    found: dict[str, str] = {}
    for split, examples in subject.parts.items():
        if examples is None:
            continue
        on_error(examples, "raise")  # rows that are left out would shift the others
        indices = [int(index) for name, _, index in (key.rpartition(" ") for key in keys) if name == split]
        uris = of_rows(examples, subject.source.spec, indices, len(indices))
        found |= {f"{split} {index}": uri for index, uri in zip(indices, uris, strict=True) if uri is not None}
    return found
