"""`curves.png`: the loss and the metric that decides, over the steps of a run. Lines are [step, value] in order.

Drawn with Pillow, which is there in a tenth of the time that matplotlib needs to be imported.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ptft.loggers.braille import outer_values
from ptft.loggers.jsonl import stored_rows
from ptft.runtime.system import writing

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Line = list[tuple[float, float]]
COLOURS = {"train": "#a0a0a0", "val": "#0b5394"}
WIDTH, HEIGHT, SCALE = 460, 320, 2
"""Of a panel in pixels, and how much larger it is drawn, for smooth lines."""
LEFT, TOP, RIGHT, BOTTOM = 62, 40, 16, 38
POINTS = 1000
"""Most points of a line; of more every so manieth is drawn, and the last."""


def write(folder: Path, monitor: str) -> bool:
    """Draw what `metrics.jsonl` holds; whether there was a line of three points or more. Raises StorageError."""
    names = list(dict.fromkeys(("loss", monitor.split("/")[-1])))
    lines = {name: _lines(folder / "metrics.jsonl", name) for name in names}
    panels = [(name, by_split) for name, by_split in lines.items() if any(len(line) > 2 for line in by_split.values())]
    if not panels:
        return False
    picture = io.BytesIO()
    _draw(panels).save(picture, "PNG", compress_level=1)
    with writing(folder / "curves.png"):
        (folder / "curves.png").write_bytes(picture.getvalue())
    return True


def _lines(path: Path, name: str) -> dict[str, Line]:
    """Split -> its values; those that are not finite are left out."""
    lines: dict[str, Line] = {split: [] for split in COLOURS}
    for row in stored_rows(path):
        if row.get("split") in lines and isinstance(row.get(name), int | float):
            lines[row["split"]].append((row["step"], row[name]))
    every = {split: math.ceil(len(line) / POINTS) or 1 for split, line in lines.items()}
    return {split: list(dict.fromkeys([*line[:: every[split]], *line[-1:]])) for split, line in lines.items()}


def _draw(panels: Sequence[tuple[str, dict[str, Line]]]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (SCALE * WIDTH * len(panels), SCALE * HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12 * SCALE)
    for index, (name, lines) in enumerate(panels):
        _panel(draw, font, WIDTH * index, name, lines)
    return image.reduce(SCALE)


def _panel(draw: ImageDraw, font: FreeTypeFont | ImageFont, left: int, name: str, lines: dict[str, Line]) -> None:
    points = [point for line in lines.values() for point in line]
    steps, values = ticks(0, max(step for step, _ in points)), ticks(*outer_values([value for _, value in points]))
    low, high, last = values[0], values[-1], steps[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        x = left + LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return SCALE * x, SCALE * (TOP + (HEIGHT - TOP - BOTTOM) * (high - min(value, high)) / (high - low))

    for value in values:
        draw.line([place(0, value), place(last, value)], fill="#e4e4e4", width=SCALE)
        x, y = place(0, value)
        draw.text((x - 6 * SCALE, y), f"{value:.6g}", font=font, fill="#404040", anchor="rm")
    for step in steps:
        x, y = place(step, low)
        draw.text((x, y + 6 * SCALE), f"{step:,.6g}", font=font, fill="#404040", anchor="mt")
    draw.text((SCALE * (left + WIDTH - RIGHT), SCALE * (HEIGHT - 4)), "step", font=font, fill="#404040", anchor="rb")
    draw.text((SCALE * (left + LEFT), SCALE * 12), name.replace("_", " "), font=font, fill="black", anchor="lt")
    for number, (split, line) in enumerate(lines.items()):
        if line:
            corners = [place(*point) for point in line]
            draw.line(corners, fill=COLOURS[split], width=2 * SCALE, joint="curve")
            x = SCALE * (left + WIDTH - RIGHT - 44 * (len(lines) - 1 - number))
            draw.text((x, SCALE * 12), split, font=font, fill=COLOURS[split], anchor="rt")
            for x, y in corners if len(corners) <= 30 else corners[-1:]:
                draw.ellipse([x - 3 * SCALE, y - 3 * SCALE, x + 3 * SCALE, y + 3 * SCALE], fill=COLOURS[split])


def ticks(low: float, high: float) -> list[float]:
    """Round numbers at equal distances that contain the range: 4 to 8 of them."""
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(each * unit for each in (1, 2, 5, 10) if each * unit >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]
