"""What the YAML files of `conf/` say of themselves: the head of each, and a comment behind every key.

Names that begin with `_` are no options and no keys. Nothing is composed: the files are read as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ptft.config import yaml_files

LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>[^#\s](?:[^#]|#(?! ))*?))? *(?:# (?P<comment>.*))?$")

Meanings = dict[str, list[str]]
"""Comment -> the options in whose files it stands behind a key."""


@dataclass
class Meaning:
    """What a key is in some options of its group (none: in `config.yaml`), where its comment and default are these."""

    comment: str
    default: str
    options: list[str] = field(default_factory=list)


def groups() -> list[str]:
    return sorted(path.name for path in yaml_files.conf_dir().iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (yaml_files.conf_dir() / group).glob("*.yaml") if path.stem[0] != "_")


def file_of(group: str, name: str) -> Path:
    """The file of an option: the user's own in `./conf` where there is one."""
    folder = yaml_files.user_conf()
    own = folder / group / f"{name}.yaml" if folder else None
    return own if own and own.is_file() else yaml_files.conf_dir() / group / f"{name}.yaml"


def owner(key: str, option: str) -> str:
    """The group in which an option has the key: that which the key begins with, or the stages, which may be called so.

    option: one that has it.
    """
    group = key.partition(".")[0]
    return group if group in groups() and file_of(group, option).is_file() else "stage"


def prefix(group: str, option: str) -> str:
    """What is typed before the keys of an option: the group, or what its file says of its place."""
    said = re.match(r"# @package (\S+)", file_of(group, option).read_text(encoding="utf-8"))
    place = said[1] if said else group
    return "" if place == "_global_" else f"{place}."


def head(path: Path) -> str:
    """The first comment of a file, without the commands that stand in it."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or re.match(r"#\s+(\.\.\. |… )?(ptft |Then)", line):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def keys_in(path: Path) -> list[tuple[str, str, str]]:
    """Every key of a file with its value and comment, dotted: `("train.every.log", "auto", "")`."""
    rows: list[tuple[str, str, str]] = []
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        parents = [(indent, key) for indent, key in parents if indent < len(match["indent"])]
        parents.append((len(match["indent"]), match["key"]))
        names = [key for _, key in parents]
        if names[0] != "defaults" and not any(name.startswith("_") for name in names):
            rows.append((".".join(names), match["value"] or "", match["comment"] or ""))
    return rows


def keys_of(group: str) -> dict[str, Meanings]:
    """The keys of a group's options, those of the files they are based on (`_image`, say) among them.

    An option that has a key without a comment counts only where no other has one.
    """
    comments: dict[str, Meanings] = {}
    for option in options(group):
        before = prefix(group, option).removeprefix(f"{group}.")
        for name, (_, comment) in entries(group, option).items():
            comments.setdefault(f"{before}{name}", {}).setdefault(comment, []).append(option)
    return {
        key: {comment: names for comment, names in by_comment.items() if comment or len(by_comment) == 1}
        for key, by_comment in comments.items()
    }


def entries(group: str, option: str) -> dict[str, tuple[str, str]]:
    """Key -> default and comment, of an option and of what it is based on; its own file comes first."""
    by_key: dict[str, tuple[str, str]] = {}
    for name, value, comment in (entry for file in files_of(group, option) for entry in keys_in(file)):
        before = by_key.get(name, ("", ""))
        by_key[name] = (before[0] or value, before[1] or comment)
    return by_key


def files_of(group: str, name: str) -> list[Path]:
    """The file of an option, and those that it is based on: the names of its own group in its `defaults`."""
    path = file_of(group, name)
    listed = re.search(r"^defaults:(.*\n(?: +-.*\n)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    names = [re.sub(r"#.*", "", line) for line in listed[1].splitlines()] if listed else []
    bases = [base for line in names if ":" not in line for base in re.findall(r"\w+", line)]
    existing = [base for base in bases if base != "_self_" and file_of(group, base).exists()]
    return [path, *(file for base in existing for file in files_of(group, base))]


def central() -> dict[str, tuple[str, str]]:
    """Key -> default and comment, of the keys of ptft's own `config.yaml` that belong to no group."""
    return {name: (value, comment) for name, value, comment in keys_in(yaml_files.conf_dir() / "config.yaml")}


def stage_keys() -> dict[str, Meanings]:
    """What stages have beside the keys of the configuration: those they only set anew are left out."""
    return _stage_keys(yaml_files.changed())


@cache
def _stage_keys(changed: int) -> dict[str, Meanings]:
    shared = {*central(), "stage", *groups()} - {*options("stage")}  # a group that is called so is the stage's own
    comments = keys_of("stage").items()
    return {name: options for name, options in comments if name not in shared and name.split(".")[0] not in shared}


def keys() -> dict[str, list[Meaning]]:
    """Every key as it is typed, with each meaning that it has."""
    return _keys(yaml_files.changed())


@cache
def _keys(changed: int) -> dict[str, list[Meaning]]:
    meanings_by_key: dict[str, list[Meaning]] = {}
    for name, (default, comment) in central().items():
        meanings_by_key.setdefault(name, []).append(Meaning(comment, default))
    own = stage_keys()
    for group in groups():
        for option in [] if group == "experiment" else options(group):
            before = prefix(group, option)
            for name, (default, comment) in entries(group, option).items():
                if group != "stage":
                    _add(meanings_by_key.setdefault(f"{before}{name}", []), option, default, comment)
                elif name in own:
                    _add(meanings_by_key.setdefault(name, []), option, default, comment)
    return {name: _with_comments(meanings) for name, meanings in meanings_by_key.items()}


def meaning(key: str, names: Mapping[str, Any]) -> str:
    """The comment behind a key in the option that was chosen of its group, or in a stage's or the central file; or "".

    names: group -> the option that was chosen.
    """
    group, _, rest = key.partition(".")
    if not (rest and names.get(group)):
        group, rest = "stage", key
    name = str(names.get(group))
    comment = entries(group, name).get(rest, ("", ""))[1] if file_of(group, name).is_file() else ""
    return comment or central().get(key, ("", ""))[1]


def _add(meanings: list[Meaning], option: str, default: str, comment: str) -> None:
    for meaning in meanings:
        if (meaning.comment, meaning.default) == (comment, default):
            meaning.options.append(option)
            return
    meanings.append(Meaning(comment, default, [option]))


def _with_comments(meanings: list[Meaning]) -> list[Meaning]:
    """An option that says nothing of a key means by it what the others do, where that is one thing."""
    comments = {meaning.comment for meaning in meanings if meaning.comment}
    for meaning in meanings:
        meaning.comment = meaning.comment or (next(iter(comments)) if len(comments) == 1 else "")
    return meanings
