"""The configuration of a run that is over, beside what its stage and options are without anything typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ptft.config import compose, yaml_files
from ptft.config.resume import FREE_ON_RESUME
from ptft.errors import ConfigError
from ptft.runs.folder import read_json
from ptft.runs.registry import SEARCH

if TYPE_CHECKING:
    from ptft.runs.facts import Known

APART = ("names", "ckpt", "resume")
"""Keys that say which run it is rather than how it was set."""


def read(folder: Path) -> dict[str, Any]:
    """What lies in a run's folder, of a search with the settings that it found, as the weights there have them; empty
    where there is none, or another program's, or it was cut."""
    file = folder / ".hydra" / "config.yaml"
    try:
        config = yaml_files.shown(file) if file.is_file() else {}
    except ConfigError:
        return {}
    return _with_found(config, folder) if isinstance(config, dict) else {}


def _with_found(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    best = read_json(folder / SEARCH).get("best") or {}
    settings = best.get("settings") or {}
    options = {key: value for key, value in settings.items() if "." not in key}
    if options:
        run = read(folder / "cells" / Path(best["folder"]).name)
        nodes = {key: run.get(key) for key in options}
        config = {**config, **nodes, "names": {**config["names"], **options}}
    for key in settings.keys() - options.keys():
        config = _with(config, key.split("."), settings[key])
    return config


def _with(node: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A node with another value at a key below it."""
    first, *rest = path
    return {**node, first: _with(node.get(first) or {}, rest, value) if rest else value}


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key; lists are values, and so is an empty node."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def config_of(known: Known) -> dict[str, Any]:
    """As it was composed, with what was typed anew on a resume, which the checkpoint alone has."""
    if not known.stored:
        return dict(known.in_checkpoint)
    config = dict(known.stored)
    for first, _, rest in (key.partition(".") for key in FREE_ON_RESUME):
        old, new = config.get(first), known.in_checkpoint.get(first)
        if rest and isinstance(old, Mapping) and isinstance(new, Mapping) and rest in new:
            config[first] = {**old, rest: _newer(old.get(rest), new[rest])}
        elif not rest and new is not None:
            config[first] = _newer(old, new)
    if isinstance(names := config.get("names"), Mapping):
        config["names"] = {**names, "logger": list(config.get("logger") or {})}
    return config


def _newer(old: Any, new: Any) -> Any:
    """What was typed anew; `auto` stays, in whose place a checkpoint has what was found."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {key: _newer(old.get(key), value) for key, value in new.items()}
    return old if old == "auto" else new


def chosen(config: Mapping[str, Any]) -> dict[str, Any]:
    """The option of each group, where there is one."""
    names = config.get("names")
    return {str(group): name for group, name in names.items() if name} if isinstance(names, Mapping) else {}


def against_defaults(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> the run's value and that of its options without anything typed, of those that differ.

    None for a key that the other has not. Empty where its options are not there any more.
    """
    usual = _usual(chosen(config))
    if usual is None:
        return {}
    ours, theirs = (leaves({k: v for k, v in each.items() if k not in APART}) for each in (config, usual))
    return {
        key: (ours.get(key), theirs.get(key))
        for key in [*ours, *(key for key in theirs if key not in ours)]
        if ours.get(key) != theirs.get(key) and not _empty(ours.get(key), theirs.get(key))
    }


def _empty(one: Any, other: Any) -> bool:
    """Whether both say nothing."""
    return one in (None, {}) and other in (None, {})


def _usual(names: Mapping[str, Any]) -> dict[str, Any] | None:
    own = {group: name for group, name in names.items() if group != "experiment" and name != "from_ckpt"}
    known = [
        f"{group}={name if isinstance(name, str) else '[' + ','.join(map(str, name)) + ']'}"
        for group, name in own.items()
        if {*(name if isinstance(name, list) else [name])} <= {*compose.options(group)}
    ]
    try:
        cfg = compose.compose(known)
        return {str(name): _plain(node) for name, node in cfg.items_ex(resolve=False) if name != "hydra"}
    except ConfigError:
        return None


def _plain(node: Any) -> Any:
    if not OmegaConf.is_config(node):
        return None if node == "???" else node
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(node)
