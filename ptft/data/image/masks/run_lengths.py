"""Masks as runs of pixels, column by column from the top left, as COCO writes them: how many are outside, inside, …

Axes: H, W of a mask. `counts` is COCO's text of runs: each run (from the third on its difference to the one two before)
in groups of five bits, the lowest first, with a sixth bit where more follow, 48 added to each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptft.metrics import detection

Mask = NDArray[np.bool_]
Runs = list[int]
BITS, SIGN, MORE, BASE = 5, 0x10, 0x20, 48


def runs_of(mask: Mask) -> Runs:
    """Of a mask [H, W]; the first run is outside, and may be 0."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: Runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def mask_of(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    """bool [H, W]. Raises ValueError for runs that are not so many pixels."""
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs are {sum(runs):,} pixels and the image has {size[0] * size[1]:,}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, np.asarray(runs, dtype=np.int64)).reshape(size, order="F")


def text_of(runs: Sequence[int]) -> str:
    """As `counts`."""
    letters = []
    for i, run in enumerate(runs):
        value, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            part = value & (MORE - 1)
            value >>= BITS
            more = value != (-1 if part & SIGN else 0)
            letters.append(chr((part | MORE if more else part) + BASE))
    return "".join(letters)


def runs_in(counts: str) -> Runs:
    """Of `counts`. Raises ValueError for a text that is none."""
    runs, value, shift = Runs(), 0, 0
    for letter in counts:
        part = ord(letter) - BASE
        if not 0 <= part < 2 * MORE or shift > 60:
            raise ValueError(f"its counts hold {letter!r}, which is none of COCO's")
        value |= (part & (MORE - 1)) << shift
        shift += BITS
        if part & MORE:
            continue
        value -= (1 << shift) if part & SIGN else 0
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("its counts break off")
    return runs


def of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Runs:
    """What lies in any of some polygons, [x, y, x, y, …] in pixels each: by COCO's own rasteriser.

    Raises ConfigError without the package that has it.
    """
    api = detection.masks("polygons of masks")
    merged = api.merge(api.frPyObjects([list(map(float, polygon)) for polygon in polygons], *size))
    return runs_in(merged["counts"].decode())
