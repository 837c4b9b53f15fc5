"""Masked autoencoder objective (He et al. 2021): the pixels of hidden patches, from the shown ones.

Axes: B batch, T patches, S of them shown, N hidden, D the backbone's width, W the decoder's, P values of a patch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ptft.core import LEAST_LOSS, Backbone, Spec, Step, TokenBackbone
from ptft.errors import ConfigError
from ptft.models.layers.attention import vit_block
from ptft.models.layers.positions import sine_positions
from ptft.objectives.self_supervised.base import Unlabelled
from ptft.runtime.together.draws import rand


class MAE(Unlabelled):
    """Predicts the pixels of hidden patches; the loss counts patches, each with the mean squared error of its pixels.

    The backbone encodes the shown patches only. A light decoder sees them, and in the place of each hidden one a
    learned token, all with fixed sine positions.

    mask_ratio: share of the patches that are hidden, exact in every image: round(T * mask_ratio), at least 1 and at
        most T - 1.
    normalize: predict a patch's pixels less their mean and divided by their standard deviation (section 4.1).
    decoder_width, decoder_depth, decoder_heads: the decoder's size.
    options: those of `Unlabelled`.
    Raises ConfigError for a backbone that can't encode some of an image's patches, and for options that can't work.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    capturable: ClassVar[bool] = True
    backbone: TokenBackbone

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        mask_ratio: float = 0.75,
        normalize: bool = True,
        decoder_width: int = 128,
        decoder_depth: int = 2,
        decoder_heads: int = 4,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        self.monitor = dict(LEAST_LOSS)  # kNN tells little of how it finetunes (He et al. 2021, section 4.3)
        if not isinstance(backbone, TokenBackbone):
            raise ConfigError(
                f"objective=mae: model {type(backbone).__name__} can't encode some patches of an image alone; "
                "choose model=vit_tiny or model=vit_small"
            )
        self.patch = backbone.cell[0]
        height, width = (int(side) // self.patch for side in spec.shape["size"])
        self.tokens, self.normalize = height * width, normalize
        if not 0 < mask_ratio < 1 or self.tokens < 2:
            raise ConfigError(
                f"objective.mask_ratio={mask_ratio}: between 0 and 1, of at least 2 patches; images of "
                f"dataset.size={list(spec.shape['size'])} have {self.tokens} of model.patch={self.patch}"
            )
        self.hidden = min(max(round(self.tokens * mask_ratio), 1), self.tokens - 1)
        values = self.patch**2 * int(spec.shape["channels"])
        self.decoder = PixelDecoder(backbone, (height, width), values, decoder_width, decoder_depth, decoder_heads)

    def learn(self, x: Tensor) -> Step:
        x = self.views(x)
        shown, hidden = self.masks(x)
        features = self.backbone.encode(chosen(self.backbone.embed(x), shown))
        predicted = self.decoder(features.tokens, shown, hidden)
        error = (predicted.float() - self.targets(x, hidden)).square().mean(2)
        count = torch.full((), error.numel(), device=x.device)
        if self.training:
            return Step(error.sum(), count, {})
        each = {"total": error.sum(1), "count": torch.full_like(error[:, 0], error.shape[1])}
        return Step(error.sum(), count, {}, each=each)

    def masks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which patches of [B, …] are shown and which hidden: long [B, S] and [B, N], S + N = T, in random order."""
        order = rand(len(x), self.tokens, device=x.device).argsort(dim=1)
        return order[:, self.hidden :], order[:, : self.hidden]

    def targets(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Prepared images [B, C, H, W] -> the pixels of their hidden patches, float32 [B, N, P]."""
        pixels = chosen(patchify(x, self.patch).float(), hidden)
        if not self.normalize:
            return pixels
        variance, mean = torch.var_mean(pixels, dim=2, keepdim=True, correction=0)
        return (pixels - mean) / (variance + 1e-6).sqrt()  # a blank patch has no spread, and stays 0


class PixelDecoder(nn.Module):
    """A few transformer blocks over all patches of an image, and one Linear to the pixels of the hidden ones."""

    positions: Tensor

    def __init__(
        self, backbone: TokenBackbone, grid: tuple[int, int], values: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        if min(width, depth, heads) < 1 or width % heads or width % 4:
            raise ConfigError(
                f"objective.decoder_width={width}, objective.decoder_depth={depth}, objective.decoder_heads={heads}: "
                "above 0, and heads and 4 must divide width"
            )
        self.prefix = backbone.prefix
        self.project = nn.Linear(backbone.width, width)
        self.hidden_token = nn.Parameter(torch.empty(width))
        self.blocks = nn.ModuleList(vit_block(width, heads, 4.0, 0.0, 0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pixels = nn.Linear(width, values)
        self.register_buffer("positions", sine_positions(grid, width).flatten(0, 1), persistent=False)
        nn.init.normal_(self.hidden_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, shown: Tensor, hidden: Tensor) -> Tensor:
        """Encoded [B, prefix + S, D] and the places of shown [B, S] and hidden patches [B, N] -> [B, N, P]."""
        encoded = self.project(tokens)
        unknown = self.hidden_token.to(encoded.dtype).expand(*hidden.shape, -1)
        # Attention knows places only by the positions, so the patches need not go back into the order of the image.
        places = self.positions[torch.cat([shown, hidden], dim=1)].to(encoded.dtype)
        prefix, rest = encoded.split([self.prefix, shown.shape[1]], dim=1)
        x = torch.cat([prefix, torch.cat([rest, unknown], dim=1) + places], dim=1)
        for block in self.blocks:
            x = block(x)
        predicted: Tensor = self.pixels(self.norm(x[:, -hidden.shape[1] :]))
        return predicted


def chosen(tokens: Tensor, index: Tensor) -> Tensor:
    """[B, T, D] at the places [B, N] -> [B, N, D]."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def patchify(x: Tensor, patch: int) -> Tensor:
    """[B, C, H, W] -> the patches row by row, [B, T, P], each its channels, then rows, then columns."""
    b, c, h, w = x.shape
    cells = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(b, (h // patch) * (w // patch), c * patch * patch)
