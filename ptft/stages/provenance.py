"""How a run was made: the command to paste, the libraries that were used, and the commit of the working folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from ptft.config import yaml_files
from ptft.config.overrides import AS_TYPED, NAMED, Overrides, quote
from ptft.config.resolve import Job
from ptft.errors import PtftError
from ptft.runs.registry import is_name
from ptft.runtime.device import imported, versions


def provenance(job: Job, folder: Path) -> dict[str, Any]:
    """`command`, the folder it was typed in, the commit there (None outside of git), `versions` of what was imported.

    Of a run that is continued the command is the first one, without what was typed to continue it.
    """
    return {
        "command": _command(job, folder),
        "cwd": os.getcwd(),
        "git_commit": commit(Path.cwd()),
        "versions": {**versions(), **imported(job.config.trusted)},
    }


def _command(job: Job, folder: Path) -> str:
    typed = job.overrides
    if job.config.resume:
        try:
            texts = yaml_files.read(folder / ".hydra" / "overrides.yaml")
            typed = Overrides.parse(map(str, texts if isinstance(texts, list) else ()))
        except (PtftError, OSError):
            return ""
    return shlex.join(["ptft", *typed_words(job, typed.where(lambda key: not key.startswith("hydra.")))])


def typed_words(job: Job, typed: Overrides) -> list[str]:
    """Those of a job's overrides as a user would type them again."""
    return [_word(text, key, typed.typed.get(key), job) for text, key in zip(typed.texts, typed.keys, strict=True)]


def _word(text: str, key: str, value: Any, job: Job) -> str:
    """As a user would type it: paths, patterns and names without Hydra's quotes, and of a name what it meant."""
    if key == "ckpt" and isinstance(value, str) and is_name(value) and isinstance(job.config.get("ckpt"), str):
        return f"ckpt={job.config.ckpt}"
    plain = f"{key}={value}"
    return plain if key in AS_TYPED | NAMED and quote(plain) == text else text


def commit(place: Path) -> str | None:
    """The commit that is checked out in the repository around `place`, read from its files."""
    try:
        for folder in (place, *place.parents):
            if (git := folder / ".git").exists():
                return _head(git)
    except (OSError, UnicodeDecodeError):
        return None
    return None


def _head(git: Path) -> str | None:
    if git.is_file():  # of a worktree or a submodule: "gitdir: PATH"
        git = git.parent / git.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head or None
    name = head.removeprefix("ref: ")
    shared = git / "commondir"
    common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
    for place in (git, common):
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8").strip() or None
    packed = common / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), None)
