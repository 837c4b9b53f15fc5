"""Networks and public weights of torchvision, by name. Axes: B batch, C channels, H W size, T cells, D width."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from ptft.checkpoint import hub
from ptft.core import Features, Spec
from ptft.data.image.reader import shape
from ptft.errors import CheckpointError, ConfigError
from ptft.models.hub.torchvision_families import FAMILIES, Family
from ptft.models.image.base import ImageBackbone, is_small, too_small
from ptft.models.layers.grids import last_of_each_size
from ptft.models.layers.positions import resize_positions

BACKBONE = "TorchvisionBackbone"
"""The class that public weights are for."""


BLOCKS = {
    *("BasicBlock", "Bottleneck", "CNBlock", "MBConv", "FusedMBConv"),
    *("InvertedResidual", "ResBottleneckBlock", "_DenseLayer", "EncoderBlock"),
}
NESTED = ("features", "trunk_output")
"""Parts of a trunk that are made of stages."""
POSITIONS = "net.encoder.pos_embedding"


class TorchvisionBackbone(ImageBackbone):
    """A classification network of torchvision without its last Linear; `net` keeps torchvision's parameter names.

    name: e.g. "resnet50", of the families above.
    stem: "original", as published; "small", which keeps the detail of small images: ResNet and DenseNet 3x3 with stride
        1 and no early pooling, ConvNeXt patches of 2, ViT patches of 4 (8 beyond 48 pixels), others stride 1 instead
        of 2; "auto", small for images up to 64 pixels. The first convolution takes the Spec's channels.
    drop_path: rate of stochastic depth of the last block, growing from the first (Huang et al. 2016), of ConvNeXt and
        EfficientNet. dropout: of EfficientNet, MobileNet, DenseNet and ViT. None leaves both as published.

    Features are grid cells [B, h*w, C]; for ViT the class token, then the patches. `pool` takes the mean of the cells
    (ViT: the class token) through what stands before the last Linear (ConvNeXt's norm, MobileNetV3's hidden layer,
    dropout), so that backbone and Linear together are exactly the published network. `width` is the size after that.
    Raises ConfigError naming `model.name`, `model.stem`, `model.drop_path`, `model.dropout` or `dataset.size`.
    """

    no_weight_decay: ClassVar[frozenset[str]] = frozenset({"net.class_token", POSITIONS})

    def __init__(
        self,
        spec: Spec,
        name: str,
        stem: str = "auto",
        drop_path: float | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__(spec)
        self.family = _family(name, "model.name=")
        small = is_small(stem, self.size)
        self.least = self.family.least[0 if small else 1]
        if min(self.size) < self.least:
            raise too_small(name, self.size, self.least)
        build = _vit if name.startswith("vit_") else _convolutional
        rates = _rates(name, self.family, drop_path=drop_path, dropout=dropout)
        self.net: Any = build(name, self.family, self.size, self.channels, small, rates)
        last = _last_linear(self.net, self.family)
        self.width = int(self.net.get_submodule(last).in_features)
        self.net.set_submodule(last, nn.Identity())

    @classmethod
    def published(cls, options: Mapping[str, Any], weights: Mapping[str, Tensor], path: str) -> Spec | None:
        """As torchvision says of its weights in a file of this name, else of its best ones."""
        name = str(options.get("name"))
        _family(name, "model.name=")
        entries = models.get_model_weights(name)
        of_file = [one for one in entries if one.url.rsplit("/", 1)[1] == Path(path).name]
        return cls.seen(_spec((of_file or [entries.DEFAULT])[0]), options, weights)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Prepared images [B, C, H, W] -> Features [B, T, C']. Images are never padded, so there is no mask."""
        if not self.family.trunk:
            return Features(self._encode(x))
        for part in self.family.trunk:
            x = getattr(self.net, part)(x)
        x = F.relu(x) if self.family.relu else x
        return Features(x.flatten(2).transpose(1, 2))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the trunk ends each resolution with; of a ViT the patches."""
        if not self.family.trunk:
            side = int(self.net.patch_size)
            patches = self._encode(x)[:, 1:].transpose(1, 2)
            return [patches.reshape(*patches.shape[:2], x.shape[-2] // side, x.shape[-1] // side)]
        stages, image = list[Tensor](), x
        for part in self.family.trunk:
            module = getattr(self.net, part)
            for step in module.children() if part in NESTED else (module,):
                x = step(x)
                stages.append(x)
        stages[-1] = F.relu(x) if self.family.relu else x
        return last_of_each_size(stages, image)

    def _encode(self, x: Tensor) -> Tensor:
        patches = self.net.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.net.class_token.expand(x.shape[0], -1, -1), patches], dim=1)
        encoded: Tensor = self.net.encoder(tokens)  # adds the positions
        return encoded

    def pool(self, features: Features) -> Tensor:
        """[B, D]: what torchvision hands to its last Linear."""
        x = features.tokens.mean(1) if self.family.trunk else features.tokens[:, 0]
        pooled: Tensor = getattr(self.net, self.family.head)(x[:, :, None, None] if self.family.spatial else x)
        return pooled

    def takes(self, size: tuple[int, int]) -> bool:
        """Grid cells may be any number; a ViT of torchvision holds to one size."""
        return size == self.size or (bool(self.family.trunk) and min(size) >= self.least)

    def layers(self) -> list[list[nn.Module]]:
        """One group per residual block (DenseNet: dense layer), stem and transition; norms join what they follow."""
        groups: list[list[nn.Module]] = []
        for unit in _units(self.net):
            if groups and all(parameter.ndim < 2 for parameter in unit.parameters()):
                groups[-1].append(unit)
            else:
                groups.append([unit])
        return groups

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Interpolates a ViT's positions to this instance's grid; the class token's stays."""
        weights, fitted = super().adapt(weights)
        old = weights.get(POSITIONS)
        if self.family.trunk or old is None or old.shape == self.net.encoder.pos_embedding.shape:
            return weights, fitted
        before = round((old.shape[1] - 1) ** 0.5)
        after = self.size[0] // int(self.net.patch_size)
        resized = resize_positions(old[0, 1:].view(before, before, -1), (after, after)).flatten(0, 1)
        return {**weights, POSITIONS: torch.cat([old[:, :1], resized.unsqueeze(0)], dim=1)}, [*fitted, POSITIONS]


