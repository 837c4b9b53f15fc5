"""Contents: of files that a configuration names, and of the user's own code. They change what a run gives, too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptft.checkpoint.file import file_digest
from ptft.checkpoint.load import locate
from ptft.config.resolve import LIBRARIES
from ptft.config.settled import own_code
from ptft.errors import CheckpointError
from ptft.runs.registry import named

RUNS = ("objective.lm", "model.embeddings", "train.panel")
"""Keys whose values may be the short name of a run; others that name runs are paths once a configuration is settled."""
READ = "dataset"
"""The node whose files make the data, whose fingerprint tells their contents, but for what is done with examples …"""
DONE = ("transform", "views")
"""… by these."""

HUB = "ptft.models.hub."
"""Where the wrappers of other libraries' networks are."""


def files(config: Mapping[str, Any]) -> dict[str, str]:
    """What a key names, in words -> a digest of it: of every value that is a file, a run, or a folder of weights."""
    data = {key: value for key, value in (config.get(READ) or {}).items() if key in DONE}
    found = {}
    for key, text in _texts({**config, READ: data}):
        if content := _content(key.partition("[")[0], text):
            found[f"what {key} names"] = content
    return found


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a tree with its key."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _texts(each, f"{key}[{number}]")
    elif isinstance(value, str) and value and "\0" not in value:
        yield key, value


def _content(key: str, text: str) -> str | None:
    """A digest of what `text` names; None where that is nothing on this machine.

    A word without a slash names no folder by chance: a split is called as a folder here may be.
    """
    path = text.partition(":")[2] if text.startswith(LIBRARIES) else text
    place = Path(os.path.expanduser(path))
    try:
        if key in RUNS and not os.path.lexists(place):
            place = named(text, key) or place
        if place.is_file():
            return file_digest(place)
        is_meant = os.sep in path or path != text or key in RUNS
        return _of_folder(place) if is_meant and place.is_dir() else None
    except OSError:  # a text that is too long for a name, a file that only others may read: opening it says so
        return None


def _of_folder(folder: Path) -> str:
    """Of a run the digest of its checkpoint; of another folder names, sizes and times of its files."""
    try:
        return file_digest(locate(str(folder)))
    except CheckpointError:
        found = sha256()
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            known = file.stat()
            found.update(f"{file.relative_to(folder)}\0{known.st_size}\0{known.st_mtime_ns}\0".encode(errors="replace"))
        return found.hexdigest()


def libraries(config: Mapping[str, Any]) -> dict[str, str]:
    """The library whose network it is, in words -> its version; nothing of ptft's own."""
    before, found, module = str(config["model"].get("_target_")).partition(HUB)
    if before or not found:
        return {}
    name = module.partition(".")[0].partition("_")[0]
    library = {"huggingface": "transformers"}.get(name, name)
    return {f"the version of {library}": version(library)}


def code(trusted: tuple[str, ...]) -> dict[str, str]:
    """The code of each trusted package, and of what it imports of its folder, in words -> its digest."""
    return {f"the code of {name}": digest for name, digest in own_code.digests(trusted).items()}
