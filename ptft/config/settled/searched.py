"""Search spaces as they are typed: `tune.space.optimizer.lr={low: 1e-4, high: 1e-2, log: true}`, or a list of choices.

A space holds keys with their dots, each with a node of its own: both `optimizer`, of which an option is chosen, and
`optimizer.lr` can be searched.
"""

from __future__ import annotations

SPACE = "tune.space."
PARTS = ("low", "high", "log", "step", "choices")
"""What a node may say of a key's values."""


def quoted(key: str, value: str) -> str:
    """The override that Hydra reads, which takes the place of all that the space said of that key before."""
    return f"++{SPACE.rstrip('.')}={{{key.removeprefix(SPACE)}: {_node(value)}}}"


def _node(value: str) -> str:
    """Hydra merges it into one that is there, so that the parts which that may have are taken away first."""
    nothing = ", ".join(f"{part}: null" for part in PARTS)
    if value[:1] == "[":
        return f"{{{nothing}, choices: {value}}}"
    if value == "null":
        return f"{{{nothing}}}"
    return f"{{{nothing}, {value[1:]}" if value[:1] == "{" else value
