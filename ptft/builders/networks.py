"""Backbones from the configuration: ptft's own, and any network of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ptft.config.config import plain
from ptft.config.instantiate import construct, find, target_of
from ptft.core import Backbone, Spec
from ptft.data import readers
from ptft.errors import ConfigError, first_line
from ptft.models.user_network import UserNetwork

LARGE = 20_000_000
"""Weights from which a network is asked whether one layer holds most of them."""


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


def mostly_flat(built: Backbone, spec: Spec) -> str:
    """What to say of a large network of images most of whose weights stand in one layer of flat features, or ""."""
    count = sum(p.numel() for p in built.parameters())
    if count < LARGE or spec.modality != "image":
        return ""
    linear = [(m.weight.numel(), name) for name, m in built.named_modules() if isinstance(m, nn.Linear)]
    most, name = max(linear, default=(0, ""))
    if most < count / 2:
        return ""
    shape = readers.of(spec).describe(spec)
    where = (
        f"{most / 1e6:,.0f} of the {count / 1e6:,.0f} million weights stand in one layer, {name}, of flattened images"
    )
    return f"{where} of {shape}; dataset.size=64 or model=resnet18 has far fewer"
