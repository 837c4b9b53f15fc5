"""Keys that a YAML of the user's sets and nobody reads: refused, with the nearest there is, as typed ones are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ptft.config import compose, documented, mistakes, yaml_files

NODES = ("train", "finetune")
"""Nodes of ptft's own, whose keys are all listed; those of the others are options of classes, which are asked."""

ALIKE = 0.8
"""From this ratio on (difflib's) a name of the user's own is taken for a slip."""


def keys(config: Mapping[str, Any], typed: Collection[str]) -> Iterator[str]:
    """A line for each. typed: keys that stand in the command, which are looked at there.

    A stage of the user's own reads what it likes; and a name of theirs at the top may be what others refer to, so only
    one that is nearly another is refused.
    """
    stage = documented.file_of("stage", str(config.get("names", {}).get("stage")))
    if not stage.is_relative_to(yaml_files.conf_dir()):
        return
    own = compose.own()
    for node in NODES:
        found = [key for key in _unknown(config.get(node), own[node], node) if key not in typed]
        yield from (mistakes.unknown(key, list(_all(own[node], node))) for key in found)
    names = {*own, *compose.GROUPS, *(key.split(".")[0] for key in documented.stage_keys()), "names", "experiment"}
    for key in config:
        if key not in names and key not in typed and get_close_matches(key, own, 1, ALIKE):
            yield mistakes.unknown(key, list(own))
    if isinstance(inside := config.get("experiment"), Mapping) and inside:
        yield f"experiment: its keys ({', '.join(inside)}) count nowhere; begin the file with # @package _global_"


def _unknown(ours: Any, own: Any, place: str) -> Iterator[str]:
    """Keys that only the first has, where both are nodes; what is no node in ptft's own may be of any form."""
    if not isinstance(ours, Mapping) or not isinstance(own, Mapping):
        return
    for key, value in ours.items():
        if key in own:
            yield from _unknown(value, own[key], f"{place}.{key}")
        else:
            yield f"{place}.{key}"


def _all(own: Any, place: str) -> Iterator[str]:
    yield place
    if isinstance(own, Mapping):
        for key, value in own.items():
            yield from _all(value, f"{place}.{key}")
