"""Which keys count in which stage: `_reads_` in the YAML of a stage lists them, or the nodes that hold them.

An entry with a minus in front is a key of such a node that does not count. A stage's own keys, those that its YAML
brings, count in it without being listed; Hydra's, and the choice of a stage or an experiment, count everywhere. A stage
whose file lists nothing, as one of the user's may, reads everything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

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
    said = [_said(file, file.stat().st_mtime_ns) for file in documented.files_of("stage", stage)]
    return next((keys for keys in said if keys is not None), None)


@cache
def _said(file: Path, changed: int) -> tuple[str, ...] | None:
    content = OmegaConf.to_container(yaml_files.load(file)[1], resolve=False)
    listed = content.get("_reads_") if isinstance(content, dict) else None
    return None if listed is None else tuple(map(str, listed))


def own_keys(stage: str) -> list[str]:
    """The keys that a stage brings along."""
    brought = documented.stage_keys()
    return [key for key, of in brought.items() if any(stage in names for names in of.values())]


def counts(key: str, stage: str) -> bool:
    """Whether the stage reads the key."""
    said = listed(stage)
    if said is None or key.split(".")[0].split("/")[0] == "hydra":
        return True
    if any(_within(key, each[1:]) for each in said if each.startswith("-")):
        return False
    return any(_within(key, each) for each in (*EVERYWHERE, *said)) or any(_within(key, own) for own in own_keys(stage))


def stages_of(key: str) -> list[str]:
    """The stages of ptft in which the key counts: all those that have it and read it."""
    brought = documented.stage_keys()
    having = {stage for known, of in brought.items() if _within(key, known) for names in of.values() for stage in names}
    return [stage for stage in documented.options("stage") if counts(key, stage) and (not having or stage in having)]


def _within(key: str, known: str) -> bool:
    return key == known or key.startswith(f"{known}.")


def sort(typed: Overrides, base: DictConfig, later: set[str]) -> tuple[Overrides, list[str]]:
    """What was typed and can be composed, and a line for each key that does not exist or does not count in the stage.

    base: the composition of the options that were chosen. later: groups whose keys are the checkpoint's, and known when
    it is open.
    """
    known, stage = {*compose.flat_keys(base), *compose.GROUPS}, str(base.names.stage)
    kept, problems = [], []
    for override in typed.parsed:
        key, group = override.key_or_group, override.key_or_group.split(".")[0]
        added = override.is_add() or override.is_force_add()
        there = key in known or (group in later and key != group) or key.startswith(unlisted(typed.parsed))
        if not there and not (added and _takes_more(key, base)):
            problems.append(_unknown(key, stage, known))
        elif not counts(key, stage):
            problems.append(_elsewhere(key, stage))
        else:
            kept.append(override)
    return typed.of_these(kept), problems


def _unknown(key: str, stage: str, known: set[str]) -> str:
    own = documented.stage_keys()
    groups = {name for name in own if "." not in name and any(other.startswith(f"{name}.") for other in own)}
    if key in groups or any(_within(key, name) for name in own if name not in groups):
        return _elsewhere(key, stage)
    return mistakes.unknown(key, known)


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
    above = [".".join(parts[:end]) for end in range(1, len(parts))]
    known = rules(compose.raw_tree(base))
    return any(path in known or _is_value(base, path) for path in above)


def _is_value(base: DictConfig, path: str) -> bool:
    found = OmegaConf.select(base, path, default=base)
    return found is not base and not OmegaConf.is_dict(found)
