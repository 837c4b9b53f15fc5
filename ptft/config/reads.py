"""Which keys count in which stage: `_reads_` in the YAML of a stage lists them, or the nodes that hold them.

An entry with a minus in front is a key of such a node that does not count. A stage's own keys, those that its YAML
brings, count in it without being listed; Hydra's, and the choice of a stage or an experiment, count everywhere. A stage
whose file lists nothing, as one of the user's may, reads everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose, documented, mistakes, yaml_files
from ptft.config.overrides import Overrides, unlisted
from ptft.config.rules import rules

EVERYWHERE = ("stage", "experiment", "resume", "ckpt", "quiet")
BUILT = ("model", "dataset", "objective", "optimizer", "schedule", "logger")
"""Nodes whose keys are a class's options: it is asked whether it has one that is added with `+`."""


def listed(stage: str) -> tuple[str, ...] | None:
    """What `_reads_` of a stage says, or of the one that it is based on; None where nobody says anything."""
    if not documented.file_of("stage", stage).is_file():
        return None
    lists = [_listed_in(file, file.stat().st_mtime_ns) for file in documented.files_of("stage", stage)]
    return next((keys for keys in lists if keys is not None), None)


@cache
def _listed_in(file: Path, changed: int) -> tuple[str, ...] | None:
    content = OmegaConf.to_container(yaml_files.load(file)[1], resolve=False)
    entries = content.get("_reads_") if isinstance(content, dict) else None
    return None if entries is None else tuple(map(str, entries))


def own_keys(stage: str) -> list[str]:
    """The keys that a stage brings along."""
    stage_keys = documented.stage_keys()
    return [key for key, options in stage_keys.items() if any(stage in names for names in options.values())]


def counts(key: str, stage: str) -> bool:
    """Whether the stage reads the key."""
    return _counts(key, _reading(stage, yaml_files.changed()))


@cache
def _reading(stage: str, changed: int) -> tuple[str, ...] | None:
    """The keys that a stage reads, and with a `-` in front those that it does not; None where nobody says anything."""
    own = listed(stage)
    return None if own is None else (*EVERYWHERE, *own, *own_keys(stage))


def _counts(key: str, reading: tuple[str, ...] | None) -> bool:
    """Whether a stage of which `_reading` says so reads the key."""
    if reading is None or key.split(".")[0].split("/")[0] == "hydra":
        return True
    if any(_within(key, entry[1:]) for entry in reading if entry.startswith("-")):
        return False
    return any(_within(key, entry) for entry in reading)


def stages_of(key: str) -> list[str]:
    """The stages of ptft in which the key counts: all those that have it and read it."""
    stage_keys = documented.stage_keys()
    stages: set[str] = set()
    for own, options in stage_keys.items():
        if _within(key, own):
            stages.update(*options.values())
    changed = yaml_files.changed()
    reading = [stage for stage in documented.options("stage") if _counts(key, _reading(stage, changed))]
    return [stage for stage in reading if not stages or stage in stages]


def misplaced(typed: Mapping[str, Any]) -> dict[str, str]:
    """Group -> what to say where an option of it is typed for another stage than the one that alone has the group."""
    stage = str(typed.get("stage"))
    own = [group for group in compose.GROUPS if group in typed and group in documented.options("stage")]
    return {group: _elsewhere(group, stage) for group in own if group != stage and not counts(group, stage)}


def _within(key: str, node: str) -> bool:
    return key == node or key.startswith(f"{node}.")


def sort(typed: Overrides, base: DictConfig, later: set[str]) -> tuple[Overrides, list[str]]:
    """What was typed and can be composed, and a line for each key that does not exist or does not count in the stage.

    base: the composition of the options that were chosen. later: groups whose keys are the checkpoint's, and known when
    it is open.
    """
    keys, stage = {*compose.flat_keys(base), *compose.GROUPS}, str(base.names.stage)
    kept, problems, reading = [], [], _reading(stage, yaml_files.changed())
    own = tuple(each for each in unlisted(typed.parsed) if each == "hydra" or each.rstrip(".") in keys)
    for override in typed.parsed:
        key, group = override.key_or_group, override.key_or_group.split(".")[0]
        added = override.is_add() or override.is_force_add()
        exists = key in keys or (group in later and key != group) or key.startswith(own)
        if not exists and not (added and _takes_more(key, base)):
            problems.append(_unknown(key, stage, keys))
        elif not _counts(key, reading):
            problems.append(_elsewhere(key, stage))
        elif override.is_delete() and (refusal := _needed(key)):
            problems.append(refusal)
        elif inside := mistakes.within(override, keys, own):
            problems += inside
        else:
            kept.append(override)
    return typed.of_these(kept), problems


def _needed(key: str) -> str:
    """What to say of `~key` where it is a key of ptft's own; empty for those of options, which have defaults."""
    node: Any = {} if key in compose.GROUPS else compose.own()
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ""
        node = node[part]
    default = "null" if node is None else str(node).lower() if isinstance(node, bool) else node
    remedy = "it is a group of keys" if isinstance(node, Mapping) else f"type {key}={default}"
    return f"~{key}: can't be left out; {remedy}"


def _unknown(key: str, stage: str, keys: set[str]) -> str:
    own = documented.stage_keys()
    groups = {name for name in own if "." not in name and any(other.startswith(f"{name}.") for other in own)}
    if key in groups or any(_within(key, name) for name in own if name not in groups):
        return _elsewhere(key, stage)
    return mistakes.unknown(key, keys)


def _elsewhere(key: str, stage: str) -> str:
    others = stages_of(key)
    names = f"{', '.join(others[:-1])} or {others[-1]}" if len(others) > 1 else "".join(others)
    return f"{key}: for stage={names}, not for stage={stage}, which does not read it"


def _takes_more(key: str, base: DictConfig) -> bool:
    """Whether somebody may read a key that is added there: a class its option, or what holds a value of any form."""
    group = key.split(".")[0]
    if group in BUILT and "." in key:
        return True
    if listed(str(base.names.stage)) is None:
        return True
    parts = key.split(".")
    parents = [".".join(parts[:end]) for end in range(1, len(parts))]
    ruled = rules(compose.raw_tree(base))
    return any(path in ruled or _is_value(base, path) for path in parents)


def _is_value(base: DictConfig, path: str) -> bool:
    node = OmegaConf.select(base, path, default=base)
    return node is not base and not OmegaConf.is_dict(node)