def names() -> list[str]:
    """The networks of torchvision that this wrapper knows, sorted."""
    listed = models.list_models(module=models)
    return [name for name in listed if any(re.match(pattern, name) for pattern in FAMILIES)]


def _family(name: str, key: str) -> Family:
    """The family of a name; raises ConfigError with the nearest names and all of them. `key`: what the user typed."""
    all_names = names()
    if name not in all_names:
        near = ", ".join(difflib.get_close_matches(str(name), all_names)) or "none"
        raise ConfigError(f"{key}{name} is no network that ptft knows; nearest: {near}; all: {', '.join(all_names)}")
    return next(family for pattern, family in FAMILIES.items() if re.match(pattern, name))


def _rates(name: str, family: Family, **typed: float | None) -> dict[str, float]:
    """torchvision's options for the rates that were given. Raises ConfigError for one that the family does not have."""
    for key, rate in typed.items():
        if rate is not None and not getattr(family, key):
            raise ConfigError(f"model.{key}={rate}: torchvision's {name} has no such option; set it to null")
    return {getattr(family, key): rate for key, rate in typed.items() if rate is not None}


def _convolutional(
    name: str, family: Family, size: tuple[int, int], channels: int, small: bool, rates: dict[str, float]
) -> Any:
    net: Any = models.get_model(name, weights=None, **rates)
    old: Any = net.get_submodule(family.first)
    if small:
        padding = (family.kernel - 1) // 2
        net.set_submodule(family.first, _like(old, channels, family.kernel, family.stride, padding))
    elif channels != old.in_channels:
        net.set_submodule(family.first, _like(old, channels, old.kernel_size, old.stride, old.padding))
    if small and family.early_pool:
        net.set_submodule(family.early_pool, nn.Identity())
    return net


