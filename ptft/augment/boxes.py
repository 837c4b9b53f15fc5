"""Random views of images that their boxes follow, a whole batch at once on its device.

Axes: B batch, C channels, H, W size, M boxes. Boxes are (left, top, right, bottom) in pixels; label -1 is no box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.augment.image import Views
from ptft.errors import ConfigError
from ptft.runtime.together.draws import rand
from ptft.validators import is_number

VISIBLE = 0.25
"""Of a box of which less is seen than this share nothing is to be found."""
LEAST = 1.0
"""Pixels of a box's side, likewise."""
FOLLOWED = ("flip", "color", "padding")
"""Views of a dataset that boxes follow, or that leave them where they are."""
SPLIT = (0.3, 0.7)
"""Where the four images of a mosaic meet, in shares of each side."""


def refuse_others(views: Mapping[str, Any] | None, marks: str = "boxes") -> None:
    """Raises ConfigError for views of the dataset that are on and that boxes, or masks, do not follow."""
    for key, value in (views or {}).items():
        if value and key not in FOLLOWED:
            instead = "objective.views.zoom crops and scales with them"
            raise ConfigError(f"dataset.views.{key}={value}: {marks} do not follow it; {instead}")


class View(NamedTuple):
    """How each image is seen: `zoom` times as large from (`x`, `y`) on, [B] each, mirrored where `mirror` [B] is -1."""

    zoom: Tensor
    x: Tensor
    y: Tensor
    mirror: Tensor


class Geometry(nn.Module):
    """How images are seen that something in them follows: drawn at random.

    flip: mirrors half of the images. zoom: None, or [least, most], how much larger an image is seen, at a random place:
    above 1 a part of it, below all of it on a larger ground. color: as in `augment.image.Views`. What lies outside is
    the mean colour. Raises ConfigError naming `objective.views.KEY`.
    """

    known: ClassVar[tuple[str, ...]] = ("flip", "zoom", "color")

    def __init__(
        self, flip: bool = False, zoom: Sequence[float] | None = None, color: float = 0.0, **unknown: Any
    ) -> None:
        super().__init__()
        for key in unknown:
            raise ConfigError(f"objective.views.{key} does not exist; there are {', '.join(self.known)}")
        if flip not in (True, False):
            raise ConfigError(f"objective.views.flip={flip}: true or false")
        limits = [1, 1] if zoom is None else list(zoom)
        if len(limits) != 2 or not all(map(is_number, limits)) or not 0.1 <= limits[0] <= limits[1] <= 10:
            raise ConfigError(
                f"objective.views.zoom={zoom}: two numbers from 0.1 to 10, the smaller one first; or null"
            )
        self.flip, self.limits = flip, (float(limits[0]), float(limits[1]))
        self.colour = Views(color=color) if color else nn.Identity()

    @property
    def zooms(self) -> bool:
        return self.limits != (1.0, 1.0)

    def _mirror(self, x: Tensor) -> Tensor:
        """-1 for half of the images, where they are flipped, else 1: [B]."""
        ones = torch.ones(len(x), device=x.device)
        return torch.where(rand(len(x), device=x.device) < 0.5, -ones, ones) if self.flip else ones

    def _view(self, x: Tensor, mirror: Tensor) -> View:
        low, high = map(math.log, self.limits)
        chance = rand(3, len(x), device=x.device, rows=1)
        zoom = torch.exp(low + (high - low) * chance[0])
        room = 1 - 1 / zoom  # of each side, what is not seen; below 0 what is seen besides
        return View(zoom, chance[1] * room * x.shape[3], chance[2] * room * x.shape[2], mirror)


class BoxViews(Geometry):
    """Random views of prepared images, float [B, C, H, W], and of their boxes; in evaluation mode the identity.

    mosaic: the share of images that are made of parts of four (Bochkovskiy et al. 2020, "YOLOv4"). Boxes are cut to
    what is seen. geometry: options of `Geometry`. Raises ConfigError naming `objective.views.KEY`.
    """

    known = ("flip", "zoom", "mosaic", "color")

    def __init__(self, *, mosaic: float = 0.0, **geometry: Any) -> None:
        super().__init__(**geometry)
        if not (is_number(mosaic) and 0 <= mosaic <= 1):
            raise ConfigError(f"objective.views.mosaic={mosaic}: a number from 0 to 1")
        self.mosaic = float(mosaic)
        self.draws_alone = bool(mosaic)  # the other parts may be in another process

    def forward(self, x: Tensor, box: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, C, H, W], box float [B, M, 4], label long [B, M] -> the same; four times as many with mosaics."""
        if not self.training:
            return x, box, label
        if self.mosaic:
            x, box, label = mosaics(x, box, label, self.mosaic)
        mirror = self._mirror(x)
        if self.zooms:
            x, box, label = seen(x, box, label, self._view(x, mirror))
        elif self.flip:
            x, box = mirrored(x, box, mirror < 0)
        return self.colour(x), box, label


def mirrored(x: Tensor, box: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Left to right, the images of which `which` (bool [B]) is true, and their boxes."""
    left, top, right, bottom = box.unbind(-1)
    turned = torch.stack([x.shape[3] - right, top, x.shape[3] - left, bottom], -1)
    return torch.where(which[:, None, None, None], x.flip(3), x), torch.where(which[:, None, None], turned, box)


