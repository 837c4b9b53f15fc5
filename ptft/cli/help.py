"""`ptft help`: what a key, an option or a group is, from the comments and rules of the YAML files as they are."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping

from ptft.config import compose, documented, mistakes, reads, rules
from ptft.config.documented import Meaning
from ptft.config.resume import FREE_ON_RESUME
from ptft.config.validate import RULES
from ptft.errors import ConfigError, suggest
from ptft.runtime.terminal import say
from ptft.validators import FLAG, NUMBER, Rule

FEW = 12
"""So many options are named beside a meaning; of more it says how many."""


def width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def hanging(name: str, text: str, indent: int) -> str:
    """`name` and, from column `indent` on, the text, in as many lines as the terminal needs."""
    begin = f"{name:<{indent - 1}} "
    form = textwrap.TextWrapper(width(), begin, " " * indent, break_long_words=False, break_on_hyphens=False)
    return form.fill(text) if text else begin.rstrip()


def columns(rows: Mapping[str, str]) -> str:
    """A name and what it is in each row, the latter aligned."""
    indent = 2 + max(map(len, rows), default=0)
    return "\n".join(hanging(name, text, indent) for name, text in rows.items())


def listing(group: str) -> str:
    """The options of a group, each with the first comment of its file; a line each where another program reads them."""
    heads = {name: documented.head(documented.file_of(group, name)) for name in compose.options(group)}
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        longest = max(map(len, heads), default=0)
        return "\n".join(f"{name:<{longest}}  {head}".rstrip() for name, head in heads.items())
    return columns(heads)


def show(word: str) -> None:
    """Say what a key (`train.clip`), a node of keys (`train`), an option (`model/cnn`) or a group is.

    Raises ConfigError with the nearest for what is none of them.
    """
    group, _, name = word.replace("=", "/").partition("/")
    if group in documented.groups() and name:
        say(_option(group, name))
    elif word in documented.groups():
        say(f"{word}=NAME, one of\n\n{listing(word)}\n\nptft help {word}/NAME shows its keys")
    else:
        say(_key(word))


def _option(group: str, name: str) -> str:
    if not documented.file_of(group, name).is_file():
        raise ConfigError(f"{group}={name}: there is no {group} of that name{suggest(name, compose.options(group))}")
    entries, prefix = documented.entries(group, name), documented.prefix(group, name)
    nodes = {key.rpartition(".")[0] for key in entries}
    shown = {key: f"{prefix}{key}{f'={value}' if value else ''}" for key, (value, _) in entries.items()}
    rows = {shown[key]: comment for key, (_, comment) in entries.items() if key not in nodes}
    head = textwrap.fill(documented.head(documented.file_of(group, name)), width())
    return "\n\n".join(part for part in (f"{group}={name}", head, columns(rows)) if part)


def _key(key: str) -> str:
    meanings_by_key = documented.keys()
    below = {name: meanings for name, meanings in meanings_by_key.items() if name.startswith(f"{key}.")}
    if key not in meanings_by_key and not below:
        names = [*meanings_by_key, *documented.groups()]
        remedy = mistakes.type_instead(key) or suggest(key, names)
        raise ConfigError(f"{key}: there is no such key, option or group{remedy}")
    paragraphs = [_meaning(key, meaning) for meaning in meanings_by_key.get(key, [])]
    if below:
        inner = {name: shortest.comment for name, (shortest, *_) in below.items()}
        return "\n\n".join([*dict.fromkeys(part.splitlines()[0] for part in paragraphs), columns(inner)])
    return "\n\n".join([*paragraphs, columns(_where(key, meanings_by_key[key]))])


def _meaning(key: str, meaning: Meaning) -> str:
    group = documented.owner(key, meaning.options[0]) if meaning.options else ""
    typed = [f"{group}={name}" for name in meaning.options] if group not in ("", "stage") else []
    options = ", ".join(typed) if len(typed) <= FEW else f"{len(typed)} options of {group}"
    default = "none, it must be typed" if meaning.default == "???" else meaning.default
    rows = {"  in": options, "  value": value_of(key, meaning), "  default": default}
    return "\n".join([hanging(key, meaning.comment, len(key) + 2), columns({k: v for k, v in rows.items() if v})])


def value_of(key: str, meaning: Meaning) -> str:
    """What it must be, in the words of its rule, or else of its default's type."""
    rule = rule_for(key, meaning)
    return rule.words if rule else ""


def rule_for(key: str, meaning: Meaning) -> Rule | None:
    """The rule that it must keep, or that its default's type makes; None where anything may be typed."""
    return _rule(key, meaning) or _type(meaning.default)


def _rule(key: str, meaning: Meaning) -> Rule | None:
    if key in RULES or not meaning.options:
        return RULES.get(key)
    option = meaning.options[0]
    owner = documented.owner(key, option)
    return rules.of_option(owner, option).get(key.removeprefix(documented.prefix(owner, option)))


def _type(default: str) -> Rule | None:
    if default in ("true", "false"):
        return FLAG
    try:
        float(default)
    except ValueError:
        return None
    return NUMBER


def _where(key: str, meanings: Iterable[Meaning]) -> dict[str, str]:
    """The stages in which it may be typed, those that have a default of their own, and whether a resume takes it."""
    stages = reads.stages_of(key)
    own = {stage: documented.entries("stage", stage).get(key, ("", ""))[0] for stage in stages}
    usual = {meaning.default for meaning in meanings}
    others = [f"{value} with stage={stage}" for stage, value in own.items() if value and value not in usual]
    resumes = any(key == free or key.startswith(f"{free}.") for free in FREE_ON_RESUME)
    resume = "may be typed" if resumes else ""
    rows = {"  default": ", ".join(others), "  stages": ", ".join(stages), "  resume": resume}
    return {name: text for name, text in rows.items() if text}
