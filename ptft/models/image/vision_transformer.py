"""Vision transformer of any patch and image size (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words").

Axes: B batch, C channels, H height, W width, T tokens (patches, row by row), D width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features, Spec, TokenBackbone
from ptft.errors import CheckpointError, ConfigError
from ptft.models.image.base import ImageBackbone
from ptft.models.layers.attention import AttentionMask, vit_block
from ptft.models.layers.drop_path import drop_path_rates
from ptft.models.layers.positions import resize_positions, sine_positions


class VisionTransformer(ImageBackbone, TokenBackbone):
    """Pre-norm ViT with learned positions, which begin as sines and are interpolated for images of another size.

    patch: its side in pixels; None: 4 for images up to 48 pixels, 8 up to 96, 16 beyond.
    width, depth, heads, mlp_ratio: its size. dropout: on branches and in the MLP.
    drop_path: rate of stochastic depth of the last block, growing linearly from 0 at the first.
    pool: "mean" over the patches (Beyer et al. 2022, "Better plain ViT baselines"), or "cls", a class token.
    prefix: how many tokens of the output are no patches (1 with a class token, which is then the first).
    Raises ConfigError where the patch does not divide the image, or an option can't work.
    """

    no_weight_decay: ClassVar[frozenset[str]] = frozenset({"positions", "class_token"})

    def __init__(
        self,
        spec: Spec,
        patch: int | None = None,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        pool: str = "mean",
    ) -> None:
        super().__init__(spec)
        self.patch = patch or auto_patch(max(self.size))
        _check(self.size, self.patch, width, depth, heads, pool, {"dropout": dropout, "drop_path": drop_path})
        self.width = width
        self.grid = (self.size[0] // self.patch, self.size[1] // self.patch)
        self.prefix, self.cell = int(pool == "cls"), (self.patch, self.patch)
        self.patches = nn.Conv2d(self.channels, width, self.patch, stride=self.patch)
        self.positions = nn.Parameter(torch.empty(*self.grid, width))
        self.class_token = nn.Parameter(torch.zeros(width)) if self.prefix else None
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(vit_block(width, heads, mlp_ratio, dropout, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        # As strong as the patches, and with neighbours alike, from the first step on (Beyer et al. 2022): from noise,
        # masked images took several times as many steps until their shown patches knew where they are.
        with torch.no_grad():
            self.positions.copy_(sine_positions(self.grid, self.width))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                # Both are linear maps of a patch or token: unit variance in, unit variance out (Glorot & Bengio 2010).
                nn.init.xavier_uniform_(module.weight.flatten(1))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def embed(self, x: Tensor) -> Tensor:
        """Prepared images [B, C, H, W] -> their patches with positions, [B, T, D], without the class token."""
        patches: Tensor = self.patches(x)
        positions = resize_positions(self.positions, (patches.shape[2], patches.shape[3]))
        return patches.flatten(2).transpose(1, 2) + positions.flatten(0, 1)

    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> Features:
        """Any choice of embedded patches [B, T, D] -> Features [B, prefix + T, D]; mask: bool [B, T], True = real."""
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(tokens.shape[0], 1, -1), tokens], dim=1)
            mask = mask if mask is None else F.pad(mask, (1, 0), value=True)
        attention_mask = AttentionMask.of(mask)
        for block in self.blocks:
            tokens = block(tokens, attention_mask)
        return Features(self.norm(tokens), mask)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Prepared images [B, C, H, W], and a mask over their patches if some are not to be seen -> Features."""
        return self.encode(self.embed(x), mask)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The patches of the last block: one map, whose stride is the patch."""
        patches = self(x).tokens[:, self.prefix :].transpose(1, 2)
        return [patches.reshape(*patches.shape[:2], x.shape[-2] // self.patch, x.shape[-1] // self.patch)]

    def pool(self, features: Features) -> Tensor:
        """[B, D]: the class token, or the mean over real patches."""
        return features.tokens[:, 0] if self.prefix else super().pool(features)

    def takes(self, size: tuple[int, int]) -> bool:
        return all(side >= self.patch and side % self.patch == 0 for side in size)

    def layers(self) -> list[list[nn.Module]]:
        blocks: list[list[nn.Module]] = [[block] for block in self.blocks]
        blocks[-1].append(self.norm)
        return [[self.patches], *blocks]

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Interpolates `positions` to this instance's grid, after what every image backbone fits.

        Raises CheckpointError where the patches differ.
        """
        patches = weights.get("patches.weight")
        if patches is not None and patches.ndim == 4 and patches.shape[-1] != self.patch:
            raise CheckpointError(
                f"model.patch={self.patch}: the checkpoint's patches are of {patches.shape[-1]} pixels; "
                f"add model.patch={patches.shape[-1]}"
            )
        weights, resized = super().adapt(weights)
        old = weights.get("positions")
        if old is None or old.ndim != 3 or tuple(old.shape[:2]) == self.grid:
            return weights, resized
        return {**weights, "positions": resize_positions(old, self.grid)}, [*resized, "positions"]


def auto_patch(side: int) -> int:
    """The patch that gives images of `side` pixels some 50 to 200 tokens."""
    return 4 if side <= 48 else 8 if side <= 96 else 16


def _check(
    size: tuple[int, int], patch: int, width: int, depth: int, heads: int, pool: str, rates: dict[str, float | None]
) -> None:
    if patch < 1 or any(side % patch for side in size):
        raise ConfigError(
            f"dataset.size={list(size)} can't be cut into patches of model.patch={patch}: "
            "set one of the two so that it divides"
        )
    if min(width, depth, heads) < 1 or width % heads:
        raise ConfigError(
            f"model.width={width}, model.depth={depth}, model.heads={heads}: above 0, and heads must divide width"
        )
    if pool not in ("mean", "cls"):
        raise ConfigError(f"model.pool={pool}: choose mean or cls")
    for key, rate in rates.items():
        if rate is None or not 0 <= rate < 1:
            raise ConfigError(f"model.{key}={rate}: from 0 to below 1")
