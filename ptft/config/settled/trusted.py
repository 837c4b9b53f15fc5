"""What a configuration names of packages that are not ptft's: only a command line says which of them are trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.config import compose, reads
from ptft.config.instantiate import PACKAGES, allowed
from ptft.config.settled import own_views
from ptft.errors import ConfigError


def check(config: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Raises one ConfigError for all classes that the stage would make and may not, and for a file that trusts; one for
    views of the user's own that can't be."""
    trusted = list(config["trusted"])
    if trusted and "trusted" not in typed:
        text = _typed(trusted)
        raise ConfigError(f"{text}: a file can't say what is trusted; type '{text}' on the command line")
    strange = {key: target for key, target in _targets(config) if not allowed(target, tuple(trusted))}
    if strange:
        classes = ", ".join(f"{key}={target}" for key, target in strange.items())
        packages = dict.fromkeys([*trusted, *(target.partition(".")[0] for target in strange.values())])
        whose = "it is yours" if len(strange) == 1 else "they are yours"
        raise ConfigError(
            f"{classes}: refused; only {', '.join((*PACKAGES, *trusted))} may be named, "
            f"others with trusted=[package]; type '{_typed(packages)}' if {whose}"
        )
    if all(reads.counts(node, str(config["names"]["stage"])) for node in own_views.VIEWS):
        own_views.check(config)


def _typed(packages: Any) -> str:
    return f"trusted=[{','.join(packages)}]"


def _targets(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and class of every node that is made in this stage."""
    stage = str(config["names"]["stage"])
    for group in compose.GROUPS:
        node = config.get(group)
        if not isinstance(node, Mapping) or not reads.counts(group, stage):
            continue
        nodes = {f"{group}.{name}": each for name, each in node.items()} if group in compose.SEVERAL else {group: node}
        for key, each in nodes.items():
            target = each.get("_target_") if isinstance(each, Mapping) else None
            if isinstance(target, str) and "." in target:
                yield f"{key}._target_", target
    yield from _own(config, stage)


def _own(config: Mapping[str, Any], stage: str) -> Iterator[tuple[str, str]]:
    """As `_targets`, of views and transforms; an objective whose views are the dataset's own names none besides."""
    seen: list[Any] = []
    for key in own_views.NODES:
        group, _, name = key.partition(".")
        node = (config.get(group) or {}).get(name)
        if reads.counts(key, stage) and node not in seen:
            yield from own_views.classes(node, key)
            seen.append(node)
