"""Search spaces as they are typed: `tune.space.optimizer.lr={low: 1e-4, high: 1e-2, log: true}`, or a list of choices.

A space holds keys with their dots, each with a node of its own: both `optimizer`, of which an option is chosen, and
`optimizer.lr` can be searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.errors import ConfigError

SPACE = "tune.space."
PARTS = ("low", "high", "log", "step", "choices")
"""What a node may say of a key's values."""
NOTHING = ", ".join(f"{part}: null" for part in PARTS)


def quoted(key: str, value: str) -> str:
    """The override that Hydra reads, which takes the place of all that the space said of that key before.

    Raises ConfigError for what is neither a list, nor a range, nor null.
    """
    if value != "null" and (value[:1], value[-1:]) not in (("[", "]"), ("{", "}")):
        example = f"'{key}={{low: 1e-4, high: 1e-2, log: true}}'"
        raise ConfigError(f"{key}={value}: must be a list of choices, '{key}=[a,b]', or a range like {example}")
    return f"++{SPACE.rstrip('.')}={{{key.removeprefix(SPACE)}: {_node(value)}}}"


def as_typed(key: str, text: str, value: Any) -> tuple[str, str]:
    """Key and text of an override, where it is one that `quoted` made those before that."""
    begin = f"++{SPACE.rstrip('.')}={{"
    if not (text.startswith(begin) and isinstance(value, Mapping) and len(value) == 1):
        return key, text
    name = f"{SPACE}{next(iter(value))}"
    node = text[len(begin) + len(name) - len(SPACE) + len(": ") : -1]
    if node.startswith(f"{{{NOTHING}"):
        rest = node[len(NOTHING) + 1 :].removeprefix(", ")
        node = "null" if rest == "}" else rest[len("choices: ") : -1] if rest.startswith("choices: [") else f"{{{rest}"
    return name, f"{name}={node}"


def _node(value: str) -> str:
    """Hydra merges it into one that is there, so that the parts which that may have are taken away first."""
    if value[:1] == "[":
        return f"{{{NOTHING}, choices: {value}}}"
    return f"{{{NOTHING}, {value[1:]}" if value[0] == "{" else f"{{{NOTHING}}}"
