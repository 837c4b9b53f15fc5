"""Which parts of an input an answer rests on, by features and by attention. Each method gives a value a position.

Axes: N variants, T tokens, D width, C channels; P the positions of an input: [H, W] of pixels, [T] of ids, [F, M] of
frames and bands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Features
from ptft.models.layers.attention import Attention
from ptft.models.layers.rotary import rotate
from ptft.stages.explain.asked import Asked, Found, Question

PREFIX = 8
"""So many tokens that stand for no place may stand before the others."""


def grad_cam(asked: Asked, question: Question) -> Found | None:
    """Features of the last layer that has places, weighted by the mean of the score's gradient (Selvaraju et al. 2017).

    That layer is the backbone's output where it has a token for every place, else the last convolution whose output has
    more than one. None where there is neither, or where the answer hangs on one token alone.
    """
    with torch.no_grad():
        tokens = asked.backbone(question.x).tokens
    if _grid(tokens.shape[1], question) is not None:
        found: list[Tensor] = []

        def take(output: Features) -> Features:
            found.append(output.tokens.detach().requires_grad_())
            return Features(found[0], output.mask)

        cam = _weighted(asked, question, asked.backbone, take, found, axis=1)
        return None if cam is None else Found(_placed(cam, question))
    convolution = _last_convolution(asked, question)
    if convolution is None:
        return None
    maps: list[Tensor] = []

    def take_maps(output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())
        return maps[0].clone()  # what follows may work in place

    cam = _weighted(asked, question, convolution, take_maps, maps, axis=(2, 3))
    return None if cam is None else Found(_resized(cam, question))


def _weighted(
    asked: Asked,
    question: Question,
    module: nn.Module,
    take: Callable[[Any], Any],
    found: list[Tensor],
    axis: int | tuple[int, int],
) -> Tensor | None:
    """What speaks for the class at each place, never negative; None where all of it is 0."""
    with torch.enable_grad(), asked.replaced(module, take):
        score = asked.score(question.x, question.target).sum()
        (gradient,) = torch.autograd.grad(score, found[0])
    if axis == 1 and int((gradient[0].abs().sum(1) > 0).sum()) < 2:
        return None
    channels = 2 if axis == 1 else 1
    cam = (gradient.mean(axis, keepdim=True) * found[0].detach()).sum(channels)[0].clamp(min=0)
    return cam if bool(cam.any()) else None


def _last_convolution(asked: Asked, question: Question) -> nn.Module | None:
    """The last one to compute whose output [N, C, h, w] has several places."""
    found: list[nn.Module] = []

    def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(module)

    parts = [part for part in asked.backbone.modules() if isinstance(part, nn.Conv2d)]
    handles = [part.register_forward_hook(look) for part in parts]
    try:
        with torch.no_grad():
            asked.backbone(question.x)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found and len(question.positions) == 2 else None


@torch.no_grad()
def attention_rollout(asked: Asked, question: Question) -> Found | None:
    """How much of each token reaches what is pooled: the product of all layers' attention, half of each being the token
    itself (Abnar & Zuidema 2020). It knows no class. None for models that have not ptft's own attention.
    """
    maps = _attention(asked, question)
    if not maps:
        return None
    eye = torch.eye(maps[0].shape[-1], device=maps[0].device)
    rolled = eye
    for attention in maps:
        rolled = (attention + eye) / 2 @ rolled
    pooled = asked.backbone.pool(Features(eye.unsqueeze(0)))[0]  # how much each token counts at the end, [T]
    values = pooled @ rolled
    return Found(_placed(values, question)) if _grid(len(values), question) is not None else None


def _attention(asked: Asked, question: Question) -> list[Tensor]:
    """What each layer's tokens attend to, the mean of its heads, [T, T] each."""
    maps: list[Tensor] = []

    def look(module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        x, mask, rotation = (*inputs, *[None] * 3)[:3]
        mask, rotation = options.get("mask", mask), options.get("rotation", rotation)
        b, t, d = x.shape
        qkv = module.qkv(module.norm(x)).view(b, t, 3, module.heads, d // module.heads)
        query, key, _ = (qkv if rotation is None else rotate(qkv, rotation)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / (d // module.heads) ** 0.5
        if mask is not None and mask.keys is not None:
            scores = scores.masked_fill(~mask.keys, -torch.inf)
        if mask is not None and mask.causal:
            later = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        maps.append(scores.softmax(-1).mean(1)[0].float())

    parts = [part for part in asked.backbone.modules() if isinstance(part, Attention)]
    handles = [part.register_forward_pre_hook(look, with_kwargs=True) for part in parts]
    try:
        asked.backbone(question.x)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def _grid(count: int, question: Question) -> tuple[int, int, int] | None:
    """How many of `count` tokens stand before those of places, and rows and columns of these; None for no grid."""
    if len(question.positions) == 1:
        return (0, question.positions[0], 1) if count == question.positions[0] else None
    height, width = question.positions
    if question.x.ndim == 3:  # frames and bands: tokens follow each other in time
        return (0, count, 1) if 1 < count <= height else None
    for before in range(min(PREFIX, count - 2) + 1):
        rows = round(((count - before) * height / width) ** 0.5)
        if rows and (count - before) % rows == 0:
            columns = (count - before) // rows
            if 0.75 < rows / columns * width / height < 1.34:
                return before, rows, columns
    return None


def _placed(values: Tensor, question: Question) -> Tensor:
    """Of tokens, [T] -> [*P]."""
    grid = _grid(len(values), question)
    assert grid
    before, rows, columns = grid
    values = values[before:]
    return values if len(question.positions) == 1 else _resized(values.view(rows, columns), question)


def _resized(values: Tensor, question: Question) -> Tensor:
    """A coarser map [h, w] -> [*P]."""
    height, width = question.positions
    return F.interpolate(values[None, None].float(), (height, width), mode="bilinear", align_corners=False)[0, 0]