def _vit(name: str, family: Family, size: tuple[int, int], channels: int, small: bool, rates: dict[str, float]) -> Any:
    side, published = max(size), int(name.rsplit("_", 1)[1])
    patch = (4 if side <= 48 else 8) if small else published
    if size != (side, side) or side % patch:
        raise ConfigError(
            f"dataset.size={list(size)}: {name} with patches of {patch} takes square images of a multiple of {patch} "
            "pixels; change dataset.size, or model.stem (small or original) for other patches"
        )
    # The published patch on an image of as many patches gives the right number of positions.
    net: Any = models.get_model(name, weights=None, image_size=side // patch * published, **rates)
    if patch != published or channels != 3:
        net.set_submodule(family.first, _like(net.get_submodule(family.first), channels, patch, patch, 0))
    net.patch_size = patch
    return net


def _like(old: Any, channels: int, kernel: Any, stride: Any, padding: Any) -> nn.Conv2d:
    """A convolution of other channels and kernel, initialised as torchvision does (He et al. 2015; ViT: fan in)."""
    bias = old.bias is not None
    new = nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=bias)
    if new.bias is None:
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.trunc_normal_(new.weight, std=new.weight[0].numel() ** -0.5)
        nn.init.zeros_(new.bias)
    return new


def _last_linear(net: nn.Module, family: Family) -> str:
    """Path of the classifier proper: the head, or the last of its layers."""
    children = [name for name, _ in net.get_submodule(family.head).named_children()]
    return f"{family.head}.{children[-1]}" if children else family.head


def _units(module: nn.Module) -> list[nn.Module]:
    """The blocks of a network, and the largest modules with parameters between them, from input to output."""
    is_block = type(module).__name__ in BLOCKS
    if is_block or not any(type(inner).__name__ in BLOCKS for inner in module.modules()):
        return [module] if next(module.parameters(), None) is not None else []
    return [unit for child in module.children() for unit in _units(child)]


def public_weights(name: str) -> tuple[dict[str, Tensor], Spec]:
    """torchvision's best public weights of `name`, and what they expect of images.

    The state dict is exactly that of `TorchvisionBackbone(spec, name, stem="original")`: the last Linear is left out.
    The Spec has torchvision's input size, mean and std, and the class names that the weights were trained on.
    Raises ConfigError for an unknown name, CheckpointError for a file that is missing or damaged.
    """
    family = _family(name, "ckpt=torchvision:")
    weights = models.get_model_weights(name).DEFAULT
    path = hub.cached(weights.url)
    state = _modern(hub.read(path))
    linears = [key for key in state if key.startswith(family.head) and key.endswith(".weight")]
    if not linears:
        raise CheckpointError(f"ckpt=torchvision:{name}: {path} holds other weights: remove it and run again")
    last = linears[-1].removesuffix("weight")
    state = {f"net.{key}": value for key, value in state.items() if not key.startswith(last)}
    return state, replace(_spec(weights), classes=tuple(weights.meta["categories"]))


def _spec(weights: Any) -> Spec:
    """How images were prepared, of some of torchvision's weights."""
    preset = weights.transforms()
    side, whole = preset.crop_size[0], preset.resize_size[0]
    fitted = shape((side, side), 3, "crop", side / whole, preset.interpolation.value)
    return Spec("image", fitted, mean=tuple(preset.mean), std=tuple(preset.std))


def public_options(name: str) -> dict[str, str | None]:
    """What builds the model that `public_weights` are for."""
    return {"name": name, "stem": "original", "drop_path": None, "dropout": None}


def _modern(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of today for files from before 2019: DenseNet's had dots inside, batch norms did not count batches."""
    dotted = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    modern = {}
    for key, value in state.items():
        match = dotted.fullmatch(key)
        modern[match[1] + match[2] if match else key] = value
    for key in [key for key in modern if key.endswith(".running_mean")]:
        modern.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return modern
