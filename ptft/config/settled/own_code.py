"""The user's own code, by its contents: what a run was trained with, and whether it is still the same.

It is read and not imported; nothing of torch is, either.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ptft.config.instantiate import PACKAGES, look_here

INSTALLED = {"site-packages", "dist-packages"}
ENDINGS = (".py", *EXTENSION_SUFFIXES)
WORD = re.compile(r"\w+")


def digests(trusted: Sequence[str]) -> dict[str, str]:
    """The code of each trusted package, and of what it imports of the folder that it lies in: its name -> a digest.

    Packages of `PACKAGES` are known by their versions.
    """
    look_here(tuple(trusted))
    known = {name.partition(".")[0] for name in PACKAGES}
    own = [name for name in dict.fromkeys(each.partition(".")[0] for each in trusted) if name not in known]
    homes = {home for name in own if (home := _sources(name)[0]) and not INSTALLED & {*home.parts}}
    beside = set().union(*map(_modules, homes)) - known
    waiting, found = [*own], {}
    for name in waiting:
        home, sources = _sources(name)
        if home is None or (name not in own and home not in homes):
            continue
        digest = sha256()
        for file, called in sources:
            content = _content(file)
            digest.update(f"{called}\0{sha256(content).hexdigest()}\0".encode(errors="replace"))
            if home in homes and file.suffix == ".py":
                waiting += sorted(_imported(content, beside - {*waiting}))
        found[name] = digest.hexdigest()
    return found


def changed(meta: Mapping[str, Any], trusted: Sequence[str], path: str) -> str | None:
    """What to say of code that is not the one a checkpoint was trained with; None of one that does not say, or is.

    meta: of the checkpoint at `path`, whose `code` is what `digests` gave.
    """
    before = meta.get("code")
    if not trusted or not before or not isinstance(before, Mapping):
        return None
    now = digests(trusted)
    other = [name for name, digest in before.items() if now.get(name, digest) != digest]
    if not other:
        return None
    return f"the code of {', '.join(other)} is not the one that {path} was trained with: it may compute something else"


def _sources(name: str) -> tuple[Path | None, list[tuple[Path, Path]]]:
    """The folder that a package or module lies in, and its files, each with its name there; None and none of what has
    no files. A package without `__init__.py` may lie in several folders."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None, []
    if places := [Path(place) for place in spec.submodule_search_locations or ()]:
        found = [(file, file.relative_to(place.parent)) for place in places for file in _below(place)]
        return places[0].parent, sorted(found)
    file = Path(spec.origin or "")
    return (file.parent, [(file, Path(file.name))]) if file.is_file() else (None, [])


def _below(place: Path) -> Iterator[Path]:
    """Files of code, without those that Python keeps for itself."""
    for folder, inside, names in os.walk(place):
        inside[:] = [name for name in inside if name != "__pycache__"]
        for name in names:
            if name.endswith(ENDINGS) and (file := Path(folder, name)).is_file():
                yield file


def _content(file: Path) -> bytes:
    """Nothing of a file that can't be read: importing it says so."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _modules(home: Path) -> set[str]:
    """What can be imported from a folder, by its names."""
    try:
        inside = [entry.name for entry in os.scandir(home) if entry.is_dir() or entry.name.endswith(ENDINGS)]
        return {name.partition(".")[0] for name in inside}
    except OSError:
        return set()


def _imported(content: bytes, names: set[str]) -> set[str]:
    """Those of `names` that are imported; none of what is no Python.

    It is parsed only where it may import one: a thousand files take a tenth of a second then, and two seconds else.
    """
    lines = [line for line in content.replace(b"\\\n", b" ").splitlines() if b"import" in line]
    if not names & {*WORD.findall(b" ".join(lines).decode(errors="replace"))}:
        return set()
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return set()
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    found += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return names & {each.partition(".")[0] for each in found}
