"""Views and transforms of the user's own: a class, and its keys, in the place of ptft's; and where that can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ptft.config import yaml_files
from ptft.errors import ConfigError

VIEWS = ("dataset.views", "objective.views")
NODES = (*VIEWS, "dataset.transform")
TARGET = "_target_"
MOVES = "dataset_views"
"""The key of objectives whose targets move with the image: which views of the dataset they follow."""


def typed(values: Sequence[Override]) -> tuple[str, ...]:
    """The nodes for which a class is typed."""
    kept = [o for o in values if not o.is_delete()]
    said = {f"{o.key_or_group}.{TARGET}" if _names_class(o.value()) else o.key_or_group for o in kept}
    return tuple(node for node in NODES if f"{node}.{TARGET}" in said)


def _names_class(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and TARGET in value


def keys(values: Sequence[Override]) -> tuple[str, ...]:
    """What the keys begin with that only such a class knows."""
    return tuple(f"{node}." for node in typed(values))


def make_room(cfg: DictConfig, values: Sequence[Override]) -> None:
    """Before what was typed is applied: where a class is typed nothing else is left of what these views were."""
    for node in typed(values):
        group, _, key = node.partition(".")
        parent = cfg._get_node(group)
        if _has(parent, key):
            parent[key] = {}
            OmegaConf.set_struct(parent[key], False)


def _has(node: Any, key: str) -> TypeGuard[DictConfig]:
    return isinstance(node, DictConfig) and key in node.keys()  # noqa: SIM118 - which resolves nothing


def as_in_files(cfg: DictConfig, files_of: Callable[[str, str], list[Path]]) -> None:
    """Where a YAML file names a class the keys are those that stand there with it, and in files that say more.

    files_of: group and option -> its file and those that it is based on, the nearest first.
    """
    for group, _, name in (node.partition(".") for node in NODES):
        parent = cfg._get_node(group)
        own = parent._get_node(name) if _has(parent, name) else None
        if isinstance(own, DictConfig) and not (own._is_interpolation() or own._is_none()) and TARGET in own:
            OmegaConf.set_struct(own, False)
            for key in [*own.keys() - _said(group, name, cfg.hydra.runtime.choices, files_of)]:
                own.pop(key)


def _said(group: str, name: str, chosen: Mapping[str, Any], files_of: Callable[[str, str], list[Path]]) -> set[str]:
    """The keys of a node in the YAML files that say more than the one which names the class, and in that one."""
    said: set[str] = set()
    for where, path in (("experiment", (group, name)), (group, (name,))):
        for file in files_of(where, str(chosen[where])) if chosen.get(where) else ():
            node: Any = yaml_files.content(file)
            for key in path:
                node = node.get(key) if isinstance(node, Mapping) else None
            if isinstance(node, Mapping):
                said |= node.keys()
                if TARGET in node:
                    return said
    return said


def without(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration in which such a class has no keys, of which ptft has no rules."""
    bare = dict(config)
    for group, _, name in (node.partition(".") for node in NODES):
        node = bare.get(group)
        if isinstance(node, Mapping) and _names_class(node.get(name)):
            bare[group] = {**node, name: {} if name == "views" else None}
    return bare


def classes(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and class of such a node, and of all that it makes of others within."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == TARGET:
                yield f"{key}.{TARGET}", str(value)
            else:
                yield from classes(value, f"{key}.{name}")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from classes(value, f"{key}[{number}]")


def check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError where views of the user's own would not be used, or the targets would not move with them."""
    task, name = config.get("objective") or {}, config.get("names", {}).get("objective")
    of_dataset, of_task = (config.get("dataset") or {}).get("views"), task.get("views")
    for key, views in zip(VIEWS, (of_dataset, of_task), strict=True):
        if _names_class(views) and MOVES in task:
            raise ConfigError(
                f"{key}.{TARGET}={views[TARGET]}: can't be used with objective={name}, whose boxes or masks must move "
                "with the image, and a module gets the image alone; objective.views has those that move both"
            )
    if not _names_class(of_dataset):
        return
    if of_dataset != of_task:
        instead = f"; type objective.views.{TARGET}=… in its place" if "views" in task else ", which makes no views"
        raise ConfigError(f"dataset.views.{TARGET}={of_dataset[TARGET]}: is not used by objective={name}{instead}")
