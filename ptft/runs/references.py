"""What a run refers to and needs again where it goes on: what it started from, replays, is measured by, learns from.

As in a lineage a digest says which run is meant, wherever that lies by now; a path where no digest is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptft.errors import CheckpointError
from ptft.runs.folder import read_json
from ptft.runs.lineage import stored_digest
from ptft.runs.listing import Listed
from ptft.runs.registry import is_name, named

KEYS = ("train.replay", "train.panel", "objective.teacher", "objective.text_ckpt", "objective.lm")
"""Whose values are runs or checkpoints, or lists of such; `ckpt` says again what it started from."""
OPEN = ("running", "interrupted", "killed")
"""States of runs whose summary may not say yet what they started from."""
BOTH = ("best.pt", "last.pt")


class Reference(NamedTuple):
    """The key that names it (`ckpt` for what a run started from) and the folder or file that is meant.

    changed: whether other weights lie there than those that were meant, which are found nowhere.
    """

    key: str
    place: Path
    changed: bool = False


def of(run: Listed, known: Mapping[str, Path]) -> Iterator[Reference]:
    """Of what is there. known: as `by_digest` gives it."""
    for key, name, digest in dict.fromkeys(_named(run)):
        place = _place(name, key)
        there = {*_digests(place)} if place else set()
        is_other = digest is not None and digest not in there
        if is_other and digest in known:
            yield Reference(key, known[str(digest)])
        elif place is not None:
            yield Reference(key, place, is_other and bool(there))


def by_digest(folders: Iterable[Path]) -> dict[str, Path]:
    """Digest of a checkpoint -> the folder of the run that has it, the first of `folders`."""
    found: dict[str, Path] = {}
    for folder in folders:
        for digest in _digests(folder):
            found.setdefault(digest, folder.resolve())
    return found


def digests(refers: Mapping[str, Any]) -> dict[str, str]:
    """What the values of `KEYS` name -> the digest of the checkpoint that it is now, where it is one of a run."""
    found = {}
    for key, typed in refers.items():
        for name in _listed(typed):
            place = _place(name, key)
            if digest := next(_digests(place), None) if place else None:
                found[name] = digest
    return found


def _named(run: Listed) -> Iterator[tuple[str, str, str | None]]:
    """Key, name and digest of all that it names; of a comparison what its arms start from."""
    parent, summary = run.summary.get("parent") or {}, run.summary
    yield from _texts("ckpt", parent.get("run") or parent.get("path"), parent.get("sha256"))
    if run.row["status"] in OPEN and not parent:
        yield from _texts("ckpt", run.config.get("ckpt"), None)
    for arm in (read_json(run.folder / "compare.json").get("arms") or {}).values():
        if arm.get("pretrained"):
            yield from _texts("ckpt", arm.get("ckpt"), arm.get("sha256"))
    told, stored = summary.get("refers") or {}, summary.get("refers_sha256") or {}
    for key in KEYS:
        for name in _listed(told.get(key) or value_of(run.config, key)):
            yield from _texts(key, name, stored.get(name))


def _texts(key: str, name: Any, digest: Any) -> Iterator[tuple[str, str, str | None]]:
    if isinstance(name, str) and name != "ckpt":
        yield key, name, digest if isinstance(digest, str) else None


def _listed(typed: Any) -> list[Any]:
    return typed if isinstance(typed, list) else [typed]


def _digests(place: Path) -> Iterator[str]:
    """Of a checkpoint, or of those in the folder of a run."""
    files = [place] if place.is_file() else [place / "checkpoints" / name for name in BOTH]
    return (digest for file in files if (digest := stored_digest(file)))


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key of `KEYS`, None where its group has none."""
    group, _, name = key.partition(".")
    node = config.get(group)
    return node.get(name) if isinstance(node, Mapping) else None


def _place(name: str, key: str) -> Path | None:
    if os.path.lexists(path := os.path.expanduser(name)):
        return Path(path).resolve()
    if not is_name(name):
        return None
    try:
        return found.resolve() if (found := named(name, key)) else None
    except CheckpointError:  # it may be several by now
        return None
