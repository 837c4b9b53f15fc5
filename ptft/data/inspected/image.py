"""Images: their files, what they decode to, and small pictures of them. Axes: N images, B batch, C channels, H W."""

from __future__ import annotations

from collections import Counter

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ptft.augment.views import Options, views
from ptft.core import Batch, Examples, Spec
from ptft.data.hub.cells import stream
from ptft.data.image.normaliser import normaliser
from ptft.data.image.reader import TIMES, convert
from ptft.data.inspected import features, hashes
from ptft.data.inspected.reading import Encode, Seen, every
from ptft.data.inspected.subject import Subject
from ptft.loggers.console import Console

SIDE = 32
"""Pixels of the side of the grey pictures that are hashed, and …"""
SMALL = 16
"""… of the coloured ones whose components are the features."""
FLAT = 1.0
"""Standard deviation, of 0 to 255, below which an image shows nothing."""
RARE = 0.02
"""A mode that fewer files than this share have is odd where the others have one."""
LONG = 4.0
"""A shape that is so many times as long as the usual one, and …"""
TINY = 8.0
"""… sides so many times shorter than usual are odd."""
FEATURES = f"the {features.WIDTH} main components of {SMALL}{TIMES}{SMALL} pixels"
HASH = "perceptual hash"
LEFT_OUT: tuple[str, ...] = ()


def read(subject: Subject, encode: Encode | None, out: Console) -> Seen:
    """Decode all images, look at the headers of their files, and say what is odd."""
    table, seen = every(subject, _look, encode, out)
    seen.tensors = {name: table.columns.pop(name) for name in ("frequencies", "small") if name in table.columns}
    seen.measures = table.columns
    flat = (seen.measures["contrast"] < FLAT).nonzero().flatten().tolist() if seen.measures else []
    seen.odd |= dict.fromkeys(flat, "has one colour")
    _headers(subject, seen, out)
    return seen


def _look(examples: Examples, batch: Batch) -> dict[str, Tensor]:
    images = batch["input"]
    grey = convert(images, 1).float()
    pictures = functional.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True).squeeze(1)
    small = functional.interpolate(images.float(), (SMALL, SMALL), mode="bilinear", antialias=True)
    return {
        "content": images.flatten(1),
        "brightness": grey.mean((1, 2, 3)),
        "contrast": grey.std((1, 2, 3), unbiased=False),
        "frequencies": hashes.frequencies(pictures),
        "small": small.round().clamp(0, 255).to(torch.uint8).flatten(1),
    }


def _headers(subject: Subject, seen: Seen, out: Console) -> None:
    """Width, height and mode of the files, as they are before they are brought to one size."""
    paths = {row: file for row in seen.readable.nonzero().flatten().tolist() if (file := subject.file(row))}
    if not paths:
        return
    width, height = torch.full((len(subject),), torch.nan), torch.full((len(subject),), torch.nan)
    modes: dict[int, str] = {}
    with out.reading("headers") as progress:
        for done, (row, path) in enumerate(paths.items(), 1):
            with Image.open(stream(path)) as image:
                width[row], height[row], modes[row] = *image.size, image.mode
            if done % 1000 == 0:
                progress(done, len(paths))
    seen.measures |= {"width": width, "height": height}
    counts = Counter(modes.values())
    seen.notes.append("modes: " + ", ".join(f"{mode} {count:,}" for mode, count in counts.most_common()))
    usual = counts.most_common(1)[0][0]
    for row, mode in modes.items():
        if counts[mode] < RARE * len(modes):
            seen.odd[row] = f"has mode {mode}, most have {usual}"
    _sizes(width, height, seen)


def _sizes(width: Tensor, height: Tensor, seen: Seen) -> None:
    ratio, side = (width / height).log(), torch.minimum(width, height)
    usual, typical = ratio[~ratio.isnan()].median(), side[~side.isnan()].median()
    strange = ((ratio - usual).abs() > torch.tensor(LONG).log()) | (side * TINY < typical)
    for row in strange.nonzero().flatten().tolist():
        seen.odd[row] = f"is {int(height[row])}{TIMES}{int(width[row])} (height{TIMES}width), unlike the others"


def near(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> tuple[Tensor, Tensor]:
    """Pairs of near duplicates among the `rows`, as places among these, long [n, 2], and how far they are apart."""
    return hashes.near(seen.tensors["frequencies"][rows], seed)


def alike(seen: Seen, rows: Tensor, pairs: Tensor, seed: int) -> Tensor:
    """Which pairs of the `rows` (long [n, 2], as `near` has them) that features found look alike too, bool [n]."""
    return hashes.alike(seen.tensors["frequencies"][rows], pairs, seed)


def described(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> Tensor:
    """Features of the rows, float32 [n, W]."""
    return features.components(seen.tensors["small"][rows])


strange = None
"""Outliers are far from their neighbours by the features."""


def sheet(spec: Spec, batch: Batch, options: Options) -> list[Image.Image]:
    """Images as a model is shown them in training: random views, with the mean taken out and put back."""
    scale, offset = normaliser(spec)
    shown = views(spec, options).train()(batch["input"] * scale + offset)
    pixels = ((shown - offset) / scale).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in convert(pixels, 3)]
