"""Views of the user's own, from the node that names their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ptft.augment.own import OwnViews
from ptft.augment.views import KINDS
from ptft.builders.parts.own_classes import TARGET, names_class, shown
from ptft.builders.parts.own_classes import built as built_of
from ptft.config.config import Config, plain
from ptft.config.instantiate import option_names
from ptft.core import Backbone, Objective, Spec
from ptft.data.image.normaliser import normaliser
from ptft.errors import ConfigError

EACH, UNIT = "_each_", "_unit_"
OF_UNIT = frozenset(
    {"AugMix", "AutoAugment", "ColorJitter", "GaussianNoise", "RandAugment", "RandomAutocontrast", "TrivialAugmentWide"}
    | {"RandomAdjustSharpness", "RandomEqualize", "RandomInvert", "RandomPhotometricDistort"}
    | {"RandomPosterize", "RandomSolarize"}
)
"""Transforms of torchvision that take values to be from 0 to 1, and cut off others."""


def key_of(cfg: Config) -> str:
    """Where the class of the objective's views was typed: the dataset's views are the objective's, if it has no own."""
    views = cfg.dataset.get("views")
    return "dataset.views" if views and views == cfg.objective.get("views") else "objective.views"


def in_task(
    task: Mapping[str, Any], backbone: Backbone, spec: Spec, trusted: tuple[str, ...], key: str
) -> Mapping[str, Any]:
    """The node of an objective, with what makes views in the place of a node that names a class.

    backbone: whose prepared images they see. Raises ConfigError where it can't be told what these were.
    """
    if not names_class(views := task.get("views")):
        return task
    made: OwnViews = built(views, spec, trusted, key)
    if made.unit:
        white = torch.full((1, spec.shape["channels"], *spec.shape["size"]), 255, dtype=torch.uint8)
        if not torch.allclose(backbone.prepare(white), (made.scale + made.offset).expand(white.shape), atol=1e-3):
            how = f"{type(backbone).__name__} does not normalise images with the dataset's mean and std alone"
            raise ConfigError(f"{key}.{UNIT}=true: {how}, so what their values were is not known; leave it out")
    return {**plain(task), "views": made}


def built(node: Any, spec: Spec, trusted: tuple[str, ...], key: str) -> Any:
    """What makes views where the node names a class, else the node.

    `_each_` and `_unit_` are ptft's (`OwnViews` says what they mean), the other keys the class's. torchvision's
    transforms draw once a call, so that each example gets a call of its own unless `_each_` says otherwise. Raises
    ConfigError naming the key for a class that is no module of a trusted package, or can't be built of them.
    """
    if not names_class(node):
        return node
    options = {name: value for name, value in plain(node).items() if name not in (EACH, UNIT)}
    of_torchvision = str(node[TARGET]).startswith("torchvision.")
    each, unit = _flag(node, EACH, key, of_torchvision), _flag(node, UNIT, key, False)
    name = shown(node, key)
    if unit and spec.modality != "image":
        raise ConfigError(f"{key}.{UNIT}=true: is for images, the dataset yields {spec.modality}")
    usual = {option for kind in KINDS.values() for option in option_names(kind)}
    module = built_of(options, trusted, key, nn.Module, usual)
    if spec.modality == "image" and not unit and (found := _of_unit(module)):
        raise ConfigError(
            f"{name}: {found} takes values to be from 0 to 1, and images are normalised; type {key}.{UNIT}=true, which "
            "gives it such and normalises what comes back"
        )
    scale, offset = normaliser(spec)
    return OwnViews(module, name, each=each, unit=(255 * scale, offset) if unit else None)


def capturable(task: Objective) -> bool:
    """Whether a step of it may be recorded: nobody else's code in it does nothing but work on the device."""
    return task.capturable and not any(isinstance(module, OwnViews) for module in task.modules())


def _flag(node: Mapping[str, Any], name: str, key: str, usual: bool) -> bool:
    value = node.get(name, usual)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}.{name}={value}: true or false")
    return value


def _of_unit(module: nn.Module) -> str:
    """The first of torchvision's transforms in it that takes values to be from 0 to 1, or ""."""
    for each in module.modules():
        parts = getattr(each, "transforms", None)
        held = [part for part in parts if isinstance(part, nn.Module)] if isinstance(parts, list | tuple) else []
        if type(each).__module__.startswith("torchvision.") and type(each).__name__ in OF_UNIT:
            return type(each).__name__
        if found := next(filter(None, map(_of_unit, held)), ""):
            return found
    return ""
