"""Base class of image backbones. Axes: B batch, C channels, H height, W width, T tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Spec
from ptft.errors import ConfigError
from ptft.models.layers.normaliser import normaliser

SMALL = 64
"""Pixels of the longest side up to which `stem=auto` means a small stem."""


class ImageBackbone(Backbone):
    """A backbone of images, built as `Cls(spec, **options)`.

    size: (H, W) and channels: C of the images that it is built for.
    Raises ConfigError where the Spec is not of images.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if spec.modality != "image":
            raise ConfigError(
                f"model={type(self).__name__} reads images, the dataset yields {spec.modality}: "
                "choose another model= or dataset="
            )
        height, width = spec.shape["size"]
        self.size: tuple[int, int] = (int(height), int(width))
        self.channels = int(spec.shape["channels"])
        scale, offset = self.normaliser(spec)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    normaliser = staticmethod(normaliser)

    def first_convolutions(self) -> list[str]:
        """Names of the convolutions that take the image: the first one, unless a model says otherwise."""
        return [name for name, module in self.named_modules() if isinstance(module, nn.Conv2d)][:1]

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Fits the first convolution to this instance's channels; subclasses add what else they can fit to this."""
        resized = {}
        for name in self.first_convolutions():
            own: Any = self.get_submodule(name).weight
            old = weights.get(f"{name}.weight")
            if isinstance(old, Tensor) and old.ndim == own.ndim and old.shape[1] != own.shape[1]:
                resized[f"{name}.weight"] = resize_channels(old, own.shape[1])
        return {**weights, **resized}, list(resized)

    def prepare(self, raw: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float [B, C, H, W], normalised with the Spec's mean and std."""
        return torch.addcmul(self.offset, raw.to(self.scale.dtype), self.scale)

    @classmethod
    def seen(cls, spec: Spec, options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Spec:
        """The Spec of a network's public weights, of weights that may have been trained on other images.

        A stem for small images says nothing of their size; the first convolution says their channels.
        """
        try:
            with torch.device("meta"):
                network = cls(spec, **options)
        except (ConfigError, TypeError):  # of which the run itself will tell
            return spec
        shape = dict(spec.shape)
        for name in network.first_convolutions():
            own: Any = network.get_submodule(name)
            ending = f".{name.removeprefix('net.')}.weight"  # as the library calls it
            weight_name = min((key for key in weights if f".{key}".endswith(ending)), key=len, default=None)
            if weight_name is None or weights[weight_name].ndim != own.weight.ndim:
                continue
            if weights[weight_name].shape[2:] != own.weight.shape[2:] or options.get("stem") == "small":
                shape.pop("size", None)
            if weights[weight_name].shape[1] in (1, 3):
                shape["channels"] = weights[weight_name].shape[1]
        return replace(spec, shape=shape)

    def takes(self, size: tuple[int, int]) -> bool:
        return size == self.size


def is_small(stem: str, size: tuple[int, int]) -> bool:
    """Whether `model.stem` asks for a stem that keeps the resolution of small images. Raises ConfigError."""
    if stem not in ("auto", "small", "original"):
        raise ConfigError(f"model.stem={stem}: choose auto, small or original")
    return stem == "small" or (stem == "auto" and max(size) <= SMALL)


def too_small(name: str, size: tuple[int, int], least: int) -> ConfigError:
    """The error for images of `size` that a model can't take, naming the smallest side that it can."""
    return ConfigError(f"dataset.size={list(size)} is too small for model={name}: at least {least} pixels a side")


def resize_channels(filters: Tensor, channels: int) -> Tensor:
    """Filters [O, C, h, w] for images of another number of channels, [O, channels, h, w].

    The sum over the old channels, shared out equally among the new: an image whose channels are all the same gives
    what it gave before, so colour filters become grey ones by their sum, and grey ones colour ones by a third each.
    """
    shared = filters.float().sum(1, keepdim=True) / channels
    return shared.expand(-1, channels, -1, -1).to(filters.dtype).contiguous()
