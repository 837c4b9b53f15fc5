"""What the shell gave: flags, paths quoted for Hydra, and the nearest names for what does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ptft.errors import ConfigError

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


def suggest(name: str, choices: Iterable[str]) -> str:
    """ "; did you mean a or b?" for the choices nearest to `name`, or nothing."""
    near = nearest(name, choices)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(name: str, choices: Iterable[str], count: int = 2) -> list[str]:
    """The choices most like `name`, best first; a key's last part alone is enough to find it."""
    choices = sorted(set(choices))
    near = difflib.get_close_matches(name, choices, n=count, cutoff=0.6)
    if near and difflib.SequenceMatcher(None, name, near[0]).ratio() > 0.9:
        return near[:1]
    if not near:
        leaf = name.rsplit(".", 1)[-1]
        leaves = [choice for choice in choices if choice.rsplit(".", 1)[-1] == leaf]
        near = leaves or difflib.get_close_matches(leaf, choices, n=count, cutoff=0.5)
    return near[:count]