def seen(x: Tensor, box: Tensor, label: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """The images and boxes of a view of each: one bilinear interpolation, the mean colour where there is nothing."""
    height, width = x.shape[2:]
    out = F.grid_sample(x, grid(x, view), align_corners=False)
    offset = torch.stack([view.x, view.y, view.x, view.y], -1).unsqueeze(1)
    moved = (box - offset) * view.zoom[:, None, None]
    left, top, right, bottom = moved.unbind(-1)
    mirror = view.mirror.unsqueeze(1) < 0
    turned = torch.stack(
        [torch.where(mirror, width - right, left), top, torch.where(mirror, width - left, right), bottom], -1
    )
    return out, *cut(turned, label, turned.new_tensor([0, 0, width, height]))


def grid(x: Tensor, view: View) -> Tensor:
    """Where each place of a view comes from, in -1 to 1: [B, H, W, 2]."""
    height, width = x.shape[2:]
    scale, zero = 1 / view.zoom, torch.zeros_like(view.zoom)
    across = torch.stack([scale * view.mirror, zero, scale + 2 * view.x / width - 1], -1)
    down = torch.stack([zero, scale, scale + 2 * view.y / height - 1], -1)
    return F.affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False).to(x.dtype)


def cut(box: Tensor, label: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [B, M, 4] cut to a window, [4] or [B, 1, 4]; those of which little is left have the label -1."""
    low, high = window[..., :2], window[..., 2:]
    inside = torch.cat([box[..., :2].maximum(low).minimum(high), box[..., 2:].maximum(low).minimum(high)], -1)
    sides, before = inside[..., 2:] - inside[..., :2], box[..., 2:] - box[..., :2]
    kept = (sides.prod(-1) >= VISIBLE * before.prod(-1)) & (sides >= LEAST).all(-1)
    return inside, label.masked_fill(~kept, -1)


def mosaics(x: Tensor, box: Tensor, label: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """A share of the images is made of parts of four images, which meet somewhere in the middle; boxes [B, 4 M, 4]."""
    b, _, height, width = x.shape
    chance = rand(3, b, device=x.device, rows=1)
    chosen = chance[0] < share
    low, high = SPLIT
    middle = torch.stack(
        [(low + (high - low) * chance[1]) * width, (low + (high - low) * chance[2]) * height], -1
    ).round()
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    out, boxes, labels = x, list[Tensor](), list[Tensor]()
    for quarter in range(4):
        right, below = quarter % 2 == 1, quarter >= 2
        order = torch.randperm(b, device=x.device) if quarter else torch.arange(b, device=x.device)
        window = _window(middle, right, below, width, height)
        image, own, named = _part(x[order], box[order], label[order], window)
        inside = (columns >= middle[:, :1]) if right else (columns < middle[:, :1])
        inside = inside.unsqueeze(1) & ((rows >= middle[:, 1:]) if below else (rows < middle[:, 1:])).unsqueeze(2)
        out = torch.where((inside & chosen[:, None, None]).unsqueeze(1), image, out)
        boxes.append(torch.where(chosen[:, None, None], own, box))
        labels.append(torch.where(chosen[:, None], named, label if quarter == 0 else -1))
    return out, torch.cat(boxes, 1), torch.cat(labels, 1)


def _window(middle: Tensor, right: bool, below: bool, width: int, height: int) -> Tensor:
    """(left, top, right, bottom) of a quarter, [B, 4]."""
    x, y = middle.unbind(-1)
    zero = torch.zeros_like(x)
    across = (x, zero + width) if right else (zero, x)
    down = (y, zero + height) if below else (zero, y)
    return torch.stack([across[0], down[0], across[1], down[1]], -1)


def _part(x: Tensor, box: Tensor, label: Tensor, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A part of each image, at most whole size and at least what fills its window [B, 4], where that is; cut boxes."""
    height, width = x.shape[2:]
    sides = window[:, 2:] - window[:, :2]
    chance = rand(3, len(x), device=x.device, rows=1)
    least = torch.maximum(sides[:, 0] / width, sides[:, 1] / height)
    zoom = least + (1 - least) * chance[0]
    start_x = chance[1] * (width - sides[:, 0] / zoom) - window[:, 0] / zoom
    start_y = chance[2] * (height - sides[:, 1] / zoom) - window[:, 1] / zoom
    view = View(zoom, start_x, start_y, torch.ones_like(zoom))
    image = F.grid_sample(x, grid(x, view), align_corners=False)
    moved = (box - torch.stack([start_x, start_y, start_x, start_y], -1).unsqueeze(1)) * zoom[:, None, None]
    return image, *cut(moved, label, window.unsqueeze(1))
