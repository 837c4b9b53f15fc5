"""What networks of timm expect of images, and what their classes are called."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptft.core import Spec
from ptft.data.image.pixels.scaling import INTERPOLATIONS
from ptft.data.image.reader import shape

KEPT = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
"""What of timm's configuration of some weights says how images were prepared."""


def spec(config: Any, override: Mapping[str, Any] = MappingProxyType({})) -> Spec:
    """How images were prepared, of a configuration of timm, and of `override` what that says."""
    settings = {**vars(config), **override}
    channels, *size = settings["input_size"]
    fit = "stretch" if settings["crop_mode"] == "squash" else "crop"
    interpolation = settings["interpolation"] if settings["interpolation"] in INTERPOLATIONS else "bicubic"
    fitted = shape((size[0], size[1]), channels, fit, min(settings["crop_pct"], 1), interpolation)
    return Spec("image", fitted, mean=tuple(settings["mean"]), std=tuple(settings["std"]))


def beside(path: str, name: str) -> dict[str, Any]:
    """What the configuration in the folder of some weights says, where it is one of timm, of this network."""
    try:
        content = json.loads(Path(path).with_name("config.json").read_text(encoding="utf-8"))
        config = content["pretrained_cfg"] if content["architecture"] == name.split(".")[0] else {}
        settings = {key: config[key] for key in KEPT if config.get(key) is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return settings


def classes(config: Any) -> tuple[str, ...]:
    """What the classes of some public weights are called: what they say, or ImageNet's names for as many classes."""
    data: Any = importlib.import_module("timm.data")
    if config.label_names:
        return tuple(config.label_names)
    subset = data.infer_imagenet_subset({"num_classes": config.num_classes})
    return tuple(data.ImageNetInfo(subset).label_descriptions()) if subset else ()
