"""Random views of a batch on its device, and mixtures of its examples; no loops over samples.

Axes: B batch, C channels, H W size, K classes. Randomness: `ptft.runtime.together.draws`, independent rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.augment.filters import blurred, filtered, solarized
from ptft.errors import ConfigError
from ptft.runtime.together.draws import rand, randint
from ptft.validators import is_number

LIMITS: dict[str, tuple[float, float]] = {"shift": (0, 10_000), "rotate": (0, 180), "scale": (0, 0.9)}
LIMITS |= {"shear": (0, 60), "color": (0, 1), "erase": (0, 1), "grey": (0, 1), "blur": (0, 1), "solarize": (0, 1)}
# RandAugment's operations, and their levels at magnitude 10 (Cubuk et al. 2019, "AutoAugment", table 6;
# Pillow smooths by 9/13 of the way to the mean of 3x3, so does sharpness here).
OPS = ["identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"]
OPS += ["brightness", "contrast", "saturation", "sharpness", "solarize", "posterize"]
LEVELS = (0.0, math.radians(30), 0.3, 0.3, 0.45, 0.45, 0.9, 0.9, 0.9, 0.9 * 9 / 13, 1.0, 4.0)


class Views(nn.Module):
    """Random views of a prepared batch, float [B, C, H, W] -> the same shape, or that of `size`.

    In evaluation mode the identity.

    shift: up to so many pixels in each direction; whole pixels, without blur, unless other geometry is on as well.
    flip: mirrors half of the images, left to right. rotate, shear: up to so many degrees. scale: up to so large a
        fraction larger or smaller. crop: smallest area of a random resized crop with 3/4 to 4/3 of the image's aspect
        (Szegedy et al. 2015, section 6), or [smallest, largest], null = off. All geometry is one bilinear
        interpolation. size: (H, W) of the views, null = the images' own; shifts count in pixels of the images.
    color: strength, 0 to 1, of changes of brightness (in standard deviations), contrast and saturation (factors).
    grey, blur, solarize: probabilities that an image loses its colours, is smoothed, and is inverted where it is
        brighter than the middle of its range (Chen et al. 2020, appendix A; Grill et al. 2020, appendix B).
    erase: probability that a box of 2 to 33 % of the image is filled with the mean colour (Zhong et al. 2020).
    randaugment: null or {ops: N, magnitude: M}, M from 0 to 10 (Cubuk et al. 2020): each sample gets N different ones
        of `OPS` with random signs. Geometry comes first, then colour, then sharpness, solarize and posterize, the last
        two within the image's own range of values, for a prepared image has forgotten where black and white were.
    padding: what lies outside an image: "border" goes on with its edge, right for digits on a plain background;
        "reflection" mirrors it, often better for photos; "zeros" is the dataset's mean colour.
    Raises ConfigError naming `objective.views.KEY`.
    """

    levels: Tensor

    def __init__(
        self,
        *,
        shift: int = 0,
        flip: bool = False,
        rotate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        crop: float | Sequence[float] | None = None,
        color: float = 0.0,
        erase: float = 0.0,
        grey: float = 0.0,
        blur: float = 0.0,
        solarize: float = 0.0,
        randaugment: Mapping[str, float] | None = None,
        padding: str = "border",
        size: tuple[int, int] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        for key in unknown:
            raise ConfigError(
                f"objective.views.{key} does not exist; there are {', '.join(LIMITS)}, crop, flip, randaugment, padding"
            )
        self.crop = _areas(crop)
        numbers = (shift, rotate, scale, shear, color, erase, grey, blur, solarize)
        for key, number in zip(LIMITS, numbers, strict=True):
            _check(f"objective.views.{key}", number, *LIMITS[key], whole=key == "shift")
        if not isinstance(flip, bool):
            raise ConfigError(f"objective.views.flip={flip}: true or false")
        if padding not in ("border", "reflection", "zeros"):
            raise ConfigError(f"objective.views.padding={padding}: choose border, reflection or zeros")
        self.shift, self.flip, self.padding = shift, flip, padding
        self.rotate, self.shear = math.radians(rotate), math.radians(shear)
        self.scale, self.color, self.erase, self.size = scale, color, erase, size
        self.grey, self.blur, self.solarize = grey, blur, solarize
        self.ops, levels = _policy(randaugment)
        self.register_buffer("levels", levels, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] -> a new view of every sample; the batch itself is left as it is."""
        if not self.training:
            return x
        picked = self._pick(x) if self.ops else {}
        if self.rotate or self.scale or self.shear or self.crop[0] < 1 or self.ops or self.size:
            x = self._warp(x, picked)
        elif self.shift or self.flip:
            x = self._move(x)
        if self.color or self.grey or self.ops:
            x = self._recolour(x, picked)
        if self.ops:
            x = filtered(x, picked)
        if self.blur:
            x = blurred(x, self.blur)
        if self.solarize:
            x = solarized(x, self.solarize)
        return self._erase(x) if self.erase else x

    def _pick(self, x: Tensor) -> dict[str, Tensor]:
        """RandAugment's choice: signed levels [B] of every operation, 0 where it was not picked."""
        # The values below N in a random permutation stand at N random places.
        picked = rand(len(x), len(OPS), device=x.device).argsort(dim=1) < self.ops
        levels = picked * self.levels * (rand(len(x), len(OPS), device=x.device) - 0.5).sign()
        return dict(zip(OPS, levels.unbind(1), strict=True))

    def _move(self, x: Tensor) -> Tensor:
        """Shift and flip by whole pixels: one gather."""
        b, c, h, w = x.shape
        moved = randint(2 * self.shift + 1, 2, b, 1, device=x.device, rows=1) - self.shift
        rows, columns = torch.arange(h, device=x.device) + moved[0], torch.arange(w, device=x.device) + moved[1]
        if self.flip:
            columns = torch.where(rand(b, 1, device=x.device) < 0.5, w - 1 - columns, columns)
        (rows, inside_rows), (columns, inside_columns) = _fold(rows, h, self.padding), _fold(columns, w, self.padding)
        index = (rows[:, :, None] * w + columns[:, None, :]).flatten(1)[:, None].expand(-1, c, -1)
        out = x.flatten(2).gather(2, index).view(x.shape)
        if self.padding == "zeros":
            out = out * (inside_rows[:, None, :, None] & inside_columns[:, None, None, :])
        return out

    def _warp(self, x: Tensor, picked: dict[str, Tensor]) -> Tensor:
        """All geometry as one affine map per sample and one bilinear interpolation."""
        (b, _, h, w), device = x.shape, x.device
        angle = self.rotate * _signed(b, device) + picked.get("rotate", 0)
        shear_x = torch.tan(self.shear * _signed(b, device)) + picked.get("shear_x", 0)
        shear_y = torch.zeros_like(angle) + picked.get("shear_y", 0)
        zoom = 1 + self.scale * _signed(b, device)
        half_w, half_h, x0, y0 = self._crop(b, device)
        mirror = torch.where(rand(b, device=device) < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(angle)
        moved = randint(2 * self.shift + 1, 2, b, device=device, rows=1) - self.shift
        x0 = x0 + 2 * moved[0] / w + 2 * picked.get("translate_x", 0)
        y0 = y0 + 2 * moved[1] / h + 2 * picked.get("translate_y", 0)
        # From where in the input, in -1 to 1, each place of the output comes: sheared, then rotated, in pixels (h / w).
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        from_x = ((cos - sin * shear_y) * mirror * half_w, (sin + cos * shear_y) * mirror * half_h * w / h)
        from_y = ((cos * shear_x - sin) * half_w * h / w, (sin * shear_x + cos) * half_h)
        theta = torch.stack([from_x[0], from_y[0], x0, from_x[1], from_y[1], y0], 1).view(b, 2, 3)
        shape = [*x.shape[:2], *(self.size or (h, w))]
        if b == 0:  # of several processes one may have no images of a batch
            return x.new_empty(shape)
        grid = F.affine_grid(theta, shape, align_corners=False).to(x.dtype)
        return F.grid_sample(x, grid, padding_mode=self.padding, align_corners=False)

    def _crop(self, b: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Half width, half height and centre (x, y) of a random crop, each [B], in coordinates from -1 to 1."""
        low, high = self.crop
        area = low + (high - low) * rand(b, device=device)
        aspect = torch.exp((math.log(4 / 3) if low < 1 else 0) * _signed(b, device))
        width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        return width, height, (1 - width) * _signed(b, device), (1 - height) * _signed(b, device)

    def _recolour(self, x: Tensor, picked: dict[str, Tensor]) -> Tensor:
        """Saturation, contrast and brightness, around each pixel's grey and each image's mean."""
        jitter = self.color * (2 * rand(3, len(x), 1, 1, 1, device=x.device, dtype=x.dtype, rows=1) - 1)
        for i, name in enumerate(("brightness", "contrast", "saturation")):
            if name in picked:
                jitter[i] += picked[name].to(x.dtype)[:, None, None, None]
        brightness, contrast, saturation = jitter[0], (1 + jitter[1]).clamp(min=0), (1 + jitter[2]).clamp(min=0)
        if self.grey:
            saturation = saturation.masked_fill(rand(len(x), 1, 1, 1, device=x.device) < self.grey, 0)
        if x.shape[1] > 1:
            x = torch.lerp(x.mean(1, keepdim=True), x, saturation)
        mean = x.mean((1, 2, 3), keepdim=True)
        return torch.addcmul(mean * (1 - contrast) + brightness, x, contrast)

    def _erase(self, x: Tensor) -> Tensor:
        area = 0.02 + 0.31 * rand(len(x), device=x.device)
        aspect = torch.exp(math.log(10 / 3) * _signed(len(x), x.device))
        height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        y0, x0 = (0.5 + (1 - side) * (rand(len(x), device=x.device) - 0.5) for side in (height, width))
        height = torch.where(rand(len(x), device=x.device) < self.erase, height, 0)  # a box of no height is no box
        return x.masked_fill(_boxes(y0, x0, height, width, x)[:, None], 0)


def _signed(b: int, device: torch.device) -> Tensor:
    """Uniform from -1 to 1, [B]."""
    return 2 * rand(b, device=device) - 1


def _boxes(y0: Tensor, x0: Tensor, height: Tensor, width: Tensor, x: Tensor) -> Tensor:
    """bool [B, H, W], True in the box around (y0, x0); all [B] in fractions of the image, pixels count by centre."""
    rows = (torch.arange(x.shape[2], device=x.device) + 0.5) / x.shape[2]
    columns = (torch.arange(x.shape[3], device=x.device) + 0.5) / x.shape[3]
    near_rows, near_columns = (rows - y0[:, None]).abs(), (columns - x0[:, None]).abs()
    return (near_rows < height[:, None] / 2)[:, :, None] & (near_columns < width[:, None] / 2)[:, None, :]


def _fold(index: Tensor, side: int, padding: str) -> tuple[Tensor, Tensor]:
    """Indices brought back to 0..side-1 as grid_sample does, to the edge or mirrored at it; and which were inside."""
    inside = (index >= 0) & (index < side)
    mirrored = torch.minimum(index % (2 * side), (-1 - index) % (2 * side))
    return mirrored if padding == "reflection" else index.clamp(0, side - 1), inside


def _policy(randaugment: Any) -> tuple[int, Tensor]:
    """How many operations each sample gets, and the level of each."""
    policy = {"ops": 0, "magnitude": 0} if randaugment is None else randaugment
    if not isinstance(policy, Mapping) or set(policy) != {"ops", "magnitude"}:
        raise ConfigError(f"objective.views.randaugment={policy}: null, or e.g. {{ops: 2, magnitude: 9}}")
    _check("objective.views.randaugment.ops", policy["ops"], 0, len(OPS), whole=True)
    _check("objective.views.randaugment.magnitude", policy["magnitude"], 0, 10)
    return policy["ops"], torch.tensor(LEVELS) * policy["magnitude"] / 10


def _areas(crop: float | Sequence[float] | None) -> tuple[float, float]:
    """The smallest and the largest area of a crop."""
    area: list[Any] = [1, 1] if crop is None else [*crop] if isinstance(crop, Sequence) else [crop, 1]
    if len(area) != 2 or not all(map(is_number, area)) or not 0.01 <= area[0] <= area[1] <= 1:
        raise ConfigError(f"objective.views.crop={crop}: a number from 0.01 to 1, or two, the smaller one first")
    return area[0], area[1]


def _check(key: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        raise ConfigError(f"{key}={value}: a {'whole ' * whole}number from {low} to {high}")
