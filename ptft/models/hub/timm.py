"""Image networks and public weights of timm, by name (`pip install 'ptft[timm]'`).

Axes: B batch, C channels, H W size, T tokens (patches or grid cells), D width.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ptft.checkpoint import hub, state_dict
from ptft.core import Features, Spec
from ptft.errors import CheckpointError, ConfigError, first_line, not_imported
from ptft.models.hub import timm_inputs
from ptft.models.hub.timm_grids import features_of, grids, regridded
from ptft.models.image.base import ImageBackbone, is_small
from ptft.models.layers.grids import last_of_each_size

BACKBONE = "TimmBackbone"
"""The class that public weights are for."""


class TimmBackbone(ImageBackbone):
    """A classification network of timm without its classifier; `net` keeps timm's parameter names.

    name: e.g. "resnet50" or "vit_small_patch16_224"; a tag after a dot names weights and changes nothing here.
    stem: "original", as published; "small", which keeps the detail of small images: patches of 4 pixels (8 beyond 48)
        where the network has patches and positions, else half the stride of the first convolution and no early
        pooling, which leaves all weights as they are; "auto", small for images up to 64 pixels.
    drop_path: rate of stochastic depth of the last block, growing from 0 at the first (Huang et al. 2016).
    dropout: rate before the classifier. Both of the families that have them; None is timm's own, nearly always 0.

    Features are patches with the class token and its like before them, or grid cells [B, h*w, C]. `pool` gives what
    timm hands to its classifier; `width` is its size. Nothing is downloaded.
    Raises ConfigError naming `model.name`, `model.stem`, `model.drop_path`, `model.dropout` or `dataset.size`.
    """

    def __init__(
        self,
        spec: Spec,
        name: str,
        stem: str = "auto",
        drop_path: float | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__(spec)
        _check_name(name, "model.name=")
        self.name, self.stem = name, stem
        small = is_small(stem, self.size)
        rates = {"model.drop_path": ("drop_path_rate", drop_path), "model.dropout": ("drop_rate", dropout)}
        where = f"model.name={name}: timm can't make it for images of {self.size[0]}×{self.size[1]}×{self.channels}"
        try:
            self.net: Any = _network(name, self.size, self.channels, small, rates)
            features = features_of(self.net.eval(), (1, self.channels, *self.size))
        except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
            first = first_line(error, 150)
            raise ConfigError(f"{where} ({first}); change dataset.size or model.stem") from error
        if not isinstance(features, Tensor) or features.ndim not in (3, 4) or not hasattr(self.net, "forward_head"):
            raise ConfigError(f"model.name={name}: it gives no single grid of features; choose another")
        self.net.train()
        self.last = features.ndim == 3 or getattr(self.net, "output_fmt", "") == "NHWC"  # whether channels come last
        self.grid = () if features.ndim == 3 else tuple(features.shape[1:3] if self.last else features.shape[2:])
        self.width = int(self.net.head_hidden_size)
        fixed = self.net.no_weight_decay() if hasattr(self.net, "no_weight_decay") else ()
        self.no_weight_decay = frozenset(f"net.{name}" for name in fixed)  # type: ignore[misc]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Prepared images [B, C, H, W] -> Features [B, T, C']. Images are never padded, so there is no mask."""
        features = self.net.forward_features(x)
        if not self.grid:
            return Features(features)
        return Features(features.flatten(1, 2) if self.last else features.flatten(2).transpose(1, 2))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What timm calls features: of each resolution, of a plain transformer of its last block."""
        if not hasattr(self.net, "forward_intermediates"):
            return []
        last = 1 if len({info["reduction"] for info in self.net.feature_info}) == 1 else None
        return last_of_each_size(
            self.net.forward_intermediates(x, indices=last, norm=last is not None, intermediates_only=True), x
        )

    def pool(self, features: Features) -> Tensor:
        """[B, D]: what timm hands to its classifier. Cells of an image of another size are pooled as one column."""
        x = features.tokens
        if self.grid:
            grid = self.grid if x.shape[1] == self.grid[0] * self.grid[1] else (x.shape[1], 1)
            shape = (-1, *grid) if not self.last else (*grid, -1)
            x = (x if self.last else x.transpose(1, 2)).reshape(x.shape[0], *shape)
        pooled: Tensor = self.net.forward_head(x, pre_logits=True)
        return pooled.flatten(1)

    def takes(self, size: tuple[int, int]) -> bool:
        """Whatever timm can compute: most grids of cells have any number of them, most positions hold to theirs."""
        try:
            features_of(self.net, (2, self.channels, *size))
        except (ValueError, AssertionError, RuntimeError):
            return False
        return True

    def layers(self) -> list[list[nn.Module]]:
        """timm's own groups (the few without: blocks in order), from stem to last block; norms join the one before.

        A module that several blocks use is in each of them.
        """
        groups: dict[int, list[nn.Module]] = {}
        _collect(self.net, "", _numbered(self.net), groups)
        joined: list[list[nn.Module]] = []
        for index in sorted(groups):
            flat = all(parameter.ndim < 2 for module in groups[index] for parameter in module.parameters())
            if joined and flat:
                joined[-1] += groups[index]
            else:
                joined.append(groups[index])
        return joined

    @classmethod
    def published(cls, options: Mapping[str, Any], weights: Mapping[str, Tensor], path: str) -> Spec | None:
        """As timm's configuration of the network says, or one that lies beside the weights, as on the hub."""
        name = str(options.get("name"))
        _check_name(name, "model.name=")
        config = _timm().get_pretrained_cfg(name, allow_unregistered=True)
        return config and cls.seen(timm_inputs.spec(config, timm_inputs.beside(path, name)), options, weights)

    def first_convolutions(self) -> list[str]:
        """Those that timm names, the first one where it names none."""
        named = self.net.default_cfg.get("first_conv") or ()
        names = [f"net.{name}" for name in ([named] if isinstance(named, str) else named)]
        modules = dict(self.named_modules())
        return [name for name in names if isinstance(modules.get(name), nn.Conv2d)] or super().first_convolutions()

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Interpolates learned positions, absolute or relative in windows, from a square grid to this instance's."""
        return self.adapt_from(weights, None)

    def adapt_from(self, weights: dict[str, Tensor], spec: Spec | None) -> tuple[dict[str, Tensor], list[str]]:
        """As `adapt`, from the grid that images of the Spec's size have in this network, whatever its shape."""
        weights, fitted = super().adapt(weights)
        before = {} if spec is None else self._grids_at(spec)
        resized = {}
        for name, (grid, own) in grids(self.net).items():
            old = weights.get(f"net.{name}")
            if old is None or old.ndim != own.ndim or (old.shape == own.shape and before.get(name, grid) == grid):
                continue
            flat, like = (old, own) if own.ndim == 2 else (old[0], own[0])
            first = 0 if own.ndim == 2 else own.shape[1] - grid[0] * grid[1]
            moved = regridded(flat, like, grid, first, before.get(name))
            resized[f"net.{name}"] = moved if own.ndim == 2 else moved.unsqueeze(0)
        return {**weights, **resized}, [*fitted, *resized]

    def _grids_at(self, spec: Spec) -> dict[str, tuple[int, int]]:
        """The grids of this network's positions at the Spec's size of images; none where it can't be made for it."""
        size = (int(spec.shape["size"][0]), int(spec.shape["size"][1])) if "size" in spec.shape else self.size
        if size == self.size:
            return {}
        try:
            with torch.device("meta"):
                net = _network(self.name, size, self.channels, is_small(self.stem, size), {})
        except (ConfigError, TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError):
            return {}
        return {name: grid for name, (grid, _) in grids(net).items()}


