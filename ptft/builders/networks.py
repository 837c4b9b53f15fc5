"""Backbones from the configuration: ptft's own, and any network of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ptft.config.config import plain
from ptft.config.instantiate import construct, find, target_of
from ptft.core import Backbone, Spec
from ptft.errors import ConfigError, first_line
from ptft.models.user_network import UserNetwork


def backbone_class(model: Mapping[str, Any], trusted: tuple[str, ...]) -> type[Backbone] | None:
    """The backbone that `model._target_` names; None for a plain module. Raises ConfigError for anything else."""
    cls = target_of("model", model, trusted)
    if inspect.isclass(cls) and issubclass(cls, nn.Module) and not issubclass(cls, Backbone) and trusted:
        return None
    return find("model", model, Backbone, trusted)  # type: ignore[type-abstract]


def backbone(model: Mapping[str, Any], spec: Spec, trusted: tuple[str, ...]) -> Backbone:
    """What `model._target_` names, sized from the Spec; around a plain module of the user's a backbone.

    A module's constructor gets the other keys, and what it asks for by a usual name: `channels`, `in_channels`,
    `in_chans` (C), `size`, `image_size`, `img_size` (the side of square images, else [H, W]), `spec`.
    Raises ConfigError for a class that takes something else, and for data that are no images.
    """
    if subclass := backbone_class(model, trusted):
        return construct("model", model, subclass, spec)
    name, cls = str(model["_target_"]), target_of("model", model, trusted)
    if spec.modality != "image":
        raise ConfigError(
            f"model._target_={name}: a plain nn.Module reads images, the dataset yields {spec.modality}; for that "
            "subclass ptft.core.Backbone"
        )
    height, width = spec.shape["size"]
    side, channels = height if height == width else [height, width], spec.shape["channels"]
    offered = {"spec": spec, **dict.fromkeys(("channels", "in_channels", "in_chans"), channels)}
    offered |= dict.fromkeys(("size", "image_size", "img_size"), side)
    typed = {key for key in plain(model) if key != "_target_"}
    try:
        network = construct("model", model, cls, **{key: value for key, value in offered.items() if key not in typed})
    except TypeError as error:
        raise ConfigError(f"model._target_={name}: can't be built ({first_line(error)}); type model.KEY=…") from error
    return UserNetwork(spec, network)
