"""Views of the user's own, from the node that names their class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ptft.augment.own import OwnViews
from ptft.augment.views import KINDS
from ptft.config.config import Config, plain
from ptft.config.instantiate import construct, option_names, target_of
from ptft.core import Objective, Spec
from ptft.data.image.normaliser import normaliser
from ptft.errors import ConfigError, PtftError, first_line

TARGET, EACH, UNIT = "_target_", "_each_", "_unit_"
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


def in_task(task: Mapping[str, Any], spec: Spec, trusted: tuple[str, ...], key: str) -> Mapping[str, Any]:
    """The node of an objective, with what makes views in the place of a node that names a class."""
    views = task.get("views")
    return {**plain(task), "views": built(views, spec, trusted, key)} if _names_class(views) else task


def built(node: Any, spec: Spec, trusted: tuple[str, ...], key: str) -> Any:
    """What makes views where the node names a class, else the node.

    `_each_` and `_unit_` are ptft's (`OwnViews` says what they mean), the other keys the class's. torchvision's
    transforms draw once a call, so that each example gets a call of its own unless `_each_` says otherwise. Raises ConfigError naming the key for a class that is
    no module of a trusted package, or can't be built of them.
    """
    if not _names_class(node):
        return node
    options = {name: value for name, value in plain(node).items() if name not in (EACH, UNIT)}
    of_torchvision = str(node[TARGET]).startswith("torchvision.")
    each, unit = _flag(node, EACH, key, of_torchvision), _flag(node, UNIT, key, False)
    name = f"{key}.{TARGET}={node[TARGET]}"
    if unit and spec.modality != "image":
        raise ConfigError(f"{key}.{UNIT}=true: is for images, the dataset yields {spec.modality}")
    module = _module(options, trusted, key)
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


def _names_class(node: Any) -> bool:
    return isinstance(node, Mapping) and TARGET in node


def _flag(node: Mapping[str, Any], name: str, key: str, usual: bool) -> bool:
    value = node.get(name, usual)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}.{name}={value}: true or false")
    return value


def _module(options: dict[str, Any], trusted: tuple[str, ...], key: str) -> nn.Module:
    """A module and those that it is made of: nodes among its options, which name classes too."""
    name = f"{key}.{TARGET}={options[TARGET]}"
    cls = target_of(key, options, trusted)
    if not (inspect.isclass(cls) and issubclass(cls, nn.Module) and _is_trusted(cls, trusted)):
        raise ConfigError(f"{name}: refused, it is no torch.nn.Module of a package of yours (trusted=[package])")
    names = option_names(cls)
    for option in options.keys() - {TARGET, *names}:
        if any(option in option_names(kind) for kind in KINDS.values()):
            raise ConfigError(f"{key}.{option}: is a key of ptft's own views, and {options[TARGET]} has no such option")
    within = {option: _made(value, trusted, f"{key}.{option}") for option, value in options.items()}
    try:
        return construct(key, within, cls)
    except PtftError:
        raise
    except Exception as error:  # whatever a stranger's constructor may raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{name}: can't be built ({reason}); {key}.KEY=… sets what it takes") from error


def _made(value: Any, trusted: tuple[str, ...], key: str) -> Any:
    if _names_class(value):
        return _module(plain(value), trusted, key)
    if isinstance(value, list | tuple):
        return [_made(each, trusted, f"{key}[{number}]") for number, each in enumerate(value)]
    return value


def _is_trusted(cls: type, trusted: tuple[str, ...]) -> bool:
    return any(cls.__module__ == package or cls.__module__.startswith(f"{package}.") for package in trusted)


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
