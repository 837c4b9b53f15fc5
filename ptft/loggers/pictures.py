"""Pictures and texts that loggers show: a matrix, a grid of examples, a table of answers.

Drawn with Pillow, which is there in a tenth of the time that matplotlib needs to be imported.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from ptft.core import Examples

TILE, LINE = 128, 13
"""Pixels of an example's side, and of a line of its caption."""
ACROSS = 4
CELL = (24, 72)
"""Least and most pixels of a side of a cell."""
NAMED = 60
"""So many rows of a matrix have names and numbers; a larger one has colours only."""
WIDEST = 18
"""Characters of a name or a line of a caption."""


def matrix(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> bytes:
    """A PNG of a matrix, each row's values dark by their share of it; with numbers where there is room."""
    from PIL import Image, ImageDraw, ImageFont

    named = max(len(rows), len(columns)) <= NAMED
    side = max(CELL[0], min(CELL[1], 720 // max(len(columns), 1))) if named else max(1, 720 // max(len(columns), 1))
    left = 8 + 7 * max((min(len(name), WIDEST) for name in rows), default=0) if named else 0
    top = LINE + 10 if named else 0
    image = Image.new("RGB", (left + side * len(columns), top + side * len(rows)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for i, row in enumerate(values):
        whole = sum(value for value in row if value > 0) or 1.0
        for j, value in enumerate(row):
            share = min(max(value / whole, 0.0), 1.0)
            x, y = left + side * j, top + side * i
            shade = tuple(round(255 + share * (end - 255)) for end in (11, 83, 148))
            draw.rectangle([x, y, x + side - 1, y + side - 1], fill=shade)
            if named and value:
                ink = "white" if share > 0.5 else "black"
                draw.text((x + side / 2, y + side / 2), f"{value:.4g}", font=font, fill=ink, anchor="mm")
    if named:
        for i, name in enumerate(rows):
            draw.text((left - 5, top + side * (i + 0.5)), cut(name), font=font, fill="black", anchor="rm")
        for j, name in enumerate(columns):
            fits = cut(name, max(1, side // 7))
            draw.text((left + side * (j + 0.5), top - 5), fits, font=font, fill="black", anchor="ms")
    return png(image)


def grid(images: Sequence[Image], captions: Sequence[str]) -> bytes:
    """A PNG of examples in rows of four, each with its caption of some lines below."""
    from PIL import Image, ImageDraw, ImageFont

    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    width, height = TILE + 8, TILE + 8 + LINE * lines
    rows = -(-len(images) // ACROSS)
    whole = Image.new("RGB", (width * min(ACROSS, len(images)), height * rows), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(11)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = width * (number % ACROSS) + 4, height * (number // ACROSS) + 4
        scale = TILE / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
        whole.paste(image.convert("RGB").resize((size[0], size[1]), resample), (x, y))
        draw.multiline_text((x, y + TILE + 1), caption, font=font, fill="black", spacing=1)
    return png(whole)


def captions(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Of each answer: what it is called, what is true, what was predicted, how wrong it was."""
    names = [name for name in ("item", "true", "predicted", "loss") if name in columns]
    rows = zip(*(columns[name] for name in names), strict=True)
    return ["\n".join(_caption(name, value) for name, value in zip(names, row, strict=True)) for row in rows]


def _caption(name: str, value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return cut(text) if name == "item" else cut(f"{name} {text}", WIDEST + 4)


def cut(text: str, widest: int = WIDEST) -> str:
    """Its end, which tells names of files apart, where it is longer."""
    return text if len(text) <= widest else f"…{text[-widest + 1 :]}" if widest > 1 else text[:1]


def markdown(columns: Mapping[str, Sequence[Any]]) -> str:
    """A table of Markdown."""
    names = list(columns)
    rows = [names, ["---"] * len(names), *zip(*(columns[name] for name in names), strict=True)]
    return "\n".join(f"| {' | '.join(map(_plain, row))} |" for row in rows)


def _plain(value: Any) -> str:
    text = "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def of_examples(examples: Examples, indices: Sequence[int]) -> list[Any] | None:
    """PIL images of these examples of a split, as they are read; None where they are none (uint8 [B, 1 or 3, H, W])."""
    import torch
    from PIL import Image

    raw = examples.take(torch.tensor(indices))["input"]
    if raw.dtype != torch.uint8 or raw.dim() != 4 or raw.shape[1] not in (1, 3):
        return None
    arrays = raw.permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in arrays]
