"""Keys of the objective that are `auto`: what the training images show decides them, and it is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ptft.augment.look import Look, look_at
from ptft.augment.recipe import AUTO, chosen
from ptft.config.config import Config
from ptft.core import Examples
from ptft.errors import ConfigError

LOOKED_AT = 256
"""Training images, evenly spread over the split."""


def settled(cfg: Config, modality: str, train: Examples) -> tuple[Config, list[str]]:
    """The configuration with a value for every key of the objective that is `auto`, and what to say of them.

    Raises ConfigError for such a key where the examples are no images, or nothing of them decides it.
    """
    if not (keys := _undecided(cfg.objective)):
        return cfg, []
    if modality != "image":
        raise ConfigError(f"objective.{keys[0]}=auto: a look at images decides it, the dataset yields {modality}")
    places = torch.linspace(0, len(train) - 1, min(LOOKED_AT, len(train)), dtype=torch.float64).round().long()
    look = look_at(train.take(places)["input"])
    decided = _decided(cfg.objective, look, "objective.")
    return cfg.merged({"objective": decided}), [_sentence(look, keys, decided)]


def views(options: Mapping[str, Any] | None, images: torch.Tensor) -> dict[str, Any]:
    """The options of random views with what `images`, [N, C, H, W], decide of them, for whoever only shows them."""
    given = dict(options or {})
    if not _undecided(given, "dataset.views."):
        return given
    return {**given, **_decided(given, look_at(images), "dataset.views.")}


def _undecided(node: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys that are `auto`, dotted; what those of a class of one's own mean is its own matter."""
    if prefix and "_target_" in node:
        return []
    found = []
    for name, value in node.items():
        found += _undecided(value, f"{prefix}{name}.") if isinstance(value, Mapping) else []
        found += [f"{prefix}{name}"] if value == AUTO else []
    return found


def _decided(node: Mapping[str, Any], look: Look, prefix: str) -> dict[str, Any]:
    """Of a node the keys that are `auto`, with their values."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping):
            if "_target_" not in value and (inner := _decided(value, look, f"{prefix}{name}.")):
                found[name] = inner
        elif value == AUTO:
            try:
                found[name] = chosen(name, look)
            except KeyError as error:
                raise ConfigError(f"{prefix}{name}=auto: nothing of the data decides it; type a value") from error
    return found


def _sentence(look: Look, keys: list[str], decided: Mapping[str, Any]) -> str:
    """What was seen, and what follows from it; what is not done comes last."""
    values: dict[str, Any] = {}
    for key in keys:
        *path, name = key.split(".")
        node: Any = decided
        for each in path:
            node = node[each]
        values[name] = node[name]
    done = ", ".join(f"{name}{_said(value)}" for name, value in values.items() if value)
    without = ", ".join(name for name, value in values.items() if not value)
    words = f"{done}{'; ' if done and without else ''}{f'no {without}' if without else ''}"
    group = "objective.views" if keys[0].startswith("views.") else f"objective.{keys[0].rpartition('.')[0]}".rstrip(".")
    return f"views by a look at {look.images} training images ({look}): {words}; {group}.KEY changes it"


def _said(value: Any) -> str:
    return "" if value is True else f" {' to '.join(map(str, value))}" if isinstance(value, list) else f" {value:g}"
