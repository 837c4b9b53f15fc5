"""What the shell gave: flags, paths quoted for Hydra, and the nearest names for what does not exist."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from ptft.errors import ConfigError, suggest

PATH_KEYS = frozenset(
    {"ckpt", "resume", "input", "output", "dataset.root", "model.weights", "hydra.run.dir", "hydra.sweep.dir"}
)
"""Keys whose values are paths: typed as they are, without Hydra's quoting."""

ARMS = "compare.arms."
"""What keys of lists of overrides begin with; the overrides in them are typed as they are, too."""

SHOW = frozenset(
    {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
)
"""Hydra's own flags that print something and run nothing."""

QUOTES = "'\""
TAKES_VALUE = frozenset({"--cfg", "-c", "--package", "-p"})
PASSED_ON = SHOW | TAKES_VALUE | {"--resolve"}


@dataclass
class Arguments:
    """The command line, sorted."""

    overrides: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    multirun: bool = False

    @property
    def shows(self) -> bool:
        return any(flag.split("=")[0] in SHOW for flag in self.flags)

    @property
    def completes(self) -> bool:
        """Whether a shell asks for completion; its overrides are Hydra's to read."""
        return any(flag.split("=")[0] in ("--shell-completion", "-sc") for flag in self.flags)


def parse(argv: list[str]) -> Arguments:
    """Sort `argv` into overrides (quoted for Hydra), plain words and Hydra's flags.

    Raises ConfigError for a flag that ptft does not know.
    """
    found = Arguments(multirun=any(word in ("-m", "--multirun") for word in argv))
    words = iter(argv)
    for word in words:
        if word in ("-m", "--multirun"):
            continue
        if word.startswith("-"):
            if word.split("=")[0] not in PASSED_ON:
                raise ConfigError(f"{word}: there is no such flag{suggest(word, PASSED_ON | {'--multirun'})}")
            found.flags.append(word)
            if word in TAKES_VALUE:
                found.flags.extend([next(words, "")])
        elif "=" in word or word.startswith("~"):
            found.overrides.append(quote(word, multirun=found.multirun))
        else:
            found.words.append(word)
    return found


def quote(override: str, *, multirun: bool = False) -> str:
    """`ckpt=runs/a b,(1)=2.pt` -> the same with the path quoted for Hydra's grammar; other overrides unchanged.

    `null`, `???`, `${…}` and values that are quoted already keep Hydra's meaning. Under `multirun` commas separate.
    """
    key, value = override.split("=", 1) if "=" in override else (override, "")
    if key.lstrip("+").startswith(ARMS):
        return f"++{key.lstrip('+')}={_arm(value)}"
    if key.lstrip("+") not in PATH_KEYS or _is_hydra(value):
        return override
    parts = value.split(",") if multirun else [value]
    return f"{key}={','.join(part if _is_hydra(part) else _quoted(part) for part in parts)}"


def _arm(value: str) -> str:
    """`ckpt=a b` or `[ckpt=a b,finetune.train=head]` -> a list of strings for Hydra.

    Without brackets it is one override, whatever is in it; within, one ends where a comma and the next key follow.
    """
    if value in ("", "null", "[]"):
        return value
    inner = value[1:-1] if value[0] == "[" and value[-1] == "]" else None
    parts = [value] if inner is None else re.split(r",\s*(?=['\"]?[+~]{0,2}[\w./@-]+=|~)", inner)
    return f"[{','.join(part if part[0] in QUOTES and part[-1] == part[0] else _quoted(part) for part in parts)}]"


def _is_hydra(value: str) -> bool:
    quoted = len(value) > 1 and value[0] in QUOTES and value[-1] == value[0]
    return value in ("", "null", "???") or "${" in value or quoted


def _quoted(value: str) -> str:
    """Single quotes; a backslash counts for Hydra only before a quote, so only those are doubled."""
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    trailing = re.search(r"\\*$", escaped)
    return f"'{escaped}{trailing[0] if trailing else ''}'"


def expand(overrides: list[str]) -> list[list[str]]:
    """Every combination of a sweep's comma-separated values, the last key fastest, as Hydra's sweeper orders them."""
    lists: list[list[str]] = []
    for text, override in zip(overrides, parse_overrides(overrides), strict=True):
        if override.is_sweep_override():
            key = override.get_key_element()
            lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            lists.append([text])
    return [list(job) for job in itertools.product(*lists)]


def parse_overrides(overrides: list[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except (HydraException, OverrideParseException) as error:
            raise ConfigError(
                f"{text}: can't be read as key=value; put values with special characters in quotes, "
                f"e.g. '{text.split('=')[0]}=\"…\"'"
            ) from error
    return parsed


def override_keys(overrides: list[str]) -> list[str]:
    """The key or group of every override, in their order."""
    return [str(override.key_or_group) for override in parse_overrides(overrides)]


def typed_values(overrides: list[str]) -> dict[str, Any]:
    """The keys of `overrides` and their values (the last of each), groups and `hydra.*` included, deletions not."""
    return {o.key_or_group: o.value() for o in parse_overrides(overrides) if not o.is_delete()}
