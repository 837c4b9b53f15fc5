"""Lineage: which run started from which, by the digests of checkpoints, so that folders that were moved are found.

Nothing is loaded: a checkpoint of ptft ends with its digest, and a run's summary names that of its parent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptft.runs.folder import read_json

MARK = b"ptft sha256:"
"""Before the digest in the comment of the zip archive that a checkpoint is."""
LENGTH = 64
"""Of a digest, in hexadecimal digits."""
TAIL = re.compile(re.escape(MARK) + rb"([0-9a-f]{%d})" % LENGTH)


EXPORT = "ptft-export"
"""The `format` in the JSON that describes an export."""
DESCRIPTIONS = ("config.json", "ptft.json")
"""How the description of an exported folder may be called; that of a single file FILE.safetensors is FILE.json."""


def described(path: Path) -> dict[str, Any] | None:
    """What the description of an exported folder says, or that of exported weights; None of anything else."""
    if path.is_dir():
        found = (read_json(path / name) for name in DESCRIPTIONS)
        return next((says for says in found if says.get("format") == EXPORT), None)
    if path.suffix != ".safetensors":
        return None
    found = (read_json(file) for file in (path.with_suffix(".json"), path.with_name(DESCRIPTIONS[0])))
    return next((says for says in found if says.get("format") == EXPORT and says.get("weights") == path.name), None)


def exported_from(path: Path) -> Mapping[str, Any]:
    """The checkpoint that an export was made of: `path`, `sha256`, `run`; {} where it is none."""
    source = (described(path) or {}).get("checkpoint")
    return source if isinstance(source, dict) else {}


def stored_digest(path: Path | str) -> str | None:
    """The digest that a checkpoint of ptft ends with, not verified; None of another file, or of none."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(-len(MARK) - LENGTH, 2)
            tail = file.read()
    except OSError:
        return None
    found = TAIL.fullmatch(tail)
    return found[1].decode() if found else None


@dataclass
class Relative:
    """A run, or what of one is known when its folder is gone. parent: its digest, what it was called, or None.

    name: the folder, or what the parent of a run was called where no folder is found. changed: whether what lies where
    its parent lay has other weights than it started from.
    """

    name: str
    folder: Path | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    children: list[Relative] = field(default_factory=list)
    changed: bool = False

    @property
    def parent(self) -> Mapping[str, Any]:
        return self.summary.get("parent") or {}


def family(folder: Path, digest: str | None, folders: Iterable[Path]) -> tuple[Relative, Relative]:
    """The first ancestor of a run with all that came of it, and the run itself.

    folder: its own, or that of a checkpoint file whose digest is `digest`. folders: the runs that may be relatives;
    ancestors that lie elsewhere are found where they were.
    """
    known: dict[Path, Relative] = {}
    by_digest: dict[str, Relative] = {}

    def add(place: Path) -> Relative:
        place = place.absolute()
        if place not in known:
            name = str(place)
            known[place] = Relative(name, place, read_json(f"{name}/summary.json"))
            for file in ("best.pt", "last.pt"):
                if own := stored_digest(f"{name}/checkpoints/{file}"):
                    by_digest.setdefault(own, known[place])
        return known[place]

    for each in folders:
        add(each)
    run = by_digest.get(digest or "") or add(folder)
    gone: dict[str, Relative] = {}
    waiting = list(known.values())
    parents: dict[int, Relative] = {}
    while waiting:
        child = waiting.pop()
        if not child.parent:
            continue
        found = by_digest.get(str(child.parent.get("sha256")))
        if found is None and (where := child.parent.get("run")) and (Path(where) / "summary.json").is_file():
            before = len(known)
            found = add(Path(where))
            waiting += [found] if len(known) > before else []
            child.changed = found is not by_digest.get(str(child.parent.get("sha256")))
        if found is None or found is child:
            name = str(child.parent.get("run") or child.parent.get("path"))
            found = gone.setdefault(str(child.parent.get("sha256") or name), Relative(name))
        parents[id(child)] = found
        found.children.append(child)
    first, seen = run, {id(run)}
    while id(first) in parents and id(parents[id(first)]) not in seen:
        first = parents[id(first)]
        seen.add(id(first))
    return first, run