def _timm() -> Any:
    """The package. Raises ConfigError naming the extra where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        needs = "model=timm and ckpt=timm:NAME need the package timm"
        raise not_imported(needs, "timm", "'ptft[timm]'", error) from error


def _check_name(name: str, key: str) -> None:
    """Raises ConfigError with the nearest names for a network that timm does not have. `key`: what the user typed."""
    timm = _timm()
    architecture, _, tag = str(name).partition(".")
    if not timm.is_model(architecture) or (tag and name not in timm.list_pretrained(f"{architecture}.*")):
        among = timm.list_pretrained(f"{architecture}.*") if tag else timm.list_models()
        near = ", ".join(difflib.get_close_matches(str(name), among or timm.list_models(), 5, 0.4)) or "none"
        raise ConfigError(f"{key}{name} is no network of this timm ({timm.__version__}); nearest: {near}")


def _network(
    name: str, size: tuple[int, int], channels: int, small: bool, rates: dict[str, tuple[str, float | None]]
) -> Any:
    timm = _timm()
    with torch.device("meta"):
        published = timm.create_model(name, num_classes=0)  # without memory: to see what it takes
    takes = inspect.signature(type(published).__init__).parameters
    options: dict[str, Any] = {}
    for key, (option, rate) in rates.items():
        if rate is not None and option not in takes:
            raise ConfigError(f"{key}={rate}: timm's {name} has no such option; set it to null")
        options |= {} if rate is None else {option: rate}
    fixed = "img_size" in takes and published.default_cfg.get("fixed_input_size", False)
    options |= {"img_size": size} if fixed else {}
    patch = getattr(getattr(published, "patch_embed", None), "patch_size", None)
    if fixed and patch:
        side = patch if isinstance(patch, int) else patch[0]
        fine = 4 if max(size) <= 48 else 8
        if small and side > fine and "patch_size" in takes:
            side = options["patch_size"] = fine
        if any(length % side for length in size):
            raise ConfigError(
                f"dataset.size={list(size)}: {name} cuts images into patches of {side}; choose a multiple"
            )
    net = timm.create_model(name, in_chans=channels, num_classes=0, **options)
    if small and not fixed:
        _small_stem(net)
    return net


def _small_stem(net: Any) -> None:
    """Half the stride of the first convolutions, and no pooling right after the stem."""
    named = net.default_cfg.get("first_conv") or ()
    for name in [named] if isinstance(named, str) else named:
        module = net.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            if module.kernel_size == module.stride:  # patches, which overlap from now on
                module.padding = (module.stride[0] // 4, module.stride[1] // 4)
            module.stride = (max(1, module.stride[0] // 2), max(1, module.stride[1] // 2))
    if isinstance(getattr(net, "maxpool", None), nn.MaxPool2d):
        net.maxpool = nn.Identity()


def _numbered(net: Any) -> dict[str, int]:
    """The number of the layer of every parameter, from input to output."""
    if hasattr(net, "group_matcher"):
        from timm.models import group_parameters

        numbered: dict[str, int] = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
        return numbered
    blocks: dict[str, int] = {}
    return {
        name: blocks.setdefault(re.match(r"[^.]+(\.\d+)?", name)[0], len(blocks))  # type: ignore[index]
        for name, _ in net.named_parameters()
    }


def _collect(module: nn.Module, path: str, numbered: dict[str, int], groups: dict[int, list[nn.Module]]) -> None:
    """Puts the largest modules whose parameters are all of one layer there; a parameter between such is in none."""
    names = (f"{path}{name}" for name, _ in module.named_parameters())
    layers = {numbered[name] for name in names if name in numbered}  # one that two modules share has one name
    whole = path and not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential)
    leaf = next(module.children(), None) is None
    if len(layers) == 1 and (whole or leaf):
        groups.setdefault(layers.pop(), []).append(module)
    elif layers:
        for name, child in module.named_children():
            _collect(child, f"{path}{name}.", numbered, groups)


def public_options(name: str) -> dict[str, str | None]:
    """What builds the model that `public_weights` are for."""
    return {"name": name, "stem": "original", "drop_path": None, "dropout": None}


def public_weights(name: str) -> tuple[dict[str, Tensor], Spec]:
    """timm's weights of `name` (its best where the name has no tag), and what they expect of images.

    The state dict is that of `TimmBackbone(spec, name, stem="original")`, without the classifier. The Spec has the
    size, channels, mean and std that timm gives, and the names of the classes where timm knows them.
    Raises ConfigError for an unknown name, CheckpointError for a file that is missing or damaged.
    """
    _check_name(name, "ckpt=timm:")
    timm = _timm()
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.has_weights:
        near = ", ".join(timm.list_pretrained(f"{name.split('.')[0][:6]}*")[:5]) or "none"
        raise ConfigError(f"ckpt=timm:{name}: timm has no weights of it; it has, e.g., {near}")
    full = f"{name.split('.')[0]}.{config.tag}" if config.tag else name
    path = hub.of_hub(full, config.hf_hub_id, config.hf_hub_filename) if config.hf_hub_id else hub.cached(config.url)
    overlay = {"state_dict": state_dict.read(path)[0], "custom_load": False}
    try:
        net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"ckpt=timm:{name}: {path} holds other weights: remove it and run again") from error
    if net.num_classes:
        net.reset_classifier(0)
    spec = replace(timm_inputs.spec(config), classes=timm_inputs.classes(config))
    return {f"net.{key}": value for key, value in net.state_dict().items()}, spec
