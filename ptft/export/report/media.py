"""Pictures and sounds of a run's folder as data URIs, made without torch; what a page may hold of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptft.runs.folder import read_json

KINDS = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:audio/wav;base64,")
"""What a page shows; any other URI is none of ours."""
ROOM = 2_200_000
"""Bytes of all pictures and sounds of a page."""
QUALITY = 82


def safe(uri: Any) -> str | None:
    """A data URI of a picture or a sound; None of anything else."""
    return uri if isinstance(uri, str) and uri.startswith(KINDS) else None


def kept(file: Path) -> dict[str, str]:
    """What a JSON file says of each key, where that can be shown."""
    return {str(key): uri for key, value in read_json(file).items() if (uri := safe(value))}


def fitting(uris: Iterator[tuple[str, str | None]], room: int = ROOM) -> dict[str, str]:
    """The first of them by their keys that are no larger than `room` together."""
    found: dict[str, str] = {}
    for key, uri in uris:
        if uri is None or key in found:
            continue
        if (room := room - len(uri)) < 0:
            break
        found[key] = uri
    return found


def picture(file: Path, side: int) -> str | None:
    """A picture of at most so many pixels a side; None where there is none that can be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.thumbnail((side, side))
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return f"{KINDS[1]}{base64.b64encode(out.getvalue()).decode()}"


def sound(file: Path) -> str | None:
    """A WAV as it is; None where there is none."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return f"{KINDS[2]}{base64.b64encode(content).decode()}" if content[:4] == b"RIFF" else None


def inside(folder: Path, files: Any) -> dict[str, Path]:
    """Files by their kind that a JSON file names; only those that lie in the folder."""
    if not isinstance(files, Mapping):
        return {}
    places = {str(kind): (folder / str(name)).resolve() for kind, name in files.items()}
    return {kind: place for kind, place in places.items() if place.is_relative_to(folder.resolve())}
