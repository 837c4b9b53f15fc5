"""Inputs of image transformers of transformers, and what the processor beside them does to an image.

Axes: B batch, C channels, H W size, T tokens (class token, if any, and patches), D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ptft.core import Batch, Features, Spec
from ptft.data.image import reader as image_reader
from ptft.data.image.normaliser import normaliser
from ptft.errors import ConfigError
from ptft.models.layers.grids import last_of_each_size

KINDS = ("vit", "deit", "beit", "dinov2", "swin")
"""Kinds of model that see images, cut into patches."""
PYRAMIDS = ("swin",)
"""Those of them whose patches become fewer from stage to stage."""
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as processors write them."""


def spec(config: Any, processor: Mapping[str, Any]) -> Spec:
    """What a dataset for public weights looks like. processor: the settings beside them; {} where there is none.

    Without one size and channels are the model's, and there is no mean.
    """
    size = _pair(config.image_size)
    if not processor:
        return Spec("image", image_reader.shape(size, config.num_channels, "crop"), "none")
    resize = processor.get("size") if processor.get("do_resize", True) else None
    whole = size if resize is None else _pair(resize)
    size = _pair(processor["crop_size"]) if processor.get("do_center_crop") and processor.get("crop_size") else whole
    stretches = isinstance(resize, Mapping) and "shortest_edge" not in resize
    share = min(1.0, min(size) / min(whole))
    how = RESAMPLE.get(processor.get("resample", 2), "bicubic")
    shape = image_reader.shape(size, config.num_channels, "stretch" if stretches else "crop", share, how)
    return Spec("image", shape, "none", (), *_normalisation(processor, config.num_channels))


def _normalisation(processor: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of values from 0 to 1, whatever the processor scales them to first."""
    scale = 255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    settings = processor if processor.get("do_normalize", True) else {}
    mean, std = settings.get("image_mean", 0.0), settings.get("image_std", 1.0)
    values = [statistic if isinstance(statistic, list | tuple) else [statistic] for statistic in (mean, std)]
    mean, std = (image_reader.fill(tuple(float(value) / scale for value in each), channels) for each in values)
    return mean, std


def _pair(size: Any) -> tuple[int, int]:
    """(H, W) as configurations and processors write it."""
    if isinstance(size, Mapping):
        size = [size["height"], size["width"]] if "height" in size else size["shortest_edge"]
    high, wide = size if isinstance(size, list | tuple) else (size, size)
    return int(high), int(wide)


class Images(nn.Module):
    """Images, normalised by the Spec. Positions are interpolated to sizes other than the model's own.

    Raises ConfigError where the Spec has other channels, or a size that is no whole number of patches.
    """

    late: tuple[nn.Module, ...] = ()
    no_weight_decay: tuple[str, ...] = ()

    def __init__(self, net: Any, config: Any, given: Spec, name: str) -> None:
        super().__init__()
        size, patch = given.shape["size"], _pair(config.patch_size)
        if given.shape["channels"] != config.num_channels:
            raise ConfigError(
                f"dataset.channels={given.shape['channels']}: model.name={name} sees {config.num_channels}; "
                f"dataset.channels={config.num_channels}"
            )
        if any(length % side for length, side in zip(size, patch, strict=True)):
            raise ConfigError(
                f"dataset.size={list(size)}: model.name={name} cuts images into patches of {patch[0]}; "
                "choose a multiple"
            )
        scale, offset = normaliser(given)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.patch, self.pyramid = patch, config.model_type in PYRAMIDS
        self.own_size = _pair(config.image_size)
        self.moves = "interpolate_pos_encoding" in inspect.signature(net.forward).parameters
        self.has_class = getattr(net.embeddings, "cls_token", None) is not None

    def inputs(self, batch: Batch) -> Tensor:
        """uint8 [B, C, H, W] -> float, normalised."""
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        return torch.addcmul(offset, batch["input"].to(scale.dtype), scale)

    def forward(self, net: nn.Module, x: Tensor, mask: Tensor | None) -> Features:
        """Prepared images [B, C, H, W] -> Features [B, T, D]. Images are never padded, so there is no mask."""
        return Features(net(pixel_values=x, **self._options(x)).last_hidden_state)

    def takes(self, size: tuple[int, int]) -> bool:
        return all(side >= patch and side % patch == 0 for side, patch in zip(size, self.patch, strict=True))

    def _options(self, x: Tensor) -> dict[str, bool]:
        """Positions are moved where the images are not of the model's own size."""
        return {"interpolate_pos_encoding": True} if self.moves and tuple(x.shape[-2:]) != self.own_size else {}

    def maps(self, net: Any, x: Tensor) -> list[Tensor]:
        """Of prepared images: what each stage ends with before it is halved; of a plain transformer its last patches,
        which stand behind all other tokens."""
        if self.pyramid:
            tokens, size = net.embeddings(x, **self._options(x))
            how = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
            stages = net.encoder(tokens, size, **how).reshaped_hidden_states
            return last_of_each_size(list(stages), x)
        high, wide = (side // patch for side, patch in zip(x.shape[-2:], self.patch, strict=True))
        patches = self(net, x, None).tokens[:, -high * wide :].transpose(1, 2)
        return [patches.reshape(*patches.shape[:2], high, wide)]
