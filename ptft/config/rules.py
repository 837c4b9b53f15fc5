"""Rules that stand in the YAML of an option, beside its keys: `_rules_: {KEY: name of a rule in ptft.validators}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ptft.config import compose, yaml_files
from ptft.config.overrides import OWN
from ptft.config.renamed import current
from ptft.errors import ConfigError, suggest
from ptft.validators import RULES, Rule, rule_named

NOT_HANDED = frozenset({"views", "cache", "sampler"})
"""Keys of a dataset that others read than its class."""


def rules(config: Mapping[str, Any]) -> dict[str, Rule]:
    """The rule of every key that the options of a configuration have one for, by the key's path.

    They are looked up by `_target_`, so that a configuration from a checkpoint and an old copy in `./conf` have them,
    too; a copy's own win. Those of a stage name keys of the whole configuration. Raises ConfigError for a rule that
    does not exist.
    """
    by_key: dict[str, Rule] = {}
    for group, prefix, name, node in _options(config):
        entries = {**_of_class(group, current(str(node["_target_"]))), **_of_copy(group, name)}
        if not entries and group == "dataset" and usual(group, OWN).keys() <= node.keys():
            entries = _rules_in(yaml_files.conf_dir() / group / f"{OWN}.yaml")
        by_key |= {f"{prefix}{key}": _rule(group, key, entry) for key, entry in entries.items()}
    return by_key


def of_option(group: str, name: str) -> dict[str, Rule]:
    """The rules of an option's keys, without the group in front. Raises ConfigError for one that does not exist."""
    folder = yaml_files.user_conf()
    own = folder / group / f"{name}.yaml" if folder else None
    file = own if own and own.is_file() else yaml_files.conf_dir() / group / f"{name}.yaml"
    return {key: _rule(group, key, entry) for key, entry in _rules_in(file).items()}


def usual(group: str, name: str) -> dict[str, Any]:
    """What ptft's own option says of its keys, not resolved; without its class and what is not handed to it."""
    node = yaml_files.content(yaml_files.conf_dir() / group / f"{name}.yaml")
    return {key: value for key, value in node.items() if key[0] != "_" and key not in NOT_HANDED}


def _options(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """Group, beginning of its keys' paths, name and node of every option that was chosen and names a class."""
    for group in compose.GROUPS:
        node = config.get(group)
        if not isinstance(node, Mapping):
            continue
        if group in compose.SEVERAL:
            chosen = [(f"{group}.{name}.", name, child) for name, child in node.items()]
        else:
            chosen = [("" if group == "stage" else f"{group}.", config.get("names", {}).get(group), node)]
        for prefix, name, option in chosen:
            if isinstance(option, Mapping) and "_target_" in option:
                yield group, prefix, name, option


def _rule(group: str, key: str, entry: Any) -> Rule:
    try:
        return rule_named(entry)
    except KeyError as error:
        name = error.args[0]
        raise ConfigError(f"{group}: _rules_.{key}: there is no rule {name}{suggest(name, RULES)}") from error


@cache
def _of_class(group: str, target: str) -> dict[str, Any]:
    """What ptft's own options of that class say of their keys."""
    names = re.compile(rf"^ *_target_: {re.escape(target)}$", re.MULTILINE)
    files = sorted((yaml_files.conf_dir() / group).glob("*.yaml"))
    of_files = [_rules_in(file) for file in files if names.search(file.read_text(encoding="utf-8"))]
    return {key: entry for entries in of_files for key, entry in entries.items()}


def _of_copy(group: str, name: Any) -> dict[str, Any]:
    """What the user's own file of that name says."""
    folder = yaml_files.user_conf()
    file = folder / group / f"{name}.yaml" if folder else None
    return _rules_in(file) if file and file.is_file() else {}


def _rules_in(file: Path) -> dict[str, Any]:
    """`_rules_` of a file, and of those that its `defaults` name beside it, whose keys it shares."""
    return _read(file, yaml_files.changed())


@cache
def _read(file: Path, changed: int) -> dict[str, Any]:
    node: Any = OmegaConf.to_container(yaml_files.load(file)[1])
    shared = [entry for entry in node.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    inherited: dict[str, Any] = {}
    for name in shared:
        beside = file.with_name(f"{name}.yaml")
        own_file = yaml_files.conf_dir() / file.parent.name / f"{name}.yaml"
        inherited |= _rules_in(beside if beside.is_file() else own_file)
    own: dict[str, Any] = node.get("_rules_", {})
    return inherited | own
